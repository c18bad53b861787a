"""A database of an earlier release, with all kinds of entries, goes on with the service of today."""

from __future__ import annotations

import asyncio
import json
import lzma
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from released import CUSTOMERS, KINDS, OPEN, Doors, answers, doors, send_again

from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.store.postgres.migrate import migrate
from ledger.store.postgres.revisions import MigrationRefusedError, known
from ledger.v1 import credit_service_pb2 as pb
from tests.databases import DatabaseUrls, drop_database, execute
from tests.serving import serving

RELEASED = Path(__file__).parent / "released"
RELEASE = RELEASED / "0.1.0"
NEW = [
    *("ledger: shared_0002", "ledger: shared_0003", "ledger: shared_0004"),
    *(f"cell_00: cell_{number:04}" for number in range(2, 14)),
]
"""What a database of the release has not."""
REVERSED = 5
"""Charges and reservations of each customer that are reversed."""

SCHEMA = """
SELECT c.relname AS of, c.relkind::text AS kind, a.attname AS name, a.attnum::text AS place,
       format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END AS what
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = ANY($1::regnamespace[]) AND c.relname <> 'alembic_version'
UNION ALL
SELECT conrelid::regclass::text, 'constraint', conname, '', pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = ANY($1::regnamespace[])
UNION ALL
SELECT p.proname, 'function', '', '', pg_get_functiondef(p.oid) FROM pg_proc p
WHERE p.pronamespace = ANY($1::regnamespace[])
"""
SCHEMAS = ["ledger", "cell_00"]


async def schema_of(url: str) -> set[tuple[str, ...]]:
    """Every column, attribute of a type, index, constraint and function."""
    connection = await asyncpg.connect(url)
    found = {tuple(row) for row in await connection.fetch(SCHEMA, SCHEMAS)}
    await connection.close()
    return found


async def restore(postgres: EmbeddedPostgres, name: str) -> DatabaseUrls:
    """The database of the release, as it left it."""
    await execute(postgres.url, f"CREATE DATABASE {name}")
    urls = DatabaseUrls.of(postgres, name)
    with lzma.open(RELEASE / "journal.sql.xz", "rt", encoding="utf-8") as file:
        await execute(urls.owner, file.read())
    return urls


@pytest.fixture
async def released(postgres: EmbeddedPostgres) -> AsyncIterator[DatabaseUrls]:
    """The database of the release, to change."""
    yield await restore(postgres, "released_own")
    await drop_database(postgres, "released_own")


@pytest.fixture(scope="module")
def migrated(postgres: EmbeddedPostgres) -> Iterator[DatabaseUrls]:
    """The database of the release, migrated."""
    urls = asyncio.run(restore(postgres, "released"))
    assert asyncio.run(migrate(urls.owner)) == NEW
    yield urls
    asyncio.run(drop_database(postgres, "released"))


@pytest.fixture(scope="module")
def address(migrated: DatabaseUrls) -> Iterator[tuple[str, str]]:
    """A server on it."""
    with serving(migrated.environment, "--config", str(RELEASE / "config")) as server:
        yield server.public, server.back_office


@pytest.fixture
async def service(address: tuple[str, str]) -> AsyncIterator[Doors]:
    async with doors(*address) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected() -> Any:
    """What the release's own service has answered."""
    with lzma.open(RELEASE / "answers.json.xz", "rt", encoding="utf-8") as file:
        return json.load(file)


async def test_a_migration_takes_nothing_away(released: DatabaseUrls) -> None:
    """What a server of the version before reads and writes by stays as it was: it works on."""
    before = await schema_of(released.owner)
    assert await migrate(released.owner) == NEW
    after = await schema_of(released.owner)
    assert before - after == set()
    assert after - before


async def test_the_journal_has_entries_of_every_kind(migrated: DatabaseUrls) -> None:
    """Ten thousand of them: what is compared below is not of a few."""
    connection = await asyncpg.connect(migrated.owner)
    kinds = {row[0] for row in await connection.fetch("SELECT DISTINCT kind FROM cell_00.entries")}
    entries = await connection.fetchval("SELECT count(*) FROM cell_00.entries")
    await connection.close()
    assert kinds == KINDS
    assert entries >= 10_000


async def test_answers_are_those_of_the_release(service: Doors, expected: Any) -> None:
    """Balances, lists, reports, margins and explanations of what it has written."""
    found = await answers(service, expected["days"])
    for customer_id, answered in expected["answers"].items():
        found[customer_id]["grants"] = [*map(_as_then, found[customer_id]["grants"])]
        for question, answer in answered.items():
            assert found[customer_id][question] == answer, (customer_id, question)


def _as_then(grant: Any) -> Any:
    """A grant without what the release did not tell: what became of it, which adds up for its grants too."""
    parts = [int(grant.pop(name, 0)) for name in ("consumedMicros", "expiredMicros", "voidedMicros")]
    assert int(grant["amountMicros"]) == int(grant.get("remainingMicros", 0)) + sum(parts)
    assert min(parts) >= 0
    assert (parts[1] > 0) is (grant["status"] == "GRANT_STATUS_EXPIRED")
    return grant


async def test_what_was_sent_is_known(service: Doors, expected: Any) -> None:
    """A write that the release has done has no second effect, and the same answer."""
    for sents in expected["sent"].values():
        for sent in sents:
            reply = await send_again(service, sent)
            assert reply.pop("replayed")
            assert _as_done(reply) == _as_done(sent["reply"])


def _as_done(reply: Any) -> Any:
    """Without what has changed since: a repeat tells the balance and the hold as they are now."""
    return {name: value for name, value in reply.items() if name == "sequence"}


async def test_a_hold_of_the_release_is_committed(service: Doors) -> None:
    """Late as it is: with the terms and the labels that it was made with."""
    listed = await service.credits.ListReservations(pb.ListReservationsRequest(customer_id=OPEN))
    held = [each for each in listed.reservations if each.labels.user == "u"]
    assert len(held) == 3
    commit = pb.CommitReservationRequest(
        request_id="late",
        customer_id=OPEN,
        reservation_id=held[0].reservation_id,
        amount_micros=7,
        final=True,
    )
    reply = await service.credits.CommitReservation(commit)
    assert reply.charge.labels.user == "u"
    found = await service.credits.GetCharge(
        pb.GetChargeRequest(customer_id=OPEN, charge_id=reply.charge.charge_id)
    )
    assert found.charge.labels.user == "u"
    await _verify(service)


async def _verify(service: Doors) -> None:
    found = await service.finance.VerifyJournal(VerifyJournalRequest())
    assert [*found.violations] == []


async def test_a_server_of_the_version_before_is_told(released: DatabaseUrls) -> None:
    """Where the schema is newer than a program it does not start, and says which it is of and what to run."""
    await migrate(released.owner)
    await execute(released.owner, "UPDATE cell_00.alembic_version SET version_num = 'cell_9999'")
    newest = known("cell_00")[-1]
    with pytest.raises(
        MigrationRefusedError, match=rf"cell_00 is of a newer acu-ledger \(at cell_9999;.*{newest}\)"
    ):
        await migrate(released.owner)


async def test_what_the_release_charged_is_reversed(service: Doors, expected: Any) -> None:
    """Charges and reservations, to the micro-credit; the books hold before it and after it.

    The last of those on this database: it changes what the others compare.
    """
    await _verify(service)
    for customer_id in CUSTOMERS:
        charges = expected["answers"][customer_id]["charges"]
        exact = [each for each in charges if _is_exact(each)]
        alone = [each for each in exact if "reservationId" not in each]
        parts = [each for each in exact if each.get("final") and _is_only_part(each, charges)]
        assert min(len(alone), len(parts)) >= REVERSED
        for charge in (*alone[:REVERSED], *parts[:REVERSED]):
            request = pb.ReverseChargeRequest(
                request_id=f"after {charge['chargeId']}",
                customer_id=customer_id,
                reason="after the migration",
            )
            if "reservationId" in charge:
                request.reservation_id = charge["reservationId"]
            else:
                request.charge_id = charge["chargeId"]
            reply = await service.credits.ReverseCharge(request)
            assert reply.returned_micros == int(charge["chargedMicros"])
    await _verify(service)


def _is_exact(charge: Any) -> bool:
    """Nothing of it has gone back, and its lines share no run, period or subject with others."""
    taken_back = charge.get("reversed") or "refundedMicros" in charge
    names = {line["name"] for line in charge.get("lines", ())}
    return "chargedMicros" in charge and not taken_back and names <= {"a/model", "page", "b/unheard-of"}


def _is_only_part(charge: Any, charges: list[Any]) -> bool:
    """The reservation has no other part that was charged."""
    return [each.get("reservationId") for each in charges].count(charge["reservationId"]) == 1
