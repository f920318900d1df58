"""The package's bytecode in one file per interpreter, as the layer carries it.

A module in a file of its own costs each start a search in the folder, two looks and a read, and the zip a header of
200 bytes for each interpreter; next to each other they also compress by a sixth better.

The finder stands in for the one of the package's own folder (a *path entry finder*, PEP 302, in
``sys.path_importer_cache``): ``sys.meta_path``, ``sys.path_hooks`` and everybody else's imports stay as they are. What
is not in the file, and everything where there is none (a checkout, a pip install, an interpreter that the build did not
have), is found as ever.

The file is ``__pycache__/bundle.<cache tag>.bin``: the interpreter's magic number (4 bytes), the size of the index
(4 bytes, little end first), the index (``marshal``: a dict of module name → offset and size), and the modules' code
(``marshal``), at offsets from the end of the index. ``layer/build.py`` writes it.
"""

from __future__ import annotations

import sys
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader, spec_from_file_location
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
    """Finds the modules of one folder: those in its bundle, then as the one whose place it takes."""

    def __init__(self, folder: str, bundle: str, begin: int, index: dict[str, tuple[int, int]]) -> None:
        self._folder = folder
        self._bundle = bundle
        self._begin = begin
        self._index = index
        self._files: Any = sys.path_importer_cache.get(folder)

    def find_spec(self, name: str, target: Any = None) -> ModuleSpec | None:
        place = self._index.get(name.rpartition(".")[2])
        if place is None:
            found: ModuleSpec | None = self._files.find_spec(name, target) if self._files is not None else None
            return found
        path = f"{self._folder}/{name.rpartition('.')[2]}.py"
        loader = _Loader(name, path, self._bundle, self._begin + place[0], place[1])
        return spec_from_file_location(name, path, loader=loader)


class _Loader(SourceFileLoader):
    """Loads a module from a piece of the bundle; for the rest (its source, for a traceback) it is its file's loader."""

    def __init__(self, name: str, path: str, bundle: str, offset: int, size_bytes: int) -> None:
        super().__init__(name, path)
        self._piece = bundle, offset, size_bytes

    def get_code(self, name: str) -> CodeType:
        # importlib's own: the code gets the file's name where the layer is unpacked. Only interpreters that the layer
        # was built and tested with come here.
        from _frozen_importlib_external import _compile_bytecode  # type: ignore[attr-defined]  # not in its stubs

        bundle, offset, size_bytes = self._piece
        with open(bundle, "rb", buffering=0) as file:
            file.seek(offset)
            code: CodeType = _compile_bytecode(file.read(size_bytes), name, bundle, self.path)
        return code
