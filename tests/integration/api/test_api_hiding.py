"""What a customer may not see does not leave by the public door: not in a byte of any answer.

Nor is it in the log of the process, in a span of its calls, or on the page of its operations metrics,
whatever has gone wrong in it.
"""

from __future__ import annotations

import re
import shutil
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import grpc.aio
import pytest
from api_world import CONFIG, World, refusal, searches, tokens, usage
from collector import collecting
from hiding_calls import (
    CARDS,
    HIDDEN,
    LABELS,
    be_failed,
    be_left_out,
    be_refused,
    be_stopped,
    be_unread,
    drive,
)
from hiding_ears import Overheard, OverheardStreams

from ledger.api.errors import OVERLOADED, TABLE
from ledger.books.model.refusals import RefusalReason
from ledger.engine.limits import BOUNDS, Bound, EngineLimits, Urgency
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.limits import Limits
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.serving import Server

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


def varint(number):
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


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


def log_of(served: Server) -> str:
    """What it has logged, but for what its watch has found of the rollups, if it came while they were wrong.

    That names what does not hold, `margins_are_sums`, and no amount.
    """
    return "".join(line for line in served.log().splitlines(keepends=True) if '"part": "ROLLUPS"' not in line)


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
        said += [log_of(served), served.operations_metrics()]
    methods = {name for stub in (CreditServiceStub, WalletServiceStub) for name in vars(stub(world.public))}
    assert overheard.methods == methods
    with serve(database_urls, config) as served:
        async with spying(served, owner, overheard) as world:
            await be_left_out(world, config)
        said += [log_of(served), served.operations_metrics()]
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
