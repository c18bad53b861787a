"""`acu-ledger audit`: who did what, from the first key on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from command_line import acu_ledger, refused_at_once

from ledger.access.keys import parse
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from conftest import DatabaseUrls, Serve

CONFIG = REPOSITORY / "ledger" / "sample" / "config"


def test_the_audit_from_the_first_key_on(database_urls: DatabaseUrls, serve: Serve) -> None:
    """What was made at the database, taken from files and done with a key, the newest first; no secret."""
    at_database = {"DATABASE_URL": database_urls.owner}
    made = acu_ledger("keys", "create", "--scope", "ops", "--name", "kim", environment=at_database)
    first = made.stdout.strip()
    key_id = parse(first).key_id
    with serve(database_urls, CONFIG) as server:
        target, own = ("--target", server.back_office), {"ACU_LEDGER_KEY": first}

        def ran(*arguments: object) -> str:
            reported = acu_ledger(*arguments, *target, environment=own)
            assert reported.status == 0, reported.stderr
            assert parse(first).secret not in reported.stdout + reported.stderr
            return reported.stdout + reported.stderr

        ran("customers", "create", "acme", "--card", "resolved", "--request-id", "r-1")
        ran("customers", "create", "acme", "--card", "resolved", "--request-id", "r-1")
        ran("grants", "issue", "acme", "12.5")
        events = json.loads(ran("audit", "--json"))["events"]
        reported = [(event["method"], event["resource"], event["name"], event["key_id"]) for event in events]
        assert reported[:2] == [
            ("IssueGrant", "customers/acme", "kim", key_id),
            ("CreateCustomer", "customers/acme", "kim", key_id),
        ]
        assert reported[-1] == ("CreateKey", f"keys/{key_id}", "database", "")
        assert {each[0] for each in reported[2:-1]} == {"files"}
        assert json.loads(events[0]["after"])["amount_micros"] == 12_500_000

        table = ran("audit", "--customer", "acme", "--limit", 1)
        assert "amount_micros: 12500000" in table
        assert "CreateCustomer" not in table
        assert "There is more: these are the newest 1" in table
        assert ran("audit", "--customer", "acme", "--limit", 2).count("There is more") == 0
        [found] = json.loads(ran("audit", "--json", "--method", "CreateKey"))["events"]
        assert found == events[-1]
        by_key = json.loads(ran("audit", "--json", "--key", key_id, "--since", "2000-01-01"))["events"]
        assert by_key == events[:2]
        for none in (("--until", "2000-01-01"), ("--resource", "plan"), ("--key", "another")):
            assert json.loads(ran("audit", "--json", *none)) == {"events": [], "next_page_token": ""}


def test_a_customer_is_a_resource() -> None:
    """One of the two ways to name it."""
    reported = refused_at_once("audit", "--customer", "acme", "--resource", "plans")
    assert "say one of the two" in reported
