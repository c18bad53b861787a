"""What a customer may not see does not leave by the public door: not in a byte of any answer.

Nor is it in the log of the process, in a span of its calls, or on the page of its operations metrics,
whatever has gone wrong in it.
"""

from __future__ import annotations

import re
import shutil
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import grpc
import grpc.aio
import pytest
from api_world import CONFIG, CREDIT, World, refusal, sandbox, searches, ticket, tokens, usage
from collector import collecting
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.errors import OVERLOADED, TABLE
from ledger.api.messages.limits import USAGE_ITEMS_MAX
from ledger.books.limits import LINES_UNDONE_MAX, REFUND_LINES_MAX
from ledger.books.model.refusals import RefusalReason
from ledger.engine.limits import BOUNDS, Bound, EngineLimits, Urgency
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.followers.watch import Watch
from ledger.limits import Limits
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import ROLES, Database
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from pricing.rating.pieces import PIECES_MAX
from tests.calling import fresh
from tests.databases import DatabaseUrls
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRETS = (
    *("hushed", "cache", "73190017", "7.3190017", "298770013", "4143331", "12718283", "1234567", "98765327"),
    *("1234756", "37.3185062", "373185062", "31.4159265", "314159265", "cost_plus", "markup", "margin"),
    *(
        "umbra",
        "nightjar",
        "gloaming",
        "5512773",
        "19381123",
        "41.9348607",
        "419348607",
        "412.7791",
        "4127791",
    ),
    *("internal.route", "per_million"),
)
"""Rule names, levers, what really ran and whose it was, rates of the cost book, markups, what was paid.

Numbers are of seven digits or more: shorter ones are met by chance in the seconds that metrics sum.
"""

SUMMED = """
card: summed
revision: 2
credit: token
credit_price_usd: "0.75"
rules:
  - name: hushed rule of sheets
    title: Sheets
    match: {tokens: "paper/*"}
    price:
      tiers:
        count: requests
        per: month
        graduated: [{up_to: 130, price: {per_million: {input: "1"}}}, {price: {per_million: {input: "0.5"}}}]
  - name: hushed rule of routes
    title: Routed model
    match: {tokens: "acme/*", labels: {internal.route: "hushed-*"}}
    price: {cost_plus: {margin: "41.9348607%"}}
  - name: hushed rule of own keys
    title: Own key
    match: {tokens: "*", key_owner: CUSTOMER}
    price: {cost_plus: {markup: "37.3185062%"}}
  - name: hushed rule of any model
    title: Any model
    match: {tokens: "*"}
    price:
      plus:
        - per_million: {input: "10", output: "40"}
        - each: {requests: "2"}
        - cost_plus: {markup: "37.3185062%"}
  - name: hushed rule of sandboxes
    title: Sandbox time
    match: {compute: sandbox}
    price: {plus: [{per_hour: "4", minimum: 60s, increment: 1s}, {cost_plus: {margin: "41.9348607%"}}]}
  - name: hushed rule of searches
    title: Web search
    match: {units: web_search}
    price: {cost_plus: {margin: "41.9348607%"}}
  - name: hushed rule of mail
    title: Mail
    match: {units: mail}
    price: {per_million: "60000"}
  - name: hushed rule of tickets
    title: Resolved ticket
    match: {outcome: ticket.resolved}
    price: {plus: [{each: "1"}, {outcome: {resolved: "2", escalated: "1"}}]}
"""
CARDS = ("metered", "following", "summed")
"""Between them they have every scheme."""
BEHIND_THE_DOOR = {
    RefusalReason.CUSTOMER_EXISTS.value,
    RefusalReason.RATE_VERSION_NOT_FOUND.value,
    RefusalReason.RATE_REVISION_TAKEN.value,
    RefusalReason.RATE_REVISION_PASSED.value,
    RefusalReason.MARGIN_BELOW_FLOOR.value,
    RefusalReason.PLANS_IN_USE.value,
    RefusalReason.KEY_NOT_FOUND.value,
    RefusalReason.KEY_ENDED.value,
    RefusalReason.GRANT_NOT_FOUND.value,
    RefusalReason.GRANT_CLOSED.value,
    RefusalReason.GRANT_NOT_PENDING_PAYMENT.value,
    RefusalReason.GRANT_NOT_DISPUTED.value,
    RefusalReason.REFUND_EXCEEDS_GRANT.value,
    RefusalReason.WRITE_OFF_EXCEEDS_CLAIM.value,
    RefusalReason.WEBHOOK_NOT_FOUND.value,
    RefusalReason.TOO_MANY_WEBHOOKS.value,
    RefusalReason.TOO_MANY_GRANTS.value,
}
"""Reasons that no public method has."""


async def are_in_force(world: World, number: int) -> bool:
    """Whether the plans of a version are."""
    answer = await world.admin.GetPlans(admin.GetPlansRequest())
    return bool(answer.version.number == number)


@dataclass
class Overheard(grpc.aio.UnaryUnaryClientInterceptor):
    """Keeps every byte that comes back, and the names of the methods that it came from."""

    answers: list[bytes] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    """Of the answers those of `Batch`, whose errors are inside."""
    methods: set[str] = field(default_factory=set)

    async def intercept_unary_unary(self, continuation, details, request):
        call = await continuation(details, request)
        method = self.called(details)
        self.hear(await call.initial_metadata(), await call.trailing_metadata())
        self.answers.append((await call.details() or "").encode())
        if await call.code() is grpc.StatusCode.OK:
            answer = (await call).SerializeToString()
            self.answers.append(answer)
            if method.endswith("/Batch"):
                self.batches.append(answer)
        return call

    def called(self, details) -> str:
        """Notes the method of a call."""
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        self.methods.add(method.rpartition("/")[2])
        return method

    def hear(self, *parts) -> None:
        """Keeps metadata."""
        for key, value in (each for metadata in parts for each in metadata or ()):
            self.answers.append(key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()))

    @property
    def reasons(self) -> set[str]:
        """Of the errors among the answers."""
        details = (answer.partition(b"grpc-status-details-bin=") for answer in self.answers)
        statuses = [Status.FromString(status) for _, key, status in details if key]
        batches = [pb.BatchResponse.FromString(answer) for answer in self.batches]
        statuses += [
            result.error for batch in batches for result in batch.results if result.HasField("error")
        ]
        found = set()
        for status in statuses:
            info = ErrorInfo()
            status.details[0].Unpack(info)
            found.add(info.reason)
        return found


@dataclass
class OverheardStreams(grpc.aio.UnaryStreamClientInterceptor):
    """Keeps the same of streams."""

    overheard: Overheard

    async def intercept_unary_stream(self, continuation, details, request):
        call = await continuation(details, request)
        self.overheard.called(details)
        self.overheard.hear(await call.initial_metadata())

        async def messages():
            try:
                async for message in call:
                    self.overheard.answers.append(message.SerializeToString())
                    yield message
            finally:
                call.cancel()
                self.overheard.hear(await call.trailing_metadata())

        return messages()


async def ignore(call):
    """Waits for a call, refused or not."""
    try:
        return await call
    except grpc.aio.AioRpcError:
        return None


def varint(number):
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


HIDDEN = usage(
    tokens(output=1_234, served_by="acme/hushed-distilled"),
    tokens(served_by="umbra/nightjar"),
    tokens(served_by="cache"),
    sandbox(3_599, served_by="hushed-host", run_id="run"),
    searches("3"),
    ticket(),
)
LABELS = pb.Labels(project="p", other={"internal.route": "hushed-3", "team": "t"})


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


@asynccontextmanager
async def spying(served, owner: asyncpg.Connection, overheard: Overheard) -> AsyncIterator[World]:
    """A world whose public channel is overheard."""
    async with (
        grpc.aio.insecure_channel(
            served.public, interceptors=[overheard, OverheardStreams(overheard)]
        ) as public,
        grpc.aio.insecure_channel(served.back_office) as back_office,
    ):
        yield World(served, public, back_office, owner)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The tests' configuration, with a card more and what it needs."""
    directory = tmp_path / "config"
    shutil.copytree(CONFIG, directory)
    costs = directory / "costs.yaml"
    text = costs.read_text()
    model = 'umbra/nightjar: {per_million: {input: "0.5512773", output: "1.9381123"}, lever: gloaming}'
    text = text.replace("    acme/large:", f"    {model}\n    acme/large:")
    text = text.replace("units:\n", 'units:\n  mail: {per_million: "412.7791"}\n')
    costs.write_text(text)
    (directory / "cards" / "summed.yaml").write_text(SUMMED)
    return directory


async def needles_of(world) -> list[bytes]:
    """What may be nowhere: the planted secrets, and the costs of the customer's charges."""
    listed = await world.credit.ListCharges(pb.ListChargesRequest(customer_id=world.customer_id))
    amounts: set[str] = set()
    levers: set[str] = set()
    for charge in listed.charges:
        request = finance.ExplainChargeRequest(customer_id=world.customer_id, charge_id=charge.charge_id)
        explained = await world.finance.ExplainCharge(request)
        amounts |= {explained.cost_usd, *(line.cost_usd for line in explained.lines)}
        levers |= {line.lever for line in explained.lines}
    assert levers >= {"hushed-lever", "caching", "gloaming"}
    costs = {amount: int(amount.replace(".", "")) for amount in amounts}
    needles = [secret.encode() for secret in SECRETS]
    needles += [amount.rstrip("0").encode() for amount, cost in costs.items() if cost]
    numbers = [number for cost in costs.values() for number in (str(cost).encode(), varint(cost))]
    return [*needles, *(number for number in numbers if len(number) > 3)]


def assert_silent(answer: bytes, needles: list[bytes]) -> None:
    """None of them is in it; a cache may be read from and written to."""
    rest = answer.replace(b"cache_read", b"").replace(b"cache_write", b"")
    found = [needle for needle in needles if needle in rest]
    assert not found, (found, answer)


@pytest.fixture
def collector(monkeypatch):
    """What takes the spans of the servers."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        yield collector


@pytest.mark.timeout(300)  # Two servers, every card, every reason.
async def test_no_secret_in_any_byte(serve, database_urls, config, collector):
    """Of no answer, error or metadata of any public method, of the log, the spans, the page of metrics.

    With cards of every scheme, for every reason that a public method has, and in the middle of faults.
    """
    overheard = Overheard()
    said, needles = [], []
    owner = await asyncpg.connect(database_urls.owner)
    with serve(database_urls, config) as served:
        async with spying(served, owner, overheard) as world:
            for card in CARDS:
                await world.new_customer(f"customer of {card}", "strict", granted=1_000)
                await world.update(rate_card=card)
                await drive(world)
                await be_refused(world)
                needles += await needles_of(world)
            said.append(await be_stopped(world, database_urls))
            await be_failed(world)
            await be_unread(world)
            await world.update(plan="brief")
            world.customer_id = f"customer of {CARDS[0]}"
            await world.update(rate_card="")
        said += [served.log(), served.operations_metrics()]
    methods = {name for stub in (CreditServiceStub, WalletServiceStub) for name in vars(stub(world.public))}
    assert overheard.methods == methods
    with serve(database_urls, config) as served:
        async with spying(served, owner, overheard) as world:
            await be_left_out(world, config)
        said += [served.log(), served.operations_metrics()]
    await owner.close()

    reasons = {reason.value for reason in TABLE} - BEHIND_THE_DOOR | {"UNAVAILABLE", "INTERNAL"}
    assert overheard.reasons == reasons
    for event in ("rpc.fault", "write.refused", "database.away"):
        assert event in said[1], "what has gone wrong is logged"
    assert any("books.do_not_verify" in text for text in said[:2]), "what a watch has found is logged"
    spans = collector.spans()
    assert {span.name.rpartition("/")[2] for span in spans} >= {*methods, "write"} - {"WatchBalance"}
    assert {span.status.code for span in spans if span.name == "write"} >= {0, 2}, "of faults too"
    for answer in (*overheard.answers, *(text.encode() for text in said), collector.said()):
        assert_silent(answer, needles)


async def test_no_secret_in_an_answer_under_overload(limited):
    """What is sent away for others' sake tells no more than any other answer."""
    no_holds = {**BOUNDS, Urgency.NEW_WORK: Bound(1.0, 0)}
    world = await limited(Limits(engine=EngineLimits(bounds=no_holds)))
    refused = await refusal(world.reserve(usage=HIDDEN, labels=LABELS))
    assert refused.reason == OVERLOADED
    assert_silent(refused.raw, [secret.encode() for secret in SECRETS])


async def test_order_of_rows_tells_nothing(world, customer):
    """Lines stand in the order in which they were reported, whatever they cost or ran on."""
    items = [tokens(served_by="acme/hushed-distilled"), searches("1"), tokens(), tokens(served_by="cache")]
    lines = (await world.charge(usage=usage(*items))).charge.lines
    assert [line.kind for line in lines] == ["tokens", "units", "tokens", "tokens"]
    assert lines[0] == lines[2] == lines[3]


async def test_quote_ignores_what_serves(world, customer):
    """A quote of work that a small model will do is the quote of the model that is asked for."""
    quotes = [
        await world.credit.Quote(pb.QuoteRequest(customer_id=customer, usage=usage(tokens(**served))))
        for served in ({}, {"served_by": "acme/hushed-distilled"}, {"served_by": "cache"})
    ]
    assert quotes[0] == quotes[1] == quotes[2]


async def test_operations_port_knows_no_dollar(world, customer):
    """Metrics of operations name no money, no customer, no model and no card, but for methods' names."""
    await world.charge(usage=usage(tokens()))
    with await to_thread(urllib.request.urlopen, world.stack.operations_url) as response:
        page = response.read().decode()
    assert re.search(r'^acu_ledger_rpcs_total{.*method="[^"]*/Charge".*} [1-9]', page, re.MULTILINE)
    text = re.sub(r'method="[^"]*"', "", page)
    for word in (
        "usd",
        "dollar",
        "cost",
        "revenue",
        "margin",
        "micros",
        customer,
        "acme",
        "metered",
        "hushed",
    ):
        assert word not in text.lower()


async def test_planted_secrets_are_in_the_configuration(config):
    """The secrets that the tests look for are the ones that the service was given."""
    text = "".join(path.read_text() for path in [config / "costs.yaml", *(config / "cards").iterdir()])
    for secret in (
        "hushed-lever",
        "7.3190017",
        "0.1234567",
        "37.3185062%",
        "41.9348607%",
        "hushed rule of large",
        "markup",
    ):
        assert secret in text


async def test_no_refusal_begins_at_a_cost(world, customer):
    """Usage is answered alike below and above the cost that the books can hold: none is found by halving."""
    beyond_the_books = 2**62 * 10**4 // 73_190_017  # tokens of input, of acme/large
    for item in (tokens(input=beyond_the_books - 10**9), tokens(input=beyond_the_books + 10**9)):
        refused = await refusal(world.charge(usage=usage(item)))
        assert refused.reason == "INSUFFICIENT_CREDITS"
        charge = (await world.charge(usage=usage(item), already_used=True)).charge
        assert [line.unpriced for line in charge.lines] == [False]


async def test_memos_beyond_the_books_are_not_kept(world, customer):
    """What a lever saves, and what customers pay on own keys, may be more than the cost that is booked."""
    many = {"input": 10**15, "cache_read": 10**15, "output": 6 * 10**13}
    for how in ({"served_by": "cache"}, {"key_owner": use.KEY_OWNER_CUSTOMER}):
        await world.charge(usage=usage(tokens(**many, **how)), already_used=True)
    lines = await world.owner.fetch(
        "SELECT line->>'uncosted', line->'saved_nanousd' AS saved, line->'own_key_nanousd' AS own"
        " FROM ledger.customers c JOIN cell_00.money m USING (customer), json_array_elements(m.lines) line"
        " WHERE c.customer_id = $1",
        customer,
    )
    assert [tuple(line) for line in lines] == [("true", None, None)] * 2
