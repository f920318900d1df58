"""How the package's modules are found, and what they see of the interpreter's world: the package's own importer.

The function may do to its process what it likes: have a ``random.py`` of its own, clear ``sys.path``, empty
``sys.meta_path``, put another function in the place of ``__import__``, ``open``, ``time.time`` or ``json.loads``. None
of that may reach a thread of ours, and nothing of ours may be what the function's own ``import`` finds. So the modules
of the package have built-ins of their own, in which ``__import__`` is :func:`_import`. It finds

* the package's modules, without ``sys.path`` and ``sys.meta_path``;
* the standard library's, as copies of what they were when we first asked for them (:data:`LIVE` excepted), so that what
  is replaced in them later is replaced for the function alone. From :func:`seal` on, which comes before the function's
  code, a module in C is loaded for us alone, from the interpreter's own folder and not into ``sys.modules``. (What is
  needed late is in C, or was there before the function's code; ``tests/test_hostile.py`` holds the package to it.)
* everything else (structlog, what the commands need) as the interpreter finds it.

Before :func:`seal`, and in the extension, which is never sealed, one thread at a time loads modules: another would see
one that is not complete. From then on no lock is taken, which a forked child would inherit: a module is visible when it
is complete, and where two threads load the same module, both get the first one's. (So the package's modules
import each other in no circle; ``tests/test_structure.py`` holds them to it.)

For ``import sumo_internal.…`` in all other code a *path entry finder* (PEP 302, in ``sys.path_importer_cache``) stands
in for those of the package's own folders; ``sys.meta_path`` and ``sys.path_hooks`` stay as they are.

The layer carries the package's bytecode in one file per interpreter, ``__pycache__/bundle.<cache tag>.bin``, because a
module in a file of its own costs each start a search in the folder, two looks and a read, and the zip a header of 200
bytes. It is: the interpreter's magic number (4 bytes), the size of the index (4 bytes, little end first), the index
(``marshal``: a dict of a module's place below the package, ``spool/writer`` → offset and size of its piece), and the
pieces (``marshal``: a dict of place → code), at offsets from the end of the index. Modules that are always imported
together are one piece. ``layer/pack.py`` writes it. Where there is none (a checkout, a pip install, an interpreter that
the build did not have), modules are loaded from their files.
"""

from __future__ import annotations

import _imp
import builtins
import os as _os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    ExtensionFileLoader,
    SourceFileLoader,
    spec_from_file_location,
)
from _io import open
from _thread import RLock
from marshal import loads
from posix import O_CLOEXEC, O_RDONLY, close, fstat, pread, read, stat
from posix import open as open_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

PACKAGE = "sumo_internal"

LIVE = frozenset(("atexit", "builtins", "gc", "logging", "sys", "threading", "warnings"))
"""Modules of the library that are seen as they are at the moment: they hold what we hook on to, or have to follow."""

_ALONE = (f"{PACKAGE}._structlog",)
"""Other people's packages: the interpreter imports them, as it would anywhere."""

_LIBRARY = _os.__file__.rpartition("/")[0] + "/"
_Module = type(sys)
_public_import = builtins.__import__
_builtins: dict[str, Any] = dict(builtins.__dict__)
"""The built-ins of the package's modules; in what the function replaces they are as they were."""
globals()["__builtins__"] = _builtins  # of the functions in here as well
_known: dict[str, ModuleType] = {}
"""By name, what our modules get when they import it."""
_is_sealed = False
_loading = RLock()
"""Held while a module is loaded that others must not see yet."""


def begin(package: str) -> None:
    """Find this package's modules, and import for them from now on.

    Args:
        package: The folder of the package, whose ``__init__`` is being executed.
    """
    _known[PACKAGE] = sys.modules[PACKAGE]
    finder.begin(package)
    sys.path_importer_cache[package] = finder


def seal() -> None:
    """Leave ``sys.modules`` as it is from now on, but for complete modules of ours: the function's code comes next."""
    global _is_sealed
    _is_sealed = True
    for name, module in [*_known.items()]:
        if name.startswith(f"{PACKAGE}."):
            module.__dict__["__dir__"] = _no_names


def _no_names() -> list[str]:
    """``dir`` of the package's modules, once the function's code may ask.

    Who replaces a function of the library's wherever it is (freezegun: ``time.monotonic``) looks for it in the names of
    all modules. A clock of ours that stands still would be a wait without an end.
    """
    return []


class _Finder:
    """Finds the package's modules, in the bundle or in their files; as a path entry finder, all else as before."""

    def __init__(self) -> None:
        self._folder = ""
        self._bundle = ""
        self._begin = 0
        self._descriptor, self._opened = -1, (-1, -1)
        """The bundle is open: what is needed late is also found where the function has used up all descriptors."""
        self._index: dict[str, tuple[int, int]] = {}
        self._codes: dict[str, CodeType] = {}
        """Read with those of other modules, and not executed yet."""
        self._files: Any = None

    def begin(self, folder: str) -> None:
        """Look after a folder, with its bundle if there is one for this interpreter."""
        self._folder = folder
        self._files = sys.path_importer_cache.get(folder)
        self._bundle = f"{folder}/__pycache__/bundle.{sys.implementation.cache_tag}.bin"
        try:
            self._descriptor = descriptor = open_descriptor(self._bundle, O_RDONLY | O_CLOEXEC)
            self._opened = _place_of(descriptor)
            if read(descriptor, 4) == MAGIC_NUMBER:
                size_bytes = int.from_bytes(read(descriptor, 4), "little")
                self._index = loads(read(descriptor, size_bytes))
                self._begin = 8 + size_bytes
            else:
                self._descriptor = -1
                close(descriptor)
        except (OSError, ValueError, EOFError, TypeError):
            pass  # there is none, or it is damaged

    def find_spec(self, name: str, target: Any = None) -> ModuleSpec | None:
        is_package = name.startswith(f"{PACKAGE}.") and not name.startswith(_ALONE)
        found = self.locate(name) if is_package else None
        if found is None:
            is_own = self._files is not None and "/" not in _place(name)
            spec: ModuleSpec | None = self._files.find_spec(name, target) if is_own else None
            return spec
        path, locations = found
        if locations:
            sys.path_importer_cache[locations[0]] = self
        return spec_from_file_location(name, path, loader=_Loader(name, path), submodule_search_locations=locations)

    def locate(self, name: str) -> tuple[str, list[str] | None] | None:
        """The file of a module of the package's, and the folder of what is below it; None where there is none."""
        place = _place(name)
        path = f"{self._folder}/{place}"
        for is_there in (self._index.__contains__, lambda place: _is_file(f"{self._folder}/{place}.py")):
            if is_there(place):
                return f"{path}.py", None
            if is_there(f"{place}/__init__"):
                return f"{path}/__init__.py", [path]
        return None

    def code(self, name: str, path: str) -> CodeType:
        """The code of a module; from the bundle it is read with all of its piece."""
        place = _place(name)
        if place not in self._index:
            place += "/__init__"
        code = self._codes.pop(place, None) or self._of_bundle(place)
        if code is None:
            code = SourceFileLoader(name, path).get_code(name)
            assert code is not None, "a source has one, or its error"
            return code
        _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]  # as importlib does: the layer may lie anywhere
        return code

    def _of_bundle(self, place: str) -> CodeType | None:
        """Read the piece of the bundle that has a module's code; None where none has it, or the bundle is damaged."""
        if place not in self._index:
            return None
        offset, size_bytes = self._index[place]
        try:
            codes = loads(self._read(self._begin + offset, size_bytes))
            code: CodeType = codes.pop(place)
        except (OSError, ValueError, EOFError, TypeError, LookupError):
            return None
        self._codes.update(codes)
        return code

    def _read(self, offset: int, size_bytes: int) -> bytes:
        """Read from the bundle: with the descriptor that was opened at the start, if it still leads there.

        Raises:
            OSError: There is no bundle any more, or no descriptor for it.
        """
        try:
            if _place_of(self._descriptor) == self._opened:
                return pread(self._descriptor, size_bytes, offset)
        except OSError:
            pass  # the function has closed it
        with open(self._bundle, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size_bytes)


class _Loader(SourceFileLoader):
    """A module of the package's, for the import system; for the rest (its source) it is its file's loader."""

    def get_code(self, name: str) -> CodeType:
        return finder.code(name, self.path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = _builtins
        super().exec_module(module)


finder = _Finder()


def _place_of(descriptor: int) -> tuple[int, int]:
    """Device and inode of an open file.

    Raises:
        OSError: It is none.
    """
    status = fstat(descriptor)
    return status.st_dev, status.st_ino


def _is_file(path: str) -> bool:
    try:
        stat(path)
    except OSError:
        return False
    return True


def _place(name: str) -> str:
    """Where a module lies below the package's folder: ``spool/writer`` of ``sumo_internal.spool.writer``."""
    return name.partition(".")[2].replace(".", "/")


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> Any:
    """``__import__`` of the package's modules."""
    module = _known.get(name)
    if module is None:
        module = _find(name) if level == 0 else None
        if module is None:
            return _public_import(name, globals, locals, fromlist or (), level)
    if not fromlist:
        return _known[name.partition(".")[0]]
    if name.startswith(PACKAGE):
        for attribute in fromlist:
            if attribute not in module.__dict__ and "__path__" in module.__dict__:
                _find(f"{name}.{attribute}")
    return module


def _find(name: str) -> ModuleType | None:
    """A module that is asked for the first time; None where it is neither the package's nor the library's."""
    if _is_sealed:
        return _find_now(name)
    with _loading:
        return _find_now(name)


def _find_now(name: str) -> ModuleType | None:
    if name in _known:
        return _known[name]
    top = name.partition(".")[0]
    if top == PACKAGE:
        load = _own
    elif top in sys.stdlib_module_names:
        load = _of_the_library
    else:
        return None
    parent, _, tail = name.rpartition(".")
    if parent:
        _find(parent)
    module = load(name)
    if module is not None:
        module = _known.setdefault(name, module)
        if parent:
            setattr(_known[parent], tail, module)
    return module


def _own(name: str) -> ModuleType | None:
    """Execute a module of the package's, unless another import has."""
    module = sys.modules.get(name)
    if module is not None or name.startswith(_ALONE):
        return module
    found = finder.locate(name)
    if found is None:
        return None
    path, locations = found
    loader = _Loader(name, path)
    module = _Module(name)
    spec = ModuleSpec(name, loader, origin=path, is_package=locations is not None)
    names = module.__dict__
    names.update(__file__=path, __loader__=loader, __spec__=spec, __package__=spec.parent, __builtins__=_builtins)
    if locations:
        names["__path__"] = spec.submodule_search_locations = locations
        sys.path_importer_cache[locations[0]] = finder
    code = finder.code(name, path)
    if _is_sealed:
        names["__dir__"] = _no_names
        exec(code, names)
        return sys.modules.setdefault(name, module)
    sys.modules[name] = module  # as importlib does: what is executed may look for its own module (dataclasses do)
    try:
        exec(code, names)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _of_the_library(name: str) -> ModuleType | None:
    """What our modules see of a module of the standard library's."""
    module = _load(name) if _is_sealed and name not in LIVE else None
    if module is None:
        if name not in sys.modules:
            _public_import(name)
        module = sys.modules[name]
    if name in LIVE:
        return module
    copy = _Module(name)
    copy.__dict__.clear()  # an empty dict takes another's table as a whole
    copy.__dict__.update(module.__dict__)
    if name == "os":
        copy.__dict__["path"] = _find(module.path.__name__)
    return copy


def _load(name: str) -> ModuleType | None:
    """A module in C, loaded for us alone; None where the interpreter has none of this name."""
    if name in sys.builtin_module_names:
        spec = ModuleSpec(name, None, origin="built-in")
        module: ModuleType = _imp.create_builtin(spec)
        _imp.exec_builtin(module)
        return module
    for suffix in _imp.extension_suffixes():
        path = f"{_LIBRARY}lib-dynload/{name}{suffix}"
        if _is_file(path):
            spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
            module = _imp.create_dynamic(spec)
            _imp.exec_dynamic(module)
            return module
    return None


def _after_fork() -> None:
    global _loading
    _loading = RLock()  # another thread may have held it


_os.register_at_fork(after_in_child=_after_fork)
_builtins["__import__"] = _import
