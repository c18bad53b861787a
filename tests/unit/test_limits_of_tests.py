"""Tests ask what happens at a limit by handing in one of their own: they change no constant of the service.

What is changed under a server that others share is theirs too, and a constant that moves is changed in vain.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def is_constant(name: str) -> bool:
    return name.isupper() and len(name) > 1


def set_anew(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Constants of other modules that a module sets: by `setattr` of whatever kind, or by assignment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            names = [value.rpartition(".")[2] for value in values if isinstance(value, str)]
            if called == "setattr":
                yield from ((node.lineno, name) for name in names if is_constant(name))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and is_constant(target.attr):
                    yield node.lineno, target.attr


def test_no_test_sets_a_constant() -> None:
    """Limits, clocks and configurations are arguments."""
    found = [
        f"{path.relative_to(TESTS)}:{line} {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in set_anew(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_what_sets_a_constant_is_found() -> None:
    """By its module, by its path, and by assignment; a name of the test's own is no such thing."""
    text = """
monkeypatch.setattr(module, "SECONDS_MAX", 1)
patch.setattr("package.module.SECONDS_MAX", 1)
module.SECONDS_MAX = 1
SECONDS_MAX = 1
monkeypatch.setattr(os, "pwrite", full)
"""
    assert sorted(set_anew(ast.parse(text))) == [(line, "SECONDS_MAX") for line in (2, 3, 4)]
