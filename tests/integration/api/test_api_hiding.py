"""What a customer may not see does not leave by the public door: not in a byte of any answer."""

from __future__ import annotations

import urllib.request
from asyncio import to_thread
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from api_world import CONFIG, CREDIT, World, fresh, sandbox, searches, ticket, tokens, usage

from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRETS = (
    *("hushed", "cache", "73190017", "7.3190017", "298770013", "4143331", "12718283", "1234567", "987653"),
    *("12347", "37.31", "3731", "31.4159265", "314159265", "cost_plus", "markup"),
)
"""Rule names, levers, what really ran, rates of the cost book, a markup, what was paid."""


@dataclass
class Overheard(grpc.aio.UnaryUnaryClientInterceptor):
    """Keeps every byte that comes back, and the names of the methods that it came from."""

    answers: list[bytes] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)

    async def intercept_unary_unary(self, continuation, details, request):
        call = await continuation(details, request)
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        self.methods.add(method.rpartition("/")[2])
        for metadata in (await call.initial_metadata(), await call.trailing_metadata()):
            for key, value in metadata or ():
                self.answers.append(
                    key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode())
                )
        self.answers.append((await call.details() or "").encode())
        if await call.code() is grpc.StatusCode.OK:
            self.answers.append((await call).SerializeToString())
        return call


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


async def drive(world, customer):
    """Calls every public method, with hidden things in what is reported, and errors of all sorts."""
    hidden = usage(
        tokens(output=1_234, served_by="acme/hushed-distilled"),
        tokens(served_by="cache"),
        sandbox(3_599, served_by="hushed-host", run_id="run"),
        searches("3"),
        ticket(),
    )
    labels = pb.Labels(project="p", other={"internal.route": "hushed", "team": "t"})
    given = {"customer_id": customer}
    made = await world.reserve(usage=hidden, labels=labels)
    named = made.reservation.reservation_id
    await world.extend(named, amount_micros=CREDIT)
    await world.commit(named, usage=hidden)
    await world.commit(
        named, usage=usage(tokens("hidden/unpriced", served_by="acme/hushed-distilled")), final=True
    )
    await world.release(await world.reservation())
    charged = (await world.charge(usage=hidden, labels=labels)).charge.charge_id
    await world.reverse(charge_id=charged)
    owned = tokens(key_owner=use.KEY_OWNER_CUSTOMER, served_by="acme/hushed-distilled")
    await world.charge(usage=usage(owned), already_used=True)
    item = pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), usage=hidden, labels=labels, **given))
    bad = pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), usage=usage(tokens("x/y")), **given))
    await world.credit.Batch(pb.BatchRequest(items=[item, bad, item]))

    await world.credit.Quote(pb.QuoteRequest(usage=hidden, labels=labels, **given))
    await world.credit.GetReservation(pb.GetReservationRequest(reservation_id=named, **given))
    await world.credit.ListReservations(pb.ListReservationsRequest(page_size=1, **given))
    await world.credit.GetCharge(pb.GetChargeRequest(charge_id=charged, **given))
    await world.credit.ListCharges(pb.ListChargesRequest(**given))
    await world.wallet.GetBalance(wallet.GetBalanceRequest(**given))
    await world.wallet.ListGrants(wallet.ListGrantsRequest(**given))
    await world.wallet.ListTransactions(wallet.ListTransactionsRequest(**given))
    await world.wallet.GetPriceList(wallet.GetPriceListRequest(**given))

    served = tokens(input=-1, served_by="acme/hushed-distilled")
    for call in (
        world.reserve(usage=usage(tokens("acme/hushed"))),
        world.charge(usage=usage(served)),
        world.charge(amount_micros=10**14, labels=labels),
        world.commit(named, usage=hidden),
        world.reverse(charge_id=charged),
        world.credit.Quote(pb.QuoteRequest(usage=usage(tokens("x/y")), **given)),
    ):
        await ignore(call)
    return charged


@pytest.mark.parametrize("card", ["metered", "following"])
async def test_no_secret_in_any_byte(world, customer, card):
    """No answer, error or metadata of any public method names a rule, a rate, a cost, or what really ran."""
    await world.update(rate_card=card)
    overheard = Overheard()
    async with grpc.aio.insecure_channel(world.stack.public_target, interceptors=[overheard]) as channel:
        spy = World(world.stack, channel, world.back_office, world.owner)
        spy.customer_id = customer
        charged = await drive(spy, customer)
    methods = {name for stub in (CreditServiceStub, WalletServiceStub) for name in vars(stub(world.public))}
    assert overheard.methods == methods

    explained = await world.finance.ExplainCharge(
        finance.ExplainChargeRequest(customer_id=customer, charge_id=charged)
    )
    assert {line.lever for line in explained.lines} >= {"hushed-lever", "caching"}
    amounts = [explained.cost_usd, *(line.cost_usd for line in explained.lines)]
    costs = {int(amount.replace(".", "")) for amount in amounts} - {0}
    needles = [secret.encode() for secret in SECRETS]
    needles += [amount.rstrip("0").encode() for amount in amounts if int(amount.replace(".", ""))]
    needles += [number for cost in costs for number in (str(cost).encode(), varint(cost)) if len(number) > 3]
    for answer in overheard.answers:
        found = [needle for needle in needles if needle in answer and needle != b"cache"]
        assert not found, answer
        assert b"cache" not in answer.replace(b"cache_read", b"").replace(b"cache_write", b"")


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
    """Metrics of operations name no money, no customer, no model and no card."""
    await world.charge(usage=usage(tokens()))
    with await to_thread(urllib.request.urlopen, world.stack.operations_url) as response:
        text = response.read().decode()
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


async def test_planted_secrets_are_in_the_configuration():
    """The secrets that the tests look for are the ones that the service was given."""
    text = "".join(path.read_text() for path in [CONFIG / "costs.yaml", *(CONFIG / "cards").iterdir()])
    for secret in ("hushed-lever", "7.3190017", "0.1234567", "37.31%", "hushed rule of large", "markup"):
        assert secret in text
