"""PostgreSQL's programs: which of them, and what of a URL they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.store.postgres.programs import Connect, ProgramError, Programs


@pytest.mark.parametrize(
    ("url", "argument", "password"),
    [
        ("postgresql://u:p%2Fw@h:5432/d", "postgresql://u@h:5432/d", "p/w"),
        ("postgresql://u:@/d?host=/run/x", "postgresql://u@/d?host=%2Frun%2Fx", None),
        ("postgresql://u@h/d?password=pw&sslmode=require", "postgresql://u@h/d?sslmode=require", "pw"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1:1,h2:2/d", None),
    ],
)
def test_no_argument_has_a_password(url: str, argument: str, password: str | None) -> None:
    """Every user of the machine can read arguments; a password goes by the environment."""
    assert Connect.of(url) == (argument, {} if password is None else {"PGPASSWORD": password})


def test_a_password_that_only_an_argument_could_tell() -> None:
    """That of a client's key has no variable."""
    with pytest.raises(ProgramError, match="sslpassword"):
        Connect.of("postgresql://u@h/d?sslpassword=x")


async def test_the_nearest_version_that_reads_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never an older one; where there is none it is said which are there, and what to install."""
    for major in (98, 99):
        for program in ("pg_dump", "pg_restore"):
            file = tmp_path / str(major) / program
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {major}.1'\n")
            file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/99:{tmp_path}/98:/bin")
    assert await Programs.find(98) == (tmp_path / "98", 98)
    assert (await Programs.find(99)).major == 99
    embedded = (await Programs.find(18)).major
    for program in ("pg_dump", "pg_restore"):
        file = tmp_path / "98" / program
        file.write_text(file.read_text().replace("98.1", f"{embedded}.1"))
    assert await Programs.find(embedded) == (tmp_path / "98", embedded)
    with pytest.raises(ProgramError, match=r"100 or newer are needed \(found: .*99 in .*client-100"):
        await Programs.find(100)
