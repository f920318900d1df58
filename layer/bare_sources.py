"""Sources without what only people read: comments and docstrings. What is left stands in the same lines.

Separate from the build for its one question: what can a source lose without becoming another program? In the layer
sources are for an interpreter whose bytecode it does not have, and for the lines that tracebacks show. Comments and
docstrings are more than half of them, which each new environment would fetch; the repository has them.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

Span = tuple[int, int, int, int]
"""Line and column of the first byte, and of the one behind the last; lines count from 1."""


def bare(source: bytes) -> bytes:
    """Return a module's source without its comments, and with empty docstrings.

    Raises:
        SyntaxError: It is no Python, or not this interpreter's.
    """
    lines = source.split(b"\n")
    for (first, begin, last, end), text in sorted([*_docstrings(source), *_comments(source)], reverse=True):
        rest = lines[last - 1][end:]
        lines[first - 1] = (lines[first - 1][:begin] + text + (rest if first == last else b"")).rstrip()
        for line in range(first + 1, last):
            lines[line - 1] = b""
        if last > first:
            lines[last - 1] = rest.rstrip()
    return b"\n".join(lines)


def bare_script(source: bytes) -> bytes:
    """Return a shell script without the lines that are comments: a shell reads them at each start."""
    first, *lines = source.split(b"\n")
    return b"\n".join([first, *(b"" if line.lstrip().startswith(b"#") else line for line in lines)])


def _docstrings(source: bytes) -> Iterator[tuple[Span, bytes]]:
    """Yield the places of all texts that are statements: attributes have such, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            text = node.value
            assert text.end_lineno is not None and text.end_col_offset is not None, "the parser gives them"
            yield (text.lineno, text.col_offset, text.end_lineno, text.end_col_offset), b'""'


def _comments(source: bytes) -> Iterator[tuple[Span, bytes]]:
    lines = source.decode().split("\n")
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            begin = len(lines[line - 1][:column].encode())  # a tokenizer counts characters, the parser bytes
            yield (line, begin, line, begin + len(token.string.encode())), b""
