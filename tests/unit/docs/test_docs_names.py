"""One name, one thing: whoever looks for a class finds one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVICE = sorted(
    path
    for path in (ROOT / "ledger").rglob("*.py")
    # The client's names are for its callers, who import nothing else; what is generated has its protos'.
    if path.relative_to(ROOT).parts[1] != "client" and "_pb2" not in path.name
)
TWICE = {"Invariant", "Violation"}
"""Of the books, in memory and in the database: the same things, looked at in two ways."""


def test_no_two_classes_of_the_service_have_one_name() -> None:
    """But those that a module keeps to itself."""
    modules = defaultdict(list)
    for path in SERVICE:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in modules.items() if len(found) > 1 and name not in TWICE} == {}
    assert all(len(modules[name]) == 2 for name in TWICE)
