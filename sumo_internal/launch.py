"""The wrapper's door: put everything together, then run the unchanged runtime in this process, as if it were alone.

``sumo_wrapper python3.12 /var/runtime/bootstrap.py`` becomes ``python3.12 …/start.py /var/runtime/bootstrap.py``, and
the runtime finds ``sys.argv``, ``sys.path``, ``sys.orig_argv`` and ``__main__`` as the interpreter would have made
them. For ``-m`` that is done without ``runpy``, whose import costs more than all of ours (2 to 3 ms).
"""

from __future__ import annotations

import os
import sys

from sumo_internal import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


def main() -> None:
    """Set up, then become what was to be started: ``-m MODULE ARGS…``, ``-c CODE ARGS…`` or ``SCRIPT ARGS…``."""
    with guard.guard("setting up"):
        from sumo_internal import assembly

        assembly.install()
    arguments = sys.argv[1:]
    # orig_argv is [interpreter, its options…, start.py, arguments…]: without us there is no start.py in it.
    del sys.orig_argv[len(sys.orig_argv) - len(arguments) - 1]
    if arguments[0] == "-m":
        run_module(arguments[1], arguments[2:])
    elif arguments[0] == "-c":
        run_command(arguments[1], arguments[2:])
    else:
        run_script(arguments[0], arguments[1:])


def run_script(path: str, arguments: list[str]) -> None:
    """Go on as ``python SCRIPT ARGS…``."""
    sys.argv[:] = [path, *arguments]
    if os.path.isdir(path) or not path.endswith(".py"):
        # A folder or zip with a __main__, a .pyc, a script by another name: rare enough for the library's own way.
        import runpy

        runpy.run_path(path, run_name="__main__")
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    from importlib.machinery import SourceFileLoader

    loader = SourceFileLoader("__main__", path)
    try:
        source = loader.get_data(path)
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(2)
    _become(loader.source_to_code(source, path), __file__=path, __cached__=None, __loader__=loader)


def run_command(code: str, arguments: list[str]) -> None:
    """Go on as ``python -c CODE ARGS…``."""
    from importlib.machinery import BuiltinImporter

    sys.argv[:] = ["-c", *arguments]
    _set_first_path("")
    _become(compile(code, "<string>", "exec", dont_inherit=True), __loader__=BuiltinImporter)


def run_module(name: str, arguments: list[str]) -> None:
    """Go on as ``python -m MODULE ARGS…``."""
    sys.argv[:] = ["-m", *arguments]
    _set_first_path(os.getcwd())
    spec = _main_spec(name)
    if spec is None or spec.loader is None or not hasattr(spec.loader, "get_code"):
        import runpy

        runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what the interpreter calls; says what is wrong
        return
    sys.argv[0] = spec.origin or name
    _become(
        spec.loader.get_code(spec.name),
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
    )


def _main_spec(name: str) -> ModuleSpec | None:
    """Where ``-m NAME`` is: the module, or a package's ``__main__``; None for everything out of the ordinary."""
    if "." in name:
        return None
    spec = _find(name, None)
    if spec is None or spec.submodule_search_locations is None:
        return spec
    package = __import__(name)
    return _find(f"{name}.__main__", package.__path__)


def _find(name: str, path: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _set_first_path(path: str) -> None:
    """Put the entry first that the interpreter would have put there, in place of the one for start.py's folder."""
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = path


def _become(code: Any, **names: object) -> None:
    """Run code as the module ``__main__``."""
    module = sys.modules["__main__"].__dict__
    fresh: dict[str, object] = {"__name__": "__main__", "__doc__": None, "__package__": None, "__spec__": None}
    fresh.update((name, module[name]) for name in ("__builtins__", "__annotations__") if name in module)
    module.clear()
    module.update(fresh, **names)
    exec(code, module)
