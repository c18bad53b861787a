"""Scripts of the schema that were released: nobody edits them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

import ledger.store.migrations
from ledger.store.postgres.revisions import SHARED_SCHEMA, known
from ledger.store.postgres.upgrade import config_of

MIGRATIONS = Path(ledger.store.migrations.__file__).parent
RELEASED = {
    "0001_cell.sql": ("0.1.0", "281aee6f657b01c53b1e9e92b3293b9ba743b0f8498d1016164c31c3bca9b1f2"),
    "0001_shared.sql": ("0.1.0", "166699ef7b6d6b5a675a0526564230e1f9170d48b874572b1b4c302066e160ff"),
}
"""With the release that they came with, and the SHA-256 of their text."""


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_script_is_as_it_was(name: str) -> None:
    """Databases have been made by it: what is to be otherwise is the matter of the next number."""
    release, digest = RELEASED[name]
    found = hashlib.sha256((MIGRATIONS / name).read_bytes()).hexdigest()
    kind = name.partition("_")[2]
    last = max(path.name for path in MIGRATIONS.glob(f"*_{kind}"))
    assert found == digest, (
        f"{name} was released with {release}, and databases were made by it: leave it, and write what changes"
        f" into {int(last[:4]) + 1:04}_{kind}, with a revision beside it"
    )


@pytest.mark.parametrize("history", ["cell", "shared"])
def test_scripts_and_revisions_go_together(history: str) -> None:
    """They are numbered without gaps, one revision for each script."""
    scripts = sorted(path.name[:4] for path in MIGRATIONS.glob(f"*_{history}.sql"))
    revisions = sorted(path.stem[1:] for path in (MIGRATIONS / history).glob("r*.py"))
    assert scripts == revisions == [f"{number:04}" for number in range(1, len(scripts) + 1)]


@pytest.mark.parametrize("schema", [SHARED_SCHEMA, "cell_00"])
def test_revisions_are_those_that_are_applied(schema: str) -> None:
    """A schema is at its newest revision by their names, where alembic finds nothing to apply."""
    applied = [each.revision for each in ScriptDirectory.from_config(config_of(schema)).walk_revisions()]
    assert known(schema) == applied[::-1]
