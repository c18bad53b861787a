"""Docstrings have one voice: they say what a thing is or does, and command nobody."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
_WORDS = """
    Add Append Ask Begin Bring Carry Check Close Compare Compile Copy Decide Divide Drop Expire Find Get Give
    Judge Keep Lengthen Let Load Make Multiply Negate Note Pay Post Put Raise Read Refuse Remember Replay
    Restore Return Reverse Round Run Say Scale Sell Send Set Show Split Strip Sum Take Tell Undo
    Use Wait Write Yield
"""
COMMANDS = frozenset(_WORDS.split())
"""Plain forms of verbs that begin no name of a thing. The linter's D401 asks for them, and is off."""
HELP = REPOSITORY / "ledger" / "cli" / "commands"
"""Its docstrings are the help that the command line prints, which says what one can have it do."""


def _first_words() -> Iterator[tuple[str, str]]:
    """Of the docstrings of all classes and functions: where it stands, and its first word."""
    for part in ("ledger", "pricing"):
        for file in sorted((REPOSITORY / part).rglob("*.py")):
            if "_pb2" in file.name or file.is_relative_to(HELP):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    said = (ast.get_docstring(node) or "").split()
                    if said:
                        yield f"{file.relative_to(REPOSITORY)}:{node.lineno}", said[0].rstrip(",.:;")


def test_no_docstring_is_a_command() -> None:
    """Third person or a noun: `Adds …`, `What is left of …`; never `Add …`, `Return …`."""
    first = list(_first_words())
    assert first
    assert [f"{where}: {word}" for where, word in first if word in COMMANDS] == []
