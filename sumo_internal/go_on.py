"""Goes on as the interpreter does, where it has no door for us: runs the unchanged runtime.

The door is :mod:`sumo_internal.door.sitecustomize`; behind it the interpreter itself goes on. The door is closed by the
options ``-I``, ``-E`` and ``-S``, and by another vendor's wrapper that starts an interpreter without calling ours. Then
``python3.12 -I /var/runtime/bootstrap.py`` becomes ``python3.12 -I …/start.py /var/runtime/bootstrap.py``, and the
runtime finds ``sys.argv``, ``sys.path``, ``sys.orig_argv`` and ``__main__`` as the interpreter would have made them.
For ``-m`` that is done without ``runpy``, whose import costs more than all of ours (2 to 3 ms).

Separate from :mod:`sumo_internal.launch`, because nearly no start comes this way.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


def main() -> None:
    """Become what was to be started: ``-m MODULE ARGS…``, ``-c CODE ARGS…`` or ``SCRIPT ARGS…``."""
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
    """Go on as ``python SCRIPT ARGS…``; a folder or a zip with a ``__main__``, or a ``.pyc``, will do as well."""
    sys.argv[:] = [path, *arguments]
    # As the interpreter does it (_Py_abspath): nothing is normalised but a leading "./".
    full_path = path if path.startswith("/") else f"{os.getcwd()}/{path.removeprefix('./')}"
    if not path.endswith(".py") and _is_importable(full_path):
        _clear_main()
        sys.path[:1] = [full_path] if _has_first_path() else [full_path, *sys.path[:1]]
        _run_module_as_main("__main__", alter_argv=False)
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    # Where importlib.machinery has them from, without what else that imports.
    from _frozen_importlib_external import SourceFileLoader, SourcelessFileLoader

    loader = (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", full_path)
    try:
        source = loader.get_data(full_path)
    except OSError as error:
        text = f"{sys.executable}: can't open file {full_path!r}: [Errno {error.errno}] {error.strerror}\n"
        sys.stderr.write(text)
        sys.exit(2)
    code = loader.get_code("__main__") if path.endswith(".pyc") else loader.source_to_code(source, full_path)
    _become(code, __file__=full_path, __cached__=None, __loader__=loader)


def _is_importable(path: str) -> bool:
    """Is this a folder or a zip, whose ``__main__`` is to be run?"""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def run_command(code: str, arguments: list[str]) -> None:
    """Go on as ``python -c CODE ARGS…``."""
    sys.argv[:] = ["-c", *arguments]
    _set_first_path("")
    _become(compile(code, "<string>", "exec", dont_inherit=True))


def run_module(name: str, arguments: list[str]) -> None:
    """Go on as ``python -m MODULE ARGS…``."""
    sys.argv[:] = ["-m", *arguments]
    _set_first_path(os.getcwd())
    spec = _main_spec(name)
    loader: Any = None if spec is None else spec.loader
    code = loader.get_code(spec.name) if spec is not None and hasattr(loader, "get_source") else None
    if spec is None or code is None:
        _clear_main()
        _run_module_as_main(name, alter_argv=True)
        return
    sys.argv[0] = spec.origin or name
    _become(
        code,
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=loader,
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


def _run_module_as_main(name: str, *, alter_argv: bool) -> None:
    """The library's own way, for everything out of the ordinary; it also says what is wrong, as it does without us."""
    import runpy

    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]  # what the interpreter itself calls


def _has_first_path() -> bool:
    """Does the interpreter put an entry for the script in front of sys.path?"""
    return not sys.flags.isolated and not getattr(sys.flags, "safe_path", False)


def _set_first_path(path: str) -> None:
    """Put the entry first that the interpreter would have put there, in place of the one for start.py's folder."""
    if _has_first_path():
        sys.path[0] = path


def _clear_main() -> dict[str, Any]:
    """Make ``__main__`` what it is before anything has run in it, and return its names."""
    module = sys.modules["__main__"].__dict__
    fresh: dict[str, object] = {"__name__": "__main__", "__doc__": None, "__package__": None, "__spec__": None}
    fresh.update((name, module[name]) for name in ("__builtins__", "__annotations__") if name in module)
    module.clear()
    module.update(fresh, __loader__=sys.__spec__.loader)
    return module


def _become(code: Any, **names: object) -> None:
    """Run code as the module ``__main__``."""
    module = _clear_main()
    module.update(names)
    exec(code, module)
