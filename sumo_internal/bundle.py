"""The package's bytecode in one file per interpreter, as the layer carries it.

A module in a file of its own costs each start a search in the folder, two looks and a read, and the zip a header of
200 bytes for each interpreter; next to each other they also compress by a sixth better.

The finder stands in for those of the package's own folders (a *path entry finder*, PEP 302, in
``sys.path_importer_cache``): ``sys.meta_path``, ``sys.path_hooks`` and everybody else's imports stay as they are. What
is not in the file, and everything where there is none (a checkout, a pip install, an interpreter that the build did not
have), is found as ever.

The file is ``__pycache__/bundle.<cache tag>.bin``: the interpreter's magic number (4 bytes), the size of the index
(4 bytes, little end first), the index (``marshal``: a dict of a module's place below the package, ``spool/writer`` →
offset and size of its piece), and the pieces (``marshal``: a dict of place → code), at offsets from the end of the
index. Modules that are always imported together are one piece. ``layer/pack.py`` writes it.
"""

from __future__ import annotations

import sys
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader, spec_from_file_location
from _imp import _fix_co_filename  # type: ignore[attr-defined]  # not in its stubs
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType
    from typing import Any


def use(folder: str) -> None:
    """Import the modules in this folder, the package's, from its bundle, if there is one for this interpreter."""
    path = f"{folder}/__pycache__/bundle.{sys.implementation.cache_tag}.bin"
    try:
        with open(path, "rb") as file:
            if file.read(4) == MAGIC_NUMBER:
                size_bytes = int.from_bytes(file.read(4), "little")
                index = loads(file.read(size_bytes))
                sys.path_importer_cache[folder] = _Finder(folder, path, 8 + size_bytes, index)
    except (OSError, ValueError, EOFError, TypeError):
        pass  # there is none, or it is damaged


class _Finder:
    """Finds the modules of the package: those in its bundle, then as the one whose place it takes."""

    def __init__(self, folder: str, bundle: str, begin: int, index: dict[str, tuple[int, int]]) -> None:
        self._folder = folder
        self._bundle = bundle
        self._begin = begin
        self._index = index
        self._codes: dict[str, CodeType] = {}
        """Read with those of other modules, and not imported yet."""
        self._files: Any = sys.path_importer_cache.get(folder)

    def find_spec(self, name: str, target: Any = None) -> ModuleSpec | None:
        place = _place(name)
        if place in self._index:
            return self._spec(name, f"{self._folder}/{place}.py", None)
        if f"{place}/__init__" in self._index:
            folder = f"{self._folder}/{place}"
            sys.path_importer_cache[folder] = self  # what is in it is in the index, too
            return self._spec(name, f"{folder}/__init__.py", [folder])
        is_own = self._files is not None and "/" not in place
        found: ModuleSpec | None = self._files.find_spec(name, target) if is_own else None
        return found

    def _spec(self, name: str, path: str, locations: list[str] | None) -> ModuleSpec | None:
        # The locations and where its bytecode is are said here, because it takes importlib longer to find out than to
        # run some of the modules.
        spec = spec_from_file_location(
            name, path, loader=_Loader(name, path, self), submodule_search_locations=locations
        )
        if spec is not None:
            spec.cached = self._bundle
        return spec

    def take(self, name: str) -> CodeType:
        """The code of a module, which is read with all of its piece."""
        place = _place(name)
        if place not in self._index:
            place += "/__init__"
        if place not in self._codes:
            offset, size_bytes = self._index[place]
            with open(self._bundle, "rb", buffering=0) as file:
                file.seek(self._begin + offset)
                self._codes.update(loads(file.read(size_bytes)))
        return self._codes.pop(place)


def _place(name: str) -> str:
    """Where a module lies below the package's folder: ``spool/writer`` of ``sumo_internal.spool.writer``."""
    return name.partition(".")[2].replace(".", "/")


class _Loader(SourceFileLoader):
    """Loads a module from the bundle; for the rest (its source, for a traceback) it is its file's loader."""

    def __init__(self, name: str, path: str, finder: _Finder) -> None:
        super().__init__(name, path)
        self._finder = finder

    def get_code(self, name: str) -> CodeType:
        code = self._finder.take(name)
        _fix_co_filename(code, self.path)  # as importlib does: the layer need not lie at /opt
        return code
