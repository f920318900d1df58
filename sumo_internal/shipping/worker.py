"""Managed Instances: the process that serves a request tells the recorder of it, and only writes.

The runtime's process forks a worker for each request that it serves at a time, and nothing ever freezes. Each worker is
a writer of its own in the spool's folder, as any forked child is. It has no thread and no connection of ours, and loads
nothing that only shipping needs: the extension ships, the one process of the environment that no request waits for
(:mod:`sumo_internal.extension.workers`). Without an extension each worker ships by itself, beside its requests.

Separate from :mod:`sumo_internal.shipping.invocations`, which holds an environment that would freeze.
"""

from __future__ import annotations

import os
import time

from sumo_internal.capture.runtime_client import enter_invocation
from sumo_internal.spool import handoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.recorder import Recorder
    from sumo_internal.shipping.shipper import Shipper

RING_BYTES = 1 << 20
"""Bytes that a worker writes between two rings for the extension: a batch, and one more line than that."""


class Worker:
    """Made in the runtime's process, and used in each worker after the fork."""

    def __init__(
        self,
        recorder: Recorder,
        renew: Callable[[], None],
        make_shipper: Callable[[], Shipper] | None = None,
    ) -> None:
        """Follow the requests that this process serves.

        Args:
            recorder: Told of them.
            renew: Called in the worker, before its first request: what was prepared for another writer begins anew.
            make_shipper: Makes what ships in here; None where the extension does.
        """
        self._recorder = recorder
        self._spool = recorder.spool
        self._renew = renew
        self._make_shipper = make_shipper
        self._address = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self._is_init_over = False
        self._deadline_s: float | None = None
        self._spool.on_backlog = self._backlog
        self._spool.wake_offset = RING_BYTES

    # The main thread of the worker calls these.

    def ended(self) -> None:
        """The worker asks for its next event: its init or a request is over."""
        if not self._is_init_over:
            self._is_init_over = True
            self._renew()
            self._recorder.leave_init()
            handoff.tell_late()
            self.begin()
            return
        endings = self._recorder.endings
        if endings is not None and self._deadline_s is not None and time.time() > self._deadline_s:
            endings.fail()  # to Lambda the request has timed out, and the worker has gone on with it
        self._recorder.leave_invocation()
        self._spool.check_folder()

    def began(self, request: Any) -> None:
        """The worker has a request to serve."""
        enter_invocation(self._recorder, request)  # before anything that may raise: no line is another request's
        deadline_ms = getattr(request, "deadline_time_in_ms", None)
        self._deadline_s = float(deadline_ms) / 1000 if deadline_ms else None

    def begin(self) -> None:
        """Ship, where the extension does not: from the worker's own first request on, never in its parent."""
        if self._make_shipper is not None:
            self._make_shipper().begin()

    def _backlog(self) -> None:
        """There is another :data:`RING_BYTES`, or the spool's last segment is begun."""
        segments = self._spool.segments
        if segments:
            self._spool.wake_offset = segments[-1].committed_offset + RING_BYTES
        handoff.ring(self._address)
