"""Services with one history, which differ in nothing but their cost books: the reader sees the same rows."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc.aio
from api_world import CONFIG, CREDIT, World, sandbox, searches, served, ticket, tokens, usage

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.store.postgres.database import READER
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from tests.databases import drop_database, new_database
from tests.serving import settings_on
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

PLAIN = """
revision: 1
tokens:
  catalog: genai-prices
  models:
    acme/large: {per_million: {input: "7.3190017", cache_read: "0.7319003", output: "29.8770013"}}
    acme/small: {per_million: {input: "0.4", output: "1.2"}, lever: distilled}
compute:
  sandbox: {per_hour: "0.1234567"}
  spot: {per_hour: "0.09"}
units:
  web_search: {each: "0.001234756"}
"""
FREE = """
revision: 1
tokens:
  models:
    acme/large: {per_million: {input: "0", output: "0"}}
unknown_cost: {per_million: {input: "5", output: "25"}}
compute:
  sandbox: {per_hour: "0"}
units:
  web_search: {each: "0"}
"""
# What a million tokens, an hour, a search cost is more than the books can hold.
BEYOND = """
revision: 1
tokens:
  models:
    acme/large: {per_million: {input: "9999999999", output: "9999999999"}}
    acme/other: {per_million: {input: "9999999999", output: "1"}, lever: other}
compute:
  sandbox: {per_hour: "9999999999"}
units:
  web_search: {each: "9999999999"}
  idle: {each: "1"}
"""
READABLE = """
SELECT table_schema || '.' || table_name AS name, array_agg(column_name::text ORDER BY column_name) AS columns
FROM information_schema.column_privileges
WHERE grantee = $1 AND privilege_type = 'SELECT' AND table_schema IN ('ledger', 'cell_00')
GROUP BY 1 ORDER BY 1
"""
USED = (
    usage(tokens()),
    usage(tokens(output=CREDIT, service_tier="batch")),
    usage(tokens(served_by="acme/small"), tokens(served_by="acme/nobody")),
    usage(tokens(key_owner=use.KEY_OWNER_CUSTOMER)),
    usage(sandbox(3_600, run_id="run"), sandbox(60, served_by="spot")),
    usage(sandbox(60, served_by="nobody's host")),
    usage(searches("3"), ticket(), tokens(input=7)),
    usage(ticket(use.OUTCOME_RESULT_ABANDONED)),
    usage(searches("9" * 12)),
    usage(tokens("acme/unheard-of")),
)


_KEYS = ("customer", "sequence", "n", "customer_number")
_DRAWN = frozenset({"xid", "event_id", "written_at", "number"})
"""Columns whose values are each row's own, or go by who was first."""
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+[+]00:00")
IS_BEHIND = """
SELECT EXISTS (SELECT FROM cell_00.entries e, cell_00.event_cursor c WHERE e.xid >= c.cursor)
    OR (SELECT g.generation <> l.price_generation FROM ledger.price_generation g, ledger.event_log l)
"""


async def answered(call: Awaitable[Any]) -> Any:
    """The answer of a call, or nothing if it was refused."""
    try:
        return await call
    except grpc.aio.AioRpcError:
        return None


async def arrive(world: World, customer: str, plan: str, granted: int) -> None:
    """A customer, with credits."""
    made = admin.Customer(customer_id=customer, plan=plan)
    await world.admin.CreateCustomer(admin.CreateCustomerRequest(request_id="new", customer=made))
    if granted:
        grant = {"amount_micros": granted * CREDIT, "kind": wallet.GRANT_KIND_PAID, "paid_total_usd": "3"}
        await world.admin.IssueGrant(
            admin.IssueGrantRequest(request_id="grant", customer_id=customer, **grant)
        )


async def live(world: World, customer: str) -> None:
    """One customer's history: every use alone, in parts, late, taken back, paid back, beyond the credits."""
    numbers = count(1)

    def named() -> dict[str, str]:
        return {"request_id": f"{customer}-{next(numbers)}", "customer_id": customer}

    credit = world.credit
    charges = []
    for used in USED:
        await answered(credit.Quote(pb.QuoteRequest(customer_id=customer, usage=used)))
        await answered(credit.Check(pb.CheckRequest(customer_id=customer, usage=used)))
        charges.append(await answered(credit.Charge(pb.ChargeRequest(**named(), usage=used))))
        await credit.Charge(pb.ChargeRequest(**named(), usage=used, already_used=True))
        made = await answered(credit.Reserve(pb.ReserveRequest(**named(), usage=used)))
        if made is None:
            made = await answered(credit.Reserve(pb.ReserveRequest(**named(), amount_micros=CREDIT)))
        if made is None:
            continue
        which = {"reservation_id": made.reservation.reservation_id}
        await answered(credit.CommitReservation(pb.CommitReservationRequest(**named(), **which, usage=used)))
        final = pb.CommitReservationRequest(**named(), **which, usage=used, final=True)
        await answered(credit.CommitReservation(final))
    for n, done in enumerate(each for each in charges if each is not None):
        which = {"charge_id": done.charge.charge_id, "reason": "x"}
        if n % 2:
            await answered(credit.ReverseCharge(pb.ReverseChargeRequest(**named(), **which)))
        else:
            await answered(credit.Refund(pb.RefundRequest(**named(), **which)))


async def readable(owner: asyncpg.Connection) -> dict[str, list[dict[str, Any]]]:
    """All that the reader may select, by table; of instants and transactions that there is one."""
    relations = await owner.fetch(READABLE, READER)
    await owner.execute(f"SET ROLE {READER}")
    found = {}
    for name, columns in relations:
        rows = [dict(row) for row in await owner.fetch(f"SELECT {', '.join(columns)} FROM {name}")]
        for row in rows:
            of_their_own = [c for c in columns if c in _DRAWN or isinstance(row[c], datetime)]
            row.update(dict.fromkeys(of_their_own, "its own"))
            if "data" in row:
                row["data"] = _INSTANT.sub("its own", row["data"])
        # Where rows lie depends on which session found room first.
        found[name] = sorted(rows, key=lambda row: [row.get(column) or 0 for column in _KEYS])
    await owner.execute("RESET ROLE")
    return found


async def until_events_are_written(owner: asyncpg.Connection) -> None:
    """Of all that was booked and published."""

    async def are_written() -> bool:
        return not await owner.fetchval(IS_BEHIND)

    await until(are_written)


async def history(postgres, tmp_path: Path, name: str, costs: str) -> dict[str, list[dict[str, Any]]]:
    """What the reader may select after the history, under a cost book."""
    config = shutil.copytree(CONFIG, tmp_path / name)
    (config / "costs.yaml").write_text(costs)
    for card in (config / "cards").iterdir():
        if card.name != "metered.yaml":
            card.unlink()
    urls = await new_database(postgres, name)
    try:
        async with served(settings_on(urls, config_dir=config)) as world:
            for plan, granted in (("standard", 500), ("capped", 3), ("overdraft", 0), ("strict", 40)):
                await arrive(world, f"on-{plan}", plan, granted)
                await live(world, f"on-{plan}")
            await until_events_are_written(world.owner)
            return await readable(world.owner)
    finally:
        await drop_database(postgres, name)


def differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs of two rows."""
    return {column: (value, other[column]) for column, value in one.items() if value != other[column]}


async def test_nothing_that_the_reader_may_select_depends_on_a_cost(postgres, tmp_path):
    """Whatever a thing costs, nothing, something, or more than the books can hold; known names or not.

    The columns are those of the catalog: a new one is compared without being named here.
    """
    plain = await history(postgres, tmp_path, "plain", PLAIN)
    assert plain.keys() >= {"ledger.customers", "cell_00.entries", "cell_00.reservations", "cell_00.lots"}
    assert len(plain["cell_00.entries"]) > 100
    for name, costs in (("free", FREE), ("beyond", BEYOND)):
        other = await history(postgres, tmp_path, name, costs)
        for relation, rows in plain.items():
            apart = [pair for pair in zip(rows, other[relation], strict=True) if pair[0] != pair[1]]
            assert not apart, f"{relation} tells {name} costs: {differing(*apart[0])}"
