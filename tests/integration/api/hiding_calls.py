"""Calls of the public door with hidden things in what is reported: taken, refused, and failing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import grpc
import grpc.aio
from api_world import CREDIT, World, refusal, sandbox, searches, ticket, tokens, usage
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages.limits import USAGE_ITEMS_MAX
from ledger.books.limits import LINES_UNDONE_MAX, REFUND_LINES_MAX
from ledger.followers.watch import Watch
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import ROLES, Database
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from pricing.rating.pieces import PIECES_MAX
from tests.calling import fresh
from tests.databases import DatabaseUrls
from tests.waiting import until

CARDS = ("metered", "following", "summed")
"""Between them they have every scheme."""

HIDDEN = usage(
    tokens(output=1_234, served_by="acme/hushed-distilled"),
    tokens(served_by="umbra/nightjar"),
    tokens(served_by="cache"),
    sandbox(3_599, served_by="hushed-host", run_id="run"),
    searches("3"),
    ticket(),
)
LABELS = pb.Labels(project="p", other={"internal.route": "hushed-3", "team": "t"})


async def ignore(call):
    """Waits for a call, refused or not."""
    try:
        return await call
    except grpc.aio.AioRpcError:
        return None


async def are_in_force(world: World, number: int) -> bool:
    """Whether the plans of a version are."""
    answer = await world.admin.GetPlans(admin.GetPlansRequest())
    return bool(answer.version.number == number)


async def drive(world):
    """Calls every public method, with hidden things in what is reported."""
    given = {"customer_id": world.customer_id}
    made = await world.reserve(usage=HIDDEN, labels=LABELS)
    named = made.reservation.reservation_id
    await world.extend(named, amount_micros=CREDIT)
    await world.commit(named, usage=HIDDEN)
    unheard_of = usage(tokens("hidden/unpriced", served_by="umbra/nightjar"))
    await world.commit(named, usage=unheard_of, final=True)
    await world.release(await world.reservation())
    charged = (await world.charge(usage=HIDDEN, labels=LABELS)).charge.charge_id
    await world.refund(charged, amount_micros=1)
    await world.reverse(charge_id=charged)
    owned = tokens(key_owner=use.KEY_OWNER_CUSTOMER, served_by="umbra/nightjar")
    await world.charge(usage=usage(owned), already_used=True)
    item = pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), usage=HIDDEN, labels=LABELS, **given))
    bad = pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), usage=usage(tokens("x/y")), **given))
    await world.credit.Batch(pb.BatchRequest(items=[item, bad, item]))

    await world.credit.Quote(pb.QuoteRequest(usage=HIDDEN, labels=LABELS, **given))
    await world.credit.Check(pb.CheckRequest(usage=HIDDEN, labels=LABELS, **given))
    await world.credit.GetReservation(pb.GetReservationRequest(reservation_id=named, **given))
    await world.credit.ListReservations(pb.ListReservationsRequest(page_size=1, **given))
    await world.credit.GetCharge(pb.GetChargeRequest(charge_id=charged, **given))
    await world.credit.ListCharges(pb.ListChargesRequest(**given))
    await world.credit.CreateCustomerToken(pb.CreateCustomerTokenRequest(**given))
    await world.wallet.GetBalance(wallet.GetBalanceRequest(**given))
    async for _ in world.wallet.WatchBalance(wallet.WatchBalanceRequest(**given)):
        break
    await world.wallet.ListGrants(wallet.ListGrantsRequest(**given))
    await world.wallet.ListTransactions(wallet.ListTransactionsRequest(**given))
    await world.wallet.GetBudgets(wallet.GetBudgetsRequest(labels=LABELS, **given))
    await world.wallet.ListEvents(wallet.ListEventsRequest(**given))
    await world.wallet.GetPriceList(wallet.GetPriceListRequest(**given))
    today = datetime.now(UTC).date()
    await world.wallet.GetUsageReport(
        wallet.GetUsageReportRequest(
            first_day=str(today - timedelta(days=1)),
            last_day=str(today + timedelta(days=1)),
            label_keys=["project", "team"],
            **given,
        )
    )
    await world.wallet.GetStatement(
        wallet.GetStatementRequest(month=f"{today:%Y-%m}", label_keys=["project", "team"], **given)
    )


async def expiry(world, reservation_id):
    """Waits until the sweeper has ended a reservation."""
    find = pb.GetReservationRequest(customer_id=world.customer_id, reservation_id=reservation_id)

    async def has_expired():
        state = (await world.credit.GetReservation(find)).reservation.state
        assert state in (pb.RESERVATION_STATE_OPEN, pb.RESERVATION_STATE_EXPIRED)
        return state == pb.RESERVATION_STATE_EXPIRED

    await until(has_expired)


class Ended(NamedTuple):
    """Work of a customer that most calls come too late for."""

    open_one: str
    closed: str
    expired: str
    charge: pb.ChargeRequest
    """Another request than that which had its id."""
    charged: str
    """Reversed."""
    sheets: str
    """In a step that others have gone beyond: a reversal is not exact."""
    large: str
    """Of more lines than a reversal undoes."""
    refunded: str
    """As often in part as may be."""


async def end_work(world) -> Ended:
    """Holds and charges, with hidden things in what is reported."""
    open_one = await world.reservation()
    closed = await world.reservation()
    await world.commit(closed, usage=HIDDEN, final=True)
    expired = await world.reservation(ttl=Duration(seconds=1))
    charge = pb.ChargeRequest(request_id=fresh(), usage=HIDDEN, customer_id=world.customer_id)
    charged = (await world.credit.Charge(charge)).charge.charge_id
    await world.reverse(charge_id=charged)
    charge.amount_micros = 1
    first_step = usage(tokens("paper/sheet", requests=130))
    others = usage(*[tokens("paper/sheet", input=n) for n in range(PIECES_MAX + 12)])
    sheets, _ = [await world.charge(usage=each, already_used=True) for each in (first_step, others)]
    large, refunded = await end_large_work(world)
    await expiry(world, expired)
    return Ended(open_one, closed, expired, charge, charged, sheets.charge.charge_id, large, refunded)


async def end_large_work(world) -> tuple[str, str]:
    """A reservation of more lines than a reversal undoes; its last charge has had all refunds of a part."""
    many = usage(*[searches("0.01") for _ in range(USAGE_ITEMS_MAX)])
    large = await world.reservation()
    for part in range(LINES_UNDONE_MAX // USAGE_ITEMS_MAX + 1):
        last = await world.commit(large, usage=many, final=part == LINES_UNDONE_MAX // USAGE_ITEMS_MAX)
    refunded = last.charge.charge_id
    for _ in range(REFUND_LINES_MAX // USAGE_ITEMS_MAX - 1):
        await world.refund(refunded, amount_micros=1)
    return large, refunded


def refused_for_what_they_ask(world) -> Iterable[Awaitable[object]]:
    """Calls that nobody could carry out."""
    given = {"customer_id": world.customer_id}
    return (
        world.reserve(usage=usage(tokens("acme/unpriced", served_by="umbra/nightjar"))),
        world.charge(usage=usage(tokens("x/y", served_by="umbra/nightjar"))),
        world.charge(usage=usage(tokens(input=-1, served_by="acme/hushed-distilled"))),
        world.charge(usage=usage(sandbox(-1, served_by="hushed-host")), labels=LABELS),
        world.charge(amount_micros=10**14, labels=LABELS),
        world.charge(usage=usage(tokens(input=10**14, served_by="umbra/nightjar"))),
        world.extend("rsv_0", amount_micros=1),
        world.commit("rsv_0", usage=HIDDEN),
        world.reverse(charge_id="chg_0"),
        world.refund("chg_0"),
        world.reserve(customer_id="nobody", usage=HIDDEN),
        world.credit.Quote(pb.QuoteRequest(customer_id="nobody", usage=HIDDEN)),
        world.credit.Quote(pb.QuoteRequest(usage=usage(tokens("x/y")), **given)),
        world.credit.Check(pb.CheckRequest(customer_id="nobody", usage=HIDDEN)),
    )


def refused_for_what_has_ended(world, ended: Ended) -> Iterable[Awaitable[object]]:
    """Calls that come too late, or are too much for what they name."""
    return (
        world.credit.Charge(ended.charge),
        world.commit(ended.closed, usage=HIDDEN),
        world.release(ended.closed),
        world.release(ended.expired),
        world.extend(ended.expired, amount_micros=1),
        world.reverse(charge_id=ended.charged),
        world.reverse(charge_id=ended.sheets),
        world.refund(ended.charged),
        world.reverse(reservation_id=ended.large),
        world.refund(ended.refunded, amount_micros=1),
        world.reverse(reservation_id=ended.open_one),
        world.commit(ended.open_one, amount_micros=10**12),
    )


def refused_reads(world) -> Iterable[Awaitable[object]]:
    """Reads of what is not there, of pages that nobody has, by labels that nobody may name."""
    given, no_page = {"customer_id": world.customer_id}, {"page_token": "hushed"}
    nobody, hidden = {"customer_id": "nobody"}, {"label_keys": ["internal.route"]}
    return (
        world.credit.GetCharge(pb.GetChargeRequest(charge_id="chg_0", **given)),
        world.credit.ListCharges(pb.ListChargesRequest(**no_page, **given)),
        world.credit.ListReservations(pb.ListReservationsRequest(**no_page, **given)),
        world.wallet.GetBalance(wallet.GetBalanceRequest(**nobody)),
        world.wallet.ListGrants(wallet.ListGrantsRequest(**nobody)),
        world.wallet.ListTransactions(wallet.ListTransactionsRequest(**nobody)),
        world.wallet.GetPriceList(wallet.GetPriceListRequest(**nobody)),
        world.wallet.GetUsageReport(wallet.GetUsageReportRequest(first_day="2026-11-01", **hidden, **given)),
        world.wallet.GetStatement(wallet.GetStatementRequest(month="2026-11", **hidden, **given)),
    )


async def be_refused_by_plans(world) -> None:
    """Work that one plan does not allow, and that another has no budget for."""
    given = {"customer_id": world.customer_id}
    await world.update(plan="starter")
    denied = usage(sandbox(60, served_by="hushed-host"))
    await ignore(world.charge(usage=denied, labels=LABELS))
    await world.credit.Check(pb.CheckRequest(usage=denied, labels=LABELS, **given))
    await world.update(plan="budgeted")
    await ignore(world.reserve(amount_micros=31 * CREDIT, labels=LABELS))
    await world.wallet.GetBudgets(wallet.GetBudgetsRequest(labels=LABELS, **given))
    await world.update(plan="strict")


async def be_refused(world) -> None:
    """Calls that are refused, each for another reason, with hidden things in what is reported."""
    ended = await end_work(world)
    for call in (
        *refused_for_what_they_ask(world),
        *refused_for_what_has_ended(world, ended),
        *refused_reads(world),
    ):
        await ignore(call)
    await be_refused_by_plans(world)


async def be_left_out(world, config: Path) -> None:
    """Customers whose plan is gone, or names no card any more."""
    plans = (config / "plans.yaml").read_text().replace("  brief:", "  other:")
    plans = "revision: 2\n" + plans.replace("strict: {card: metered, ", "strict: {")
    await world.admin.PublishPlans(admin.PublishPlansRequest(document=plans, force=True))
    await until(partial(are_in_force, world, 2))
    for card in CARDS:
        world.customer_id = f"customer of {card}"
        for call in (
            world.reserve(usage=HIDDEN, labels=LABELS),
            world.charge(usage=HIDDEN, labels=LABELS),
            world.wallet.GetPriceList(wallet.GetPriceListRequest(customer_id=world.customer_id)),
        ):
            await ignore(call)


async def be_unread(world) -> None:
    """A customer with fields of its own that only a newer version can read begins no work."""
    await world.write_own_fields('{"topup": {"credit_price_usd": "0.01"}, "spend_limit": "5"}')
    assert (await refusal(world.reserve(amount_micros=1))).reason == "PLAN_OVERRIDES_UNREADABLE"
    await world.update(plan_overrides="")


async def be_stopped(world, urls: DatabaseUrls) -> str:
    """A customer whose dollars were tampered with takes no writes, and goes on when they are mended.

    Returns what a watch has logged of the books: the server's own takes its time.
    """
    database = await Database.open(
        urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
    )
    watch = Watch(database, ("cell_00",), OperationsMetrics())
    tamper = """UPDATE cell_00.money SET cost = cost - $2, provider_payable = provider_payable + $2
                FROM ledger.customers c
                WHERE c.customer_id = $1 AND money.customer = c.customer AND cost <> 0"""
    stops = "SELECT EXISTS (SELECT FROM cell_00.findings WHERE stops AND ended_at IS NULL)"
    await world.owner.execute(tamper, world.customer_id, 1)
    with capture_logs() as logs:
        await watch.verify_all()
    assert await world.owner.fetchval(stops)
    for call in (world.reserve(amount_micros=1), world.charge(usage=HIDDEN, labels=LABELS)):
        assert (await refusal(call)).reason == "BOOKS_DO_NOT_VERIFY"
    checked = await world.credit.Check(pb.CheckRequest(customer_id=world.customer_id, amount_micros=1))
    refused = await refusal(world.reserve(amount_micros=1))
    assert (checked.allowed, checked.refusal.SerializeToString()) == (False, refused.raw)
    await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=world.customer_id))
    await world.owner.execute(tamper, world.customer_id, -1)
    await watch.verify_all()
    assert not await world.owner.fetchval(stops)
    await world.charge(usage=HIDDEN, labels=LABELS)
    await database.close()
    return repr([line for line in logs if line.get("part") == "BOOKS"])


async def be_failed(world):
    """Calls in the middle of faults: rules of the schema that break, and a database that goes away."""
    grants = wallet.ListGrantsRequest(customer_id=world.customer_id)
    await world.owner.execute("ALTER TABLE cell_00.money ADD CONSTRAINT planted CHECK (false) NOT VALID")
    assert (await refusal(world.charge(usage=HIDDEN, labels=LABELS))).reason == "INTERNAL"
    await world.owner.execute("ALTER TABLE cell_00.money DROP CONSTRAINT planted")
    await world.owner.execute("ALTER TABLE cell_00.lots RENAME TO broken")
    assert (await refusal(world.wallet.ListGrants(grants))).reason == "INTERNAL"
    await world.owner.execute("ALTER TABLE cell_00.broken RENAME TO lots")
    async with away(world.owner):
        late = pb.ChargeRequest(request_id=fresh(), customer_id=world.customer_id, usage=HIDDEN)
        await ignore(world.credit.Charge(late, timeout=1))
        assert (await refusal(world.wallet.ListGrants(grants))).reason == "UNAVAILABLE"
    await world.charge(usage=HIDDEN, labels=LABELS)


@asynccontextmanager
async def away(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """The database has ended the connections of the service's roles, and takes no new ones."""
    for role in ROLES:
        await owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = ANY($1::text[])",
        list(ROLES),
    )
    yield
    for role in ROLES:
        await owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
