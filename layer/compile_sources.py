"""Compiles the package's sources without what only people and type checkers read: a program of its own, run by the
interpreter whose bytecode it is to be.

Separate from ``compileall`` for one thing: annotations, and what is imported and defined for them alone (``if
TYPE_CHECKING:``, ``from __future__``). No code of the package looks at them, they are a tenth of the bytecode, in each
of six interpreters, and each start would read them. Docstrings and ``assert`` go as with ``-OO``. Lines keep their
numbers.

It is given the package's folder and the path that the code is to name, and writes each module's bytecode file beside
it, with its source's hash, which is not checked when it is imported (PEP 552).
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

LEFT_OUT = "_structlog"
"""Another project's package, which goes as source."""


def main() -> None:
    """Compile all modules below a folder."""
    package, named = sys.argv[1:]
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(name for name in folders if name not in (LEFT_OUT, "__pycache__"))
        for name in sorted(files):
            if name.endswith(".py"):
                place = os.path.relpath(f"{folder}/{name}", package)
                _compile(f"{folder}/{name}", f"{named}/{place}")


def _compile(path: str, named: str) -> None:
    with open(path, "rb") as file:
        source = file.read()
    write_bytecode(path, source, compile(stripped(source), named, "exec", dont_inherit=True, optimize=2))


def stripped(source: bytes) -> ast.Module:
    """A module without its annotations, and without what is there for them alone."""
    tree: ast.Module = _Stripping().visit(ast.parse(source))
    return tree


class _Stripping(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        super().generic_visit(node)
        if isinstance(node, ast.stmt) and getattr(node, "body", None) == []:  # of a class that had nothing else
            node.body = [ast.copy_location(ast.Pass(), node)]  # type: ignore[attr-defined]  # it was asked for
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        plain = ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return None
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "__future__" else node


def write_bytecode(path: str, source: bytes, code: CodeType) -> None:
    """Write a module's bytecode file, where its interpreter looks for it."""
    from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]  # as py_compile does

    target = f"{os.path.dirname(path)}/__pycache__/{os.path.basename(path)[:-3]}.{sys.implementation.cache_tag}.pyc"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(_code_to_hash_pyc(code, importlib.util.source_hash(source), False))


if __name__ == "__main__":
    main()
