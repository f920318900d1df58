"""Starts the runtime client the way the bootstrap of Lambda's managed Python runtimes does.

A copy lies as bootstrap.py in the runtime's folder, beside awslambdaric, and runs in the function's own process. It
has the effects of AWS's file, written anew: which folders come onto sys.path, in which order (including that the
layer's folders appear twice, which users' debug logs show), and what becomes of PYTHONPATH. A layer's packages are
within reach only where PYTHONPATH is not set: one that a wrapper exports changes this for every function.

The runtime client goes by AWS's name for it, because Sentry looks for that in ``__main__``.

It does not know the model, except that a layer which is not mounted at /opt is found through ``_MODEL_OPT``, which is
removed before other code can see it.
"""

import os
import site
import sys

import awslambdaric.__main__ as awslambdaricmain  # type: ignore[import-not-found]  # installed for the function's interpreter only


def main() -> None:
    """Prepare sys.path and PYTHONPATH, then hand over to the runtime client, which does not return."""
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    opt = os.environ.pop("_MODEL_OPT", "/opt")
    is_path_given = "PYTHONPATH" in os.environ
    if not is_path_given:
        major, minor = sys.version_info[:2]
        layer_folders = [f"{opt}/python/lib/python{major}.{minor}/site-packages", f"{opt}/python"]
        for folder in layer_folders:
            site.addsitedir(folder)
        sys.path[:0] = layer_folders
    sys.path.insert(0, task_root)
    site.addsitedir(task_root)
    if not is_path_given:
        os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]
    awslambdaricmain.main([task_root, os.environ["_HANDLER"]])


if __name__ == "__main__":
    main()
