"""Verification: a clean journal holds, and every planted break is found and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction

import asyncpg
import pytest
from bookkeeper import CELL, CREDIT, DOLLAR, Bookkeeper, catch_up, line, varied_history

from ledger.books import MAX_AMOUNT, PoolPart
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceMetrics
from ledger.store.finance.invariants import INVARIANTS, OF_BOOKS, OF_ROLLUPS
from ledger.store.finance.verify import VIOLATIONS_MAX, verify_customers, verify_journal
from ledger.store.postgres.database import Connection, Database
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import DatabaseUrls, drop_database, new_database
from tests.waiting import until

UNGUARDED = f"""
ALTER TABLE {CELL}.entries DROP CONSTRAINT entries_check;
ALTER TABLE {CELL}.money DROP CONSTRAINT money_check1;
ALTER TABLE {CELL}.wallets DROP CONSTRAINT wallets_check;
DROP INDEX {CELL}.entries_request_id;
"""
"""The schema refuses most of what is planted here: verification must not rest on that."""

A_COMMIT = f"""(SELECT max(e.sequence) FROM {CELL}.entries e JOIN {CELL}.money m USING (customer, sequence)
              WHERE e.customer = 1 AND e.kind = 'COMMIT' AND m.draws IS NOT NULL AND m.lines IS NOT NULL)"""
A_LOT = (
    f"(SELECT max(sequence) FROM {CELL}.lots WHERE customer = 1 AND status = 'ACTIVE' AND remaining > held)"
)

PLANTED = [
    ("postings_balance", "entries SET consumed = consumed + 1 WHERE customer = 1 AND sequence = 2"),
    ("postings_balance", "money SET cost = cost - 1 WHERE customer = 1 AND sequence = {commit}"),
    ("sequences_without_gaps", "wallets SET sequence = sequence + 1 WHERE customer = 1"),
    ("sequences_without_gaps", "entries SET sequence = 99 WHERE customer = 1 AND sequence = {commit}"),
    ("customers_have_wallets", "wallets SET customer = 99 WHERE customer = 1"),
    ("request_ids_unique", "entries SET request_id = 'r' WHERE customer = 1 AND sequence IN (2, 3)"),
    ("instants_never_go_back", "entries SET booked_at = '2026-01-01Z' WHERE customer = 1 AND sequence = 5"),
    (
        "instants_never_go_back",
        "entries SET effective_at = '2026-01-01Z' WHERE customer = 1 AND sequence = 5",
    ),
    (
        "balances_follow_postings",
        "entries SET held_after = held_after + 1 WHERE customer = 1 AND sequence = 5",
    ),
    ("wallet_is_replay", "wallets SET available = available + 1, consumed = consumed - 1 WHERE customer = 1"),
    ("lots_are_balances", "lots SET remaining = remaining - 1 WHERE customer = 1 AND sequence = {lot}"),
    ("lots_are_balances", "wallets SET pending = pending + 1 WHERE customer = 1"),
    ("lot_amounts_conserved", "lots SET amount = amount + 1 WHERE customer = 1 AND sequence = {lot}"),
    ("lot_amounts_conserved", "lots SET status = 'ACTIVE' WHERE customer = 1 AND status = 'EXPIRED'"),
    (
        "lot_amounts_conserved",
        (
            "money SET draws = jsonb_set(draws::jsonb, '{0,2}', '1')::json "
            "WHERE customer = 1 AND sequence = {commit}"
        ),
    ),
    ("held_is_pins", "wallets SET held = held + 1, available = available - 1 WHERE customer = 1"),
    (
        "held_is_pins",
        (
            "reservations SET pins = jsonb_set(pins::jsonb, '{0,2}', '1')::json "
            "WHERE customer = 1 AND state = 'OPEN'"
        ),
    ),
    ("held_is_pins", "reservations SET state = 'RELEASED' WHERE customer = 1 AND state = 'OPEN'"),
    (
        "deferred_is_lot_value",
        "lot_values SET value_nanousd = value_nanousd + 1 WHERE customer = 1 AND sequence = {lot}",
    ),
    (
        "deferred_is_lot_value",
        (
            "lot_values v SET value_nanousd = 1 FROM {cell}.lots l WHERE l.customer = 1 AND v.customer = 1 "
            "AND v.sequence = l.sequence AND l.remaining = 0"
        ),
    ),
    ("unbilled_is_debt", "debts SET unbilled_nanousd = unbilled_nanousd - 1 WHERE customer = 1"),
    ("dollars_have_entry", "money SET sequence = 99 WHERE customer = 1 AND sequence = {commit}"),
    (
        "entry_is_lines",
        (
            "money SET cost = cost - 1, provider_payable = provider_payable + 1 "
            "WHERE customer = 1 AND sequence = {commit}"
        ),
    ),
    (
        "entry_is_lines",
        "money SET revenue = revenue + 1, deferred = deferred - 1 WHERE customer = 1 AND sequence = {commit}",
    ),
    (
        "entry_is_lines",
        (
            "entries SET lines = jsonb_set(lines::jsonb, '{0,credits_micros}', '1')::json "
            "WHERE customer = 1 AND sequence = {commit}"
        ),
    ),
    (
        "entry_is_lines",
        (
            "money SET lines = (SELECT json_agg(l::jsonb - 'revenue_nanousd' - 'cost_nanousd') "
            "FROM json_array_elements(lines) AS l), cost = 0, provider_payable = 0 "
            "WHERE customer = 1 AND sequence = {commit}"
        ),
    ),
    ("charge_is_consumed", "entries SET uncollected = 1 WHERE customer = 1 AND sequence = {commit}"),
    (
        "returns_within_charge",
        "entries SET consumed = consumed - 1000000000 WHERE customer = 1 AND kind = 'REFUND'",
    ),
    ("returns_within_charge", "entries SET consumed = consumed + 1 WHERE customer = 1 AND kind = 'REVERSAL'"),
    (
        "absorbed_within_cost",
        "money SET absorbed_unpriced = -1 WHERE customer = 1 AND sequence = {commit}",
    ),
    ("reservation_is_entries", "reservations SET charged = charged + 1 WHERE customer = 1"),
    ("reservation_is_entries", "reservations SET expires_at = now() WHERE customer = 1 AND state = 'OPEN'"),
    ("states_are_due", "states SET closes_at = NULL WHERE customer = 1 AND surplus > 0"),
    ("states_are_due", "wallets SET next_due_at = NULL WHERE customer = 1"),
    ("states_are_due", "states SET uncollected = -1 WHERE customer = 1"),
    ("states_are_due", "states SET collected = 10000000000 WHERE customer = 1"),
    ("remainders_are_carried", """wallets SET tallies = '{"standard": ["1/3", 0]}' WHERE customer = 1"""),
    (
        "remainders_are_carried",
        """money SET remainders = '{"pool:p": "1/3"}' WHERE customer = 1 AND sequence = {commit}""",
    ),
    ("margins_are_sums", "rollup_lines SET revenue_nanousd = 1 WHERE customer = 1 AND kind = 'tokens'"),
    ("lines_are_sums", "rollup_lines SET saved_nanousd = 1 WHERE customer = 1 AND lever = 'routing'"),
    ("lines_are_sums", "rollup_lines SET own_key_nanousd = 1 WHERE customer = 1 AND kind = 'tokens'"),
    ("lines_are_sums", "rollup_lines SET lines = lines + 1 WHERE customer = 1 AND kind = 'compute'"),
    (
        "lines_are_sums",
        "rollup_lines SET unpriced_lines = unpriced_lines - 1 WHERE customer = 1 AND unpriced_lines > 0",
    ),
    (
        "lines_are_sums",
        "rollup_lines SET uncosted_lines = uncosted_lines - 1 WHERE customer = 1 AND uncosted_lines > 0",
    ),
    (
        "lines_are_sums",
        (
            "rollup_lines SET unpriced_lines = 1, uncosted_lines = 1 "
            "WHERE customer = 1 AND kind = 'units' AND unpriced_lines = 0"
        ),
    ),
    (
        "lines_are_sums",
        (
            "rollup_lines SET revenue_nanousd = revenue_nanousd "
            "+ CASE kind WHEN 'compute' THEN 1 ELSE -1 END "
            "WHERE customer = 1 AND (kind, model, lever) IN (('compute', '', ''), ('units', '', ''))"
        ),
    ),
    ("budgets_are_counts", "states SET state = '1' WHERE customer = 1 AND key LIKE 'budget:%'"),
    ("budgets_are_counts", "states SET key = 'budget:lost' WHERE customer = 1 AND key LIKE 'budget:ample:%'"),
    ("budgets_are_counts", "budgeted SET counters = NULL WHERE customer = 1 AND counters IS NOT NULL"),
    ("accounts_are_sums", "rollup_accounts SET amount = amount + 1 WHERE account = 'deferred'"),
    ("accounts_are_sums", "rollup_accounts SET amount = amount + 1 WHERE account = 'unpriced_lines'"),
    ("accounts_are_sums", "rollup_accounts SET amount = amount + 1 WHERE account = 'uncosted_lines'"),
    ("accounts_are_sums", "rollup_accounts SET amount = amount - 1 WHERE account = 'saved'"),
    ("accounts_are_sums", "rollup_accounts SET kind = 'units' WHERE account = 'own_key'"),
]
"""What each invariant must find: an UPDATE, of customer 1."""


OF_CUSTOMERS = (*OF_BOOKS, *OF_ROLLUPS)


@pytest.fixture(scope="module")
def history(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with both customers' books, one of them with an open reservation, and rolled up: to copy."""
    name = "history"

    async def make() -> None:
        urls = await new_database(postgres, name)
        database = await _opened(urls)
        writer = await database.connect_writer("finance tests")
        acme, _ = await varied_history(database, writer)
        await acme.grant(20 * CREDIT, 5 * DOLLAR)
        await acme.reserve(10 * CREDIT)
        await catch_up(Tailer(database, [CELL], FinanceMetrics()))
        await writer.close()
        await database.close()
        await until(nobody_is_connected)

    async def nobody_is_connected() -> bool:
        connection = await asyncpg.connect(postgres.url)
        sessions = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
        await connection.close()
        return sessions == 0

    asyncio.run(make())
    yield name
    asyncio.run(drop_database(postgres, name))


@pytest.fixture
async def copy(postgres: EmbeddedPostgres, history: str) -> AsyncIterator[DatabaseUrls]:
    """A copy of that history."""
    name = f"{history}_copy"
    yield await new_database(postgres, name, history)
    await drop_database(postgres, name)


@pytest.fixture
async def books(copy: DatabaseUrls) -> AsyncIterator[Database]:
    """The copy, with its pools open."""
    opened = await _opened(copy)
    yield opened
    await opened.close()


@pytest.fixture
async def owner_of_books(copy: DatabaseUrls) -> AsyncIterator[Connection]:
    """A session that may do everything to the copy."""
    opened = await asyncpg.connect(copy.owner)
    yield opened
    await opened.close()


async def _opened(urls: DatabaseUrls) -> Database:
    return await Database.open(
        urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
    )


async def test_a_clean_journal_holds(books):
    """Whatever commands have made the journal, no invariant is broken."""
    found = await verify_journal(books.finance, [CELL])
    assert found.violations == ()
    assert found.customers == 2
    assert found.entries > 35


async def test_what_pools_pay_is_in_no_count_of_budgets(database, writer):
    """The journal's lines say it too: of a charge that a pool has paid in part the rest counts."""
    acme = await Bookkeeper.open(database, writer, "acme")
    await acme.grant(3 * CREDIT, scope="pool:pages")
    await acme.grant(10 * CREDIT)
    paged = line("units", micros=8 * CREDIT)._replace(pool=PoolPart("pages", Fraction(4 * CREDIT)))
    assert (await acme.charge(paged)).lines[0].pool_micros == 3 * CREDIT
    assert await writer.fetchval(f"SELECT state FROM {CELL}.states") == str(2 * CREDIT)
    assert (await verify_journal(database.finance, [CELL])).violations == ()


@pytest.mark.parametrize(("invariant", "damage"), PLANTED)
async def test_a_planted_break_is_found(books, owner_of_books, invariant, damage):
    """Damage that the service cannot do is found, under the name of the invariant, at its customer."""
    await owner_of_books.execute(UNGUARDED)
    for name, text in (("{cell}", CELL), ("{commit}", A_COMMIT), ("{lot}", A_LOT)):
        damage = damage.replace(name, text)
    status = await owner_of_books.execute(f"UPDATE {CELL}.{damage}")
    assert not status.endswith(" 0"), "something was damaged"
    found = (await verify_journal(books.finance, [CELL])).violations
    named = [each for each in found if each.invariant == invariant]
    assert named, f"found only {found}"
    assert {each.customer_id for each in named} == {"" if invariant == "accounts_are_sums" else "acme"}
    if invariant != "accounts_are_sums":
        breaks = (await verify_customers(books.finance, CELL, [1, 2], OF_CUSTOMERS)).breaks
        assert breaks.keys() == {1}, "the other customer's books verify"
        assert {each.invariant for each in breaks[1]} == {
            each.invariant for each in found if each.customer_id == "acme"
        }
        assert not (await verify_customers(books.finance, CELL, [2], OF_CUSTOMERS)).breaks


def test_every_invariant_is_planted_against():
    """No invariant is trusted that has not been seen to find a break."""
    assert {name for name, _ in PLANTED} == {invariant.name for invariant in INVARIANTS}


async def test_a_lost_wallet_is_found(books, owner_of_books):
    """A customer with entries and without a wallet is reported too, by the directory's name of it."""
    await owner_of_books.execute(f"DELETE FROM {CELL}.wallets WHERE customer = 1")
    found = (await verify_journal(books.finance, [CELL])).violations
    assert {"sequences_without_gaps", "wallet_is_replay"} <= {each.invariant for each in found}
    assert {each.customer_id for each in found} == {"acme"}


UNREADABLE = [
    ("held_is_pins", "reservations SET pins = '1' WHERE customer = 1"),
    ("held_is_pins", """reservations SET pins = '[[1, 1, "x"]]' WHERE customer = 1 AND state = 'OPEN'"""),
    ("remainders_are_carried", """wallets SET tallies = '{"standard": ["1/0", 0]}' WHERE customer = 1"""),
    ("entry_is_lines", "money SET lines = '{}' WHERE customer = 1 AND lines IS NOT NULL"),
    ("lot_amounts_conserved", "money SET draws = '[[1]]' WHERE customer = 1 AND sequence = {commit}"),
]
"""What no invariant can be computed of, or is nothing that the service writes."""


@pytest.mark.parametrize(("invariant", "damage"), UNREADABLE)
async def test_what_cannot_be_read_is_a_break(books, owner_of_books, invariant, damage):
    """It ends neither the verification of everything nor that of its neighbours: it is found."""
    await owner_of_books.execute(f"UPDATE {CELL}.{damage.replace('{commit}', A_COMMIT)}")
    found = (await verify_journal(books.finance, [CELL])).violations
    assert invariant in {each.invariant for each in found}
    breaks = (await verify_customers(books.finance, CELL, [1, 2], OF_CUSTOMERS)).breaks
    assert breaks.keys() == {1}
    assert invariant in {each.invariant for each in breaks[1]}


async def test_a_page_that_is_lost_is_a_break(books, owner_of_books):
    """What a disk has lost of one customer is found, and the others are verified."""
    await owner_of_books.execute(f"""
        CREATE FUNCTION public.torn(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS $$
        BEGIN
            IF $1 = 1 THEN RAISE data_corrupted; END IF;
            RETURN $2;
        END $$;
        ALTER TABLE {CELL}.debts RENAME TO on_disk;
        CREATE VIEW {CELL}.debts AS
            SELECT customer, public.torn(customer, unbilled_nanousd) AS unbilled_nanousd FROM {CELL}.on_disk;
        GRANT SELECT ON {CELL}.debts TO acu_finance;
    """)
    breaks = (await verify_customers(books.finance, CELL, [1, 2], OF_CUSTOMERS)).breaks
    assert {each.invariant for each in breaks.pop(1)} == {"unbilled_is_debt"}
    assert not breaks
    found = (await verify_journal(books.finance, [CELL])).violations
    assert {each.invariant for each in found} == {"unbilled_is_debt"}


async def test_at_most_a_hundred_violations_are_told(database, writer, owner):
    """Who has very many breaks gets the first hundred, in an answer of bounded size."""
    customer = await Bookkeeper.open(database, writer, "acme")
    for _ in range(30):
        await customer.charge(line(cost_nanousd=1))
    await owner.execute(UNGUARDED)
    await owner.execute(
        f"UPDATE {CELL}.entries SET pending_after = sequence * sequence, consumed = 1, request_id = 'same'"
    )
    await owner.execute(f"UPDATE {CELL}.money SET cost = cost - 7, lines = NULL")
    found = await verify_journal(database.finance, [CELL])
    assert len(found.violations) == VIOLATIONS_MAX


async def test_verification_is_of_one_instant(database, writer):
    """What is written meanwhile is wholly in or wholly out: no break is seen that is none."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(1_000 * CREDIT, 1_000 * DOLLAR)
    done = asyncio.Event()

    async def verify() -> None:
        while not done.is_set():
            found = await verify_journal(database.finance, [CELL])
            assert found.violations == ()

    verifying = asyncio.create_task(verify())
    tail = Tailer(database, [CELL], FinanceMetrics())
    for _ in range(20):
        session = await customer.reserve(10 * CREDIT)
        await customer.commit(session, line(micros=3 * CREDIT, cost_nanousd=DOLLAR))
        await tail.step(CELL)
    done.set()
    await verifying


async def test_books_at_their_bounds_are_written_rolled_up_and_hold(database, writer):
    """Grants, charges and memos at the bound, and what comes back of them all: 64 bits hold each row."""
    customer = await Bookkeeper.open(database, writer, "acme")
    charges = []
    for _ in range(3):
        await customer.grant(10 * CREDIT, MAX_AMOUNT)
        memos = [MAX_AMOUNT + 1, -MAX_AMOUNT]
        lines = [line(micros=5 * CREDIT, saved_nanousd=memo, lever="routing") for memo in memos]
        charges.append((await customer.charge(*lines)).sequence)
    await customer.reverse(charge=charges[0])
    for charge in charges[1:]:
        await customer.refund(charge)
    await customer.charge(line(micros=30 * CREDIT, cost_nanousd=MAX_AMOUNT, saved_nanousd=MAX_AMOUNT))
    await catch_up(Tailer(database, [CELL], FinanceMetrics()))
    found = await verify_journal(database.finance, [CELL])
    assert found.violations == ()
    assert found.entries == 11
