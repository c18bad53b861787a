"""`acu-ledger keys`: the first one at the database, all others by a server; on stdout and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import Ran, acu_ledger, refused_at_once

from ledger.access.keys import parse
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from conftest import DatabaseUrls, Serve

CONFIG = REPOSITORY / "ledger" / "sample" / "config"


def keys(*arguments: object, **environment: str) -> Ran:
    return acu_ledger("keys", *arguments, environment=environment)


def shown(ran: Ran) -> str:
    """The key that a command shows: alone on stdout, and not on stderr."""
    assert ran.status == 0, ran.stderr
    text, end = ran.stdout[:-1], ran.stdout[-1]
    key = parse(text)
    assert key is not None
    assert end == "\n"
    assert key.secret not in ran.stderr
    return text


def test_keys_from_the_first_to_the_last(database_urls: DatabaseUrls, serve: Serve) -> None:
    """The first is made at the database; it makes, lists, rotates and revokes the others at a server."""
    at_database = {"DATABASE_URL": database_urls.owner}
    refused = keys("create", "--scope", "backend", "--name", "app", **at_database)
    assert (refused.status, refused.stdout) == (1, "")
    assert "scopes: lacks ops, which the first key has to have" in refused.stderr
    first = shown(keys("create", "--scope", "ops", "--name", "first", **at_database))
    with serve(database_urls, CONFIG) as server:
        target = ("--target", server.back_office)
        without = keys("list", *target)
        assert (without.status, without.stdout) == (1, "")
        assert "UNAUTHENTICATED" in without.stderr
        own = {"ACU_LEDGER_KEY": first}
        made = ("create", "--scope", "backend", "--name", "app", "--request-id", "r-1", *target)
        app = shown(keys(*made, **own))
        again = keys(*made, **own)
        assert (again.status, again.stdout) == (1, "")
        assert "is not shown again" in again.stderr
        successor = shown(keys("rotate", parse(app).key_id, "--overlap", "0s", *target, **own))
        assert shown(keys("create", "--scope", "ops", "--name", "spare", **at_database)) != first
        revoked = keys("revoke", parse(successor).key_id, "--json", *target, **own).json()
        assert (revoked["key"]["state"], revoked["key"]["revoked_by"]) == ("KEY_STATE_REVOKED", "first")
        listed = keys("list", "--json", *target, **own).json()["keys"]
        assert [(key["name"], key["created_by"], key["state"][10:]) for key in listed] == [
            ("spare", "database", "ACTIVE"),
            ("app", "first", "REVOKED"),
            ("app", "first", "EXPIRED"),
            ("first", "database", "ACTIVE"),
        ]
        odd = shown(keys("create", "--scope", "refund", "--name", "[red]a[/b] :key:", *target, **own))
        reported = keys("list", *target, **own).stdout
        assert parse(odd).key_id in reported
        assert "[red]a[/b]" in reported
        assert ":key:" in reported
        assert f"first {parse(first).key_id}" in " ".join(reported.split())
        log = server.log()
    for secret in (first, app, successor):
        assert parse(secret).secret not in log


@pytest.mark.parametrize("overlap", ["", "1", "1w", "-1s", "1.5h"])
def test_an_overlap_is_a_number_and_a_unit(overlap: str) -> None:
    """What it may look like is reported."""
    reported = refused_at_once("keys", "rotate", "x", f"--overlap={overlap}")
    assert "write 90s, 30m, 24h or 7d" in reported


def test_a_key_at_an_embedded_database(clusters: Path) -> None:
    """Where the database is a directory's, and no server runs."""
    shown(keys("create", "--scope", "ops", "--name", "first", "--data", clusters / "keys"))
