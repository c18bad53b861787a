"""SQL stands in files beside the modules that run it: each text has a name, a use, and no slot too many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ledger.store
from ledger.store.statements import fill, statements_of

STORE = Path(ledger.store.__file__).parent
FILES = sorted(file for file in STORE.rglob("*.sql") if "migrations" not in file.parts)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(STORE)))
def test_every_text_is_used(file):
    """By the module beside the file, or in a slot of the file itself."""
    module, texts = file.with_suffix(".py").read_text(), file.read_text()
    names = re.findall(r"^-- (?:name|fragment): (\w+)$", texts, re.MULTILINE)
    assert names
    used = set(re.findall(r"[\"'](\w+)[\"']", module)) | set(re.findall(r"\{(\w+)\}", texts))
    assert set(names) <= used


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module with SQL beside it, and gives its name."""

    def made(sql: str) -> str:
        package = tmp_path / "stored"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "rows.sql").write_text(sql)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(__import__("sys").modules, "stored", raising=False)
        return "stored.rows"

    return made


def test_slots_are_filled_by_fragments_and_by_what_is_given(module):
    """Those in what fills them too; what is left is the statement's own, and so is a brace written twice."""
    made = statements_of(
        module(
            "-- name: rows\n-- What it is.\nSELECT {columns} {source}\n\n"
            "-- fragment: source\nFROM {cell}.rows WHERE path = '{{a,b}}' LIMIT {rows_max}\n"
        ),
        columns="x.id",
        rows_max=3,
    )
    assert made["rows"] == "SELECT x.id FROM {cell}.rows WHERE path = '{{a,b}}' LIMIT 3"
    assert made["rows"].format(cell="cell_00") == "SELECT x.id FROM cell_00.rows WHERE path = '{a,b}' LIMIT 3"


@pytest.mark.parametrize(
    ("sql", "slots", "said"),
    [
        ("-- name: rows\nSELECT 1\n-- name: rows\nSELECT 2\n", {}, "two things"),
        ("-- name: rows\nSELECT {rows_max}\n-- fragment: rows_max\n3\n", {"rows_max": 3}, "two things"),
        ("-- name: rows\nSELECT 1\n", {"rows_max": 3}, "no slot for rows_max"),
    ],
)
def test_names_that_say_two_things_or_nothing_are_refused(module, sql, slots, said):
    """When the module is imported, not when a statement is sent."""
    with pytest.raises(ValueError, match=said):
        statements_of(module(sql), **slots)


def test_filling_leaves_other_slots():
    """So a text may be put together in steps, and its cell be named last."""
    assert fill("{cell}.{table}", table="lots") == "{cell}.lots"
