"""Imports: up to 500 customers and grants in a call, each with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from api_world import CREDIT, Refused, World, refusal

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.cli.importing.importer import Importer, ImportTally
from ledger.cli.importing.requests import CUSTOMERS, GRANTS, ImportKind
from ledger.cli.importing.row_files import TextRow
from ledger.cli.services import connect
from ledger.store.postgres.database import ROLES
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.serving import UNHURRIED

pytestmark = pytest.mark.asyncio(loop_scope="session")


def new(customer_id: str | None = None, **fields: str) -> admin.ImportItem:
    """A customer of the standard plan."""
    customer = admin.Customer(
        **{"customer_id": customer_id or f"new_{fresh()}", "plan": "standard", **fields}
    )
    request = admin.CreateCustomerRequest(request_id=fresh(), customer=customer)
    return admin.ImportItem(create_customer=request)


def grant(customer_id: str, amount_micros: int = CREDIT, **fields: object) -> admin.ImportItem:
    """A credit that was paid for."""
    given = {"request_id": fresh(), "customer_id": customer_id, "kind": wallet.GRANT_KIND_PAID, **fields}
    return admin.ImportItem(issue_grant=admin.IssueGrantRequest(amount_micros=amount_micros, **given))


async def imported(world: World, *items: admin.ImportItem) -> list[admin.ImportResult]:
    return list((await world.admin.Import(admin.ImportRequest(items=items))).results)


def outcomes(results: list[admin.ImportResult]) -> list[str | None]:
    return [result.WhichOneof("outcome") for result in results]


async def test_each_is_answered_as_by_its_own_method(world, customer):
    """Customers come first, wherever they stand: a grant may be for one of the same call."""
    both = grant("both", paid_total_usd="2.5"), new("both", display_name="B", multiplier="0.9")
    results = await imported(world, *both, grant(customer))
    assert outcomes(results) == ["issue_grant", "create_customer", "issue_grant"]
    alone = (
        await world.admin.IssueGrant(both[0].issue_grant),
        await world.admin.CreateCustomer(both[1].create_customer),
    )
    assert [each.replayed for each in alone] == [True, True]
    for each in alone:
        each.replayed = False
    assert (results[0].issue_grant, results[1].create_customer) == alone
    assert [each.sequence for each in alone] == [2, 1]


async def test_items_fail_alone(world, customer):
    """A bad item is an error in its place, with its reason and fields; those around it are carried out."""
    results = await imported(
        world,
        new(),
        new(plan="none"),
        new(rate_card="none"),
        new(zone="Mars/Phobos"),
        new(customer),
        admin.ImportItem(),
        new(),
        grant(customer),
        grant(customer, -1),
        grant("nobody"),
        grant(customer),
    )
    errors = {n: Refused.of(result.error) for n, result in enumerate(results) if result.HasField("error")}
    assert {n: error.reason for n, error in errors.items()} == {
        1: "PLAN_NOT_FOUND",
        2: "RATE_CARD_NOT_FOUND",
        3: "INVALID_ARGUMENT",
        4: "CUSTOMER_EXISTS",
        5: "INVALID_ARGUMENT",
        8: "INVALID_ARGUMENT",
        9: "CUSTOMER_NOT_FOUND",
    }
    assert [*errors[3].fields, *errors[5].fields, *errors[8].fields] == [
        "customer.zone",
        "write",
        "amount_micros",
    ]
    assert "create_customer, issue_grant" in errors[5].fields["write"]
    made = [results[n].create_customer.customer.customer_id for n in (0, 6)]
    for customer_id in made:
        await world.admin.GetCustomer(admin.GetCustomerRequest(customer_id=customer_id))
    assert await world.available() == 102 * CREDIT


async def test_a_repeat_has_no_effect(world, customer):
    """Each is answered from its entry, in the same call or a later one; another body is refused."""
    items = [new(), new(), grant(customer), grant(customer)]
    first = await imported(world, *items, *items)
    assert outcomes(first) == ["create_customer", "create_customer", "issue_grant", "issue_grant"] * 2
    async with world.nothing_changed():
        again = await imported(world, *items)
    for result in again:
        made = getattr(result, result.WhichOneof("outcome"))
        assert made.replayed
        made.replayed = False
    assert again == first[:4]
    for item in items:
        request = getattr(item, item.WhichOneof("write"))
        if item.HasField("create_customer"):
            request.customer.display_name = "another"
        else:
            request.amount_micros += 1
    async with world.nothing_changed():
        reused = await imported(world, *items)
    assert {Refused.of(result.error).reason for result in reused} == {"REQUEST_ID_REUSED"}


async def test_what_is_only_validated_has_no_effect(world, customer):
    """Among others that have one."""
    asked = new("unborn")
    asked.create_customer.validate_only = True
    results = await imported(world, new(), asked, new())
    assert [result.create_customer.sequence for result in results] == [1, 0, 1]
    unborn = world.admin.GetCustomer(admin.GetCustomerRequest(customer_id="unborn"))
    assert (await refusal(unborn)).reason == "CUSTOMER_NOT_FOUND"


async def test_grants_that_recur_begin(world, customer):
    """Customers of a plan that grants have their first grants when the call is answered."""
    results = await imported(world, *[new(plan="renewing") for _ in range(3)])
    for result in results:
        world.customer_id = result.create_customer.customer.customer_id
        assert await world.available() == 50 * CREDIT


async def test_two_at_once_create_each_customer_once(world):
    """Whatever the order of their items: neither waits for the other for ever."""
    items = [new() for _ in range(100)]
    calls = (imported(world, *items), imported(world, *reversed(items)))
    first, second = await asyncio.gather(*calls)
    replayed = [result.create_customer.replayed for result in (*first, *second)]
    assert replayed.count(True) == replayed.count(False) == 100
    sequences = {result.create_customer.sequence for result in (*first, *second)}
    assert sequences == {1}


async def test_one_that_the_database_refuses_holds_up_no_other(world, customer):
    """It is a fault of its own, and the others are created."""
    await world.owner.execute(
        "ALTER TABLE cell_00.wallets ADD CONSTRAINT planted CHECK (display_name <> 'planted') NOT VALID"
    )
    try:
        results = await imported(world, new(), new(display_name="planted"), new(), grant(customer))
    finally:
        await world.owner.execute("ALTER TABLE cell_00.wallets DROP CONSTRAINT planted")
    assert outcomes(results) == ["create_customer", "error", "create_customer", "issue_grant"]
    assert Refused.of(results[1].error).reason == "INTERNAL"


@pytest.mark.parametrize("count", [0, 501])
async def test_number_of_items(world, customer, count):
    """1 to 500 items; one more, and nothing of the call is carried out."""
    async with world.nothing_changed():
        refused = await refusal(imported(world, *[new() for _ in range(count)]))
    assert refused.fields == {"items": f"has {count} items; 1 to 500 are allowed"}


async def test_a_full_call(world):
    """500 customers, then 500 grants to them, those of one customer in their order."""
    customers = [new() for _ in range(500)]
    assert outcomes(await imported(world, *customers)) == ["create_customer"] * 500
    ids = [item.create_customer.customer.customer_id for item in customers[:100]]
    results = await imported(world, *[grant(customer_id) for customer_id in ids * 5])
    assert [result.issue_grant.sequence for result in results] == [n for n in range(2, 7) for _ in ids]


# -- the command, which imports by such calls ------------------------------------------------------


def customers(first: int, count: int) -> Iterator[TextRow]:
    for n in range(first, first + count):
        yield TextRow(n, {"customer_id": f"row_{n}", "plan": "standard"})


def grants(first: int, count: int) -> Iterator[TextRow]:
    for n in range(first, first + count):
        row = {"id": f"lot_{n}", "customer_id": f"row_{n}", "credits": "1.5", "kind": "PAID"}
        yield TextRow(n, {**row, "paid_total_usd": "0.15"})


async def run(world: World, kind: ImportKind, rows: Iterator[TextRow]) -> ImportTally:
    async with connect(world.stack.public_target, world.stack.back_office_target) as ledger:
        return await Importer(ledger, kind, rows, lambda: None).run()


def interrupted(rows: Iterator[TextRow], at: int, interrupt: Callable[[], object]) -> Iterator[TextRow]:
    """The same rows; when so many have been read there is an interrupt."""
    for n, row in enumerate(rows):
        if n == at:
            interrupt()
        yield row


async def test_an_interrupt_ends_an_import_with_what_is_under_way(world):
    """It reports what it has imported, to the row; the next run imports the rest."""
    importing = asyncio.current_task()
    assert importing is not None
    rows = interrupted(customers(10_000, 2_000), 600, importing.cancel)
    first = await run(world, CUSTOMERS, rows)
    assert first.stopped == "interrupted"
    assert 0 < first.rows == first.imported < 2_000
    second = await run(world, CUSTOMERS, customers(10_000, 2_000))
    assert (second.imported_before, second.imported) == (first.imported, 2_000 - first.imported)
    assert (second.stopped, second.problems) == ("", [])


async def test_a_database_that_goes_away_has_rows_imported_once(limited):
    """Whatever became of the calls under way: they are made again, and each row is booked once."""
    world = await limited(UNHURRIED)  # Its own: others would meet connections that have ended.
    cutting: list[asyncio.Task[str]] = []

    def cut() -> None:
        """Ends the connections of the service while it carries out calls."""
        ends = world.owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = ANY($1::text[])",
            list(ROLES),
        )
        cutting.append(asyncio.create_task(ends))

    for kind, rows in ((CUSTOMERS, customers), (GRANTS, grants)):
        tally = await run(world, kind, interrupted(rows(20_000, 1_500), 1_000, cut))
        await cutting.pop()
        assert (tally.stopped, tally.problems) == ("", [])
        assert tally.imported + tally.imported_before == 1_500
    booked = await world.owner.fetchrow(
        "SELECT count(*), count(DISTINCT customer), -sum(issued) FROM cell_00.entries"
        " JOIN ledger.customers USING (customer) WHERE kind = 'GRANT' AND customer_id LIKE 'row_2%'"
    )
    assert tuple(booked) == (1_500, 1_500, 1_500 * 1_500_000)


async def test_what_is_wrong_in_the_middle_of_a_call_is_said_by_its_line(world):
    """Rows before and after it are imported."""
    rows = {row.line: row for row in customers(30_000, 600)}
    for line, wrong in (
        (30_100, {"plan": "none"}),
        (30_300, {"zone": "Mars"}),
        (30_301, {"rate_card": "no"}),
    ):
        rows[line] = TextRow(line, {**rows[line].values, **wrong})
    tally = await run(world, CUSTOMERS, iter(rows.values()))
    assert (tally.imported, tally.wrong_lines) == (597, {30_100, 30_300, 30_301})
    fields = sorted((each.line, each.field) for each in tally.problems)
    assert fields == [(30_100, "plan"), (30_300, "zone"), (30_301, "rate_card")]
