"""AWS on loopback once more, with a Lambda that guards its functions' configurations as the real one does.

moto's has no revisions, no limits and no time: an update is there at once, for every caller. So the process puts onto
it (:mod:`guarded_lambda`) what somebody who changes five hundred functions has to reckon with:

* a RevisionId, another one after each update and again when that has ended; a request with a stale one is refused;
* updates that are under way for the next read, during which another is refused, and that may fail;
* the limits of five layers and 4 KB of variables, with the error that repeats all of them;
* a region in which publishing is refused, and permissions that are given once;
* invocations: the function's code, behind its layers, runs in the model of Lambda's environment
  (:mod:`lambda_invoker`), and what it wrote is in its log group;
* SnapStart and Managed Instances as configured, and variables under a key that the caller may not use.

A function's tag ``behaves`` chooses: ``fails`` (each update ends as failed), ``restless`` (somebody else changes it
between any two requests), ``unreadable`` (its variables are an error). PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import aws_server

DENIED_REGION = "eu-south-1"
"""The region in which publishing is refused."""


class LambdaServer(aws_server.AwsServer):
    """A running server; a context manager."""

    SCRIPT = __file__

    def reset(self) -> None:
        """Forget everything."""
        self._post("/moto-api/reset", b"")


if __name__ == "__main__":
    from guarded_lambda import put_in_place

    put_in_place(DENIED_REGION)
    aws_server.main()
