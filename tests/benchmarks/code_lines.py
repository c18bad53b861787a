"""How many lines of code the service's path has: none that is blank, a comment or a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

ROOMS = (
    "ledger/api",
    "ledger/books",
    "ledger/clock.py",
    "ledger/engine",
    "ledger/followers",
    "ledger/prices",
    "ledger/publishing",
    "ledger/simulation",
    "ledger/store",
    "pricing",
)
"""Engine, books, api, store and pricing, with what has been one of them; a commit may lack some."""
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def code_lines(checkout: Path) -> int:
    """Of the rooms that the checkout has: Python, and SQL outside the migrations, which only grow."""
    rooms = [checkout / room for room in ROOMS if (checkout / room).exists()]
    files = [file for room in rooms for file in ([room] if room.is_file() else sorted(room.rglob("*")))]
    return sum(lines_of_file(file) for file in files if "migrations" not in file.parts)


def lines_of_file(file: Path) -> int:
    """Of one file: 0 for what is neither Python nor SQL."""
    if file.suffix == ".py":
        return lines_of_python(file.read_text(encoding="utf-8"))
    if file.suffix == ".sql":
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        return sum(bool(line) and not line.startswith("--") for line in lines)
    return 0


def lines_of_python(text: str) -> int:
    """Lines on which a token stands, or a part of one; a sentence that stands by itself is a docstring."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)
