"""The page for a first reader: each step of its code is a function of the service, where the page says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "one-commit.md"
LINES_MAX = 40
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"^(\d+)\. \[`(\w+)`\]\((\S+?)\)", re.MULTILINE)


class _Step(NamedTuple):
    number: int
    name: str
    file: Path


def _code() -> list[str]:
    """Its lines, without those that are blank."""
    found = _BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return [line for line in found[1].splitlines() if line.strip()]


def _steps() -> list[_Step]:
    """Of the list."""
    found = _STEP.findall(PAGE.read_text(encoding="utf-8"))
    return [_Step(int(number), name, (PAGE.parent / path).resolve()) for number, name, path in found]


def _defined(file: Path) -> set[str]:
    """Its functions, those within classes and functions too."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("step", _steps(), ids=lambda step: step.name)
def test_each_step_is_defined_where_its_link_leads(step: _Step) -> None:
    """Under the name that the page gives it."""
    assert step.name in _defined(step.file)


def test_each_line_with_a_number_is_the_step_of_that_number() -> None:
    """From 1 on, in order; the line has the step's name."""
    numbered = {
        int(found[1]): line.partition("#")[0] for line in _code() if (found := re.search(r"# (\d+)\b", line))
    }
    assert list(numbered) == [step.number for step in _steps()] == list(range(1, len(numbered) + 1))
    for step in _steps():
        assert re.search(rf"\b{step.name}\b", numbered[step.number]), step


def test_it_is_no_longer_than_it_says() -> None:
    """Lines of code; blank ones are none."""
    assert len(_code()) <= LINES_MAX
