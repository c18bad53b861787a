"""What only costs look at changes no byte of any answer: in the cost book or not, with credits or without.

So nobody can list what stands in the cost book, and a name that is mistyped where usage is reported makes
nothing free. Compared are answers, refusals with their details, and what is read afterwards, but for ids and
instants.
"""

from __future__ import annotations

from itertools import count
from time import time

import grpc.aio
import pytest
import pytest_asyncio
from api_world import CREDIT, World, sandbox, tokens, usage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

RATED = """
card: rated
credit: credit
credit_price_usd: "1"
rules:
  - {name: any model, match: {tokens: "*"}, price: {per_million: {input: "10", output: "40"}}}
  - {name: any machine, match: {compute: "*"}, price: {per_hour: "4", minimum: 60s, increment: 1s}}
  - {name: any unit, match: {units: "*"}, price: {each: "2"}}
"""
FOLLOWING = """
card: following
revision: 9
credit: credit
credit_price_usd: "1"
rules:
  - {name: any model, match: {tokens: "*"}, price: {cost_plus: {markup: "50%"}}}
  - {name: any machine, match: {compute: "*"}, price: {plus: [{per_hour: "4"}, {fee_on_cost: "10%"}]}}
"""
SHARING = """
card: sharing
credit: credit
credit_price_usd: "1"
discloses: serving_cost
rules:
  - name: any model
    match: {tokens: "*"}
    price: {plus: [{cost_plus: {markup: "50%", on: served}}, {savings_share: "30%"}]}
"""


def machine(resource: str, **fields: str) -> use.UsageItem:
    """An hour of a machine."""
    return use.UsageItem(
        compute=use.ComputeUsage(resource=resource, duration=Duration(seconds=3600), **fields)
    )


def meter(name: str) -> use.UsageItem:
    """Three of something."""
    return use.UsageItem(units=use.UnitUsage(meter=name, quantity="3"))


def happened(days_ago: int) -> use.UsageItem:
    """Tokens of an earlier day: what they cost is looked up in the cost book of that day."""
    return use.UsageItem(
        tokens=tokens().tokens, occurred_at=Timestamp(seconds=int(time()) - days_ago * 86_400)
    )


SERVED = ("", "acme/large", "acme/hushed-distilled", "nobody/knows", "cache")
CASES = {
    "served_by of tokens": ("rated", [tokens(served_by=name) for name in SERVED]),
    "served_by of machines": (
        "rated",
        [sandbox(3_600, served_by=name) for name in ("", "sandbox", "hushed-host", "nowhere", "cache")],
    ),
    "the model": ("rated", [tokens("acme/hushed-distilled"), tokens("acme/unheard-of-model"), tokens()]),
    "the resource": ("rated", [machine("hushed-host"), machine("unheard-of."), machine("sandbox")]),
    "the meter": ("rated", [meter("web_search"), meter("unheard-of")]),
    "service_tier": ("rated", [tokens(service_tier=tier) for tier in ("", "batch", "unheard-of")]),
    "key_owner": ("rated", [tokens(key_owner=owner) for owner in (0, use.KEY_OWNER_CUSTOMER)]),
    "occurred_at": ("rated", [happened(days) for days in (0, 1, 30)]),
    "a quantity": ("rated", [tokens(input=0, output=CREDIT), tokens("acme/none", input=0, output=CREDIT)]),
    "served_by where the price follows what is asked": ("following", [tokens(served_by=s) for s in SERVED]),
    "served_by of machines where it follows": (
        "following",
        [sandbox(3_600, served_by=name) for name in ("", "hushed-host", "nowhere", "cache")],
    ),
    "served_by of what has no cost": (
        "following",
        [tokens("acme/none", served_by=name) for name in SERVED],
    ),
    "served_by that nobody knows, of a price by what served": (
        "sharing",
        [tokens(served_by=name) for name in ("", "acme/large", "nobody/knows", "no")],
    ),
    "served_by of what has no cost, of a price by what served": (
        "sharing",
        [tokens("acme/none", served_by=name) for name in SERVED],
    ),
}

_numbers = count(1)


async def answered(call) -> Message:
    """An answer, or the status of a refusal as it stands in the trailing metadata."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        return pb.BatchResponse(results=[pb.BatchResult(error=_status(trailing["grpc-status-details-bin"]))])


def _status(raw: bytes):
    return type(pb.BatchResult().error).FromString(raw)


def alike(message: Message, names: dict[str, str]) -> str:
    """A message as text, without ids and instants, and with the names that the caller sent replaced."""
    _strip(message)
    text = str(message)
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def _strip(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name.endswith("_id") or field.name == "as_of" or isinstance(value, Timestamp):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE and not _is_map(field):
            for inner in value if field.is_repeated else [value]:
                _strip(inner)


def _is_map(field) -> bool:
    return field.message_type.GetOptions().map_entry


async def reported(world, card: str, item: use.UsageItem, granted: int) -> list[str]:
    """All that a new customer reads who reports this item by every public write."""
    customer = await world.new_customer(f"alike_{next(_numbers):06}", granted=0)
    await world.update(rate_card=card)
    await world.grant(3 * CREDIT)
    holds = [await world.reservation(amount_micros=CREDIT) for _ in range(3)]
    if granted:
        await world.grant(granted * CREDIT)
    given, used = {"customer_id": customer}, usage(item)

    def charge(**fields: bool) -> pb.ChargeRequest:
        return pb.ChargeRequest(request_id=fresh(), usage=used, **given, **fields)

    def commit(reservation_id: str, **fields: bool) -> pb.CommitReservationRequest:
        request = {"request_id": fresh(), "reservation_id": reservation_id, "usage": used}
        return pb.CommitReservationRequest(**request, **given, **fields)

    def reserve() -> pb.ReserveRequest:
        return pb.ReserveRequest(request_id=fresh(), usage=used, **given)

    more = {"request_id": fresh(), "reservation_id": holds[1], "amount_micros": CREDIT}
    batch = [
        pb.BatchItem(reserve=reserve()),
        pb.BatchItem(charge=charge()),
        pb.BatchItem(commit=commit(holds[0])),
    ]
    credit = world.credit
    calls = (
        (credit.Quote, pb.QuoteRequest(usage=used, **given)),
        (credit.Check, pb.CheckRequest(usage=used, **given)),
        (credit.Charge, charge()),
        (credit.Reserve, reserve()),
        (credit.CommitReservation, commit(holds[1])),
        (credit.ExtendReservation, pb.ExtendReservationRequest(**more, **given)),
        (credit.CommitReservation, commit(holds[1], final=True)),
        (credit.Batch, pb.BatchRequest(items=batch)),
        (credit.Charge, charge(already_used=True)),
        (credit.CommitReservation, commit(holds[2], final=True)),
        (credit.ListCharges, pb.ListChargesRequest(**given)),
        (credit.ListReservations, pb.ListReservationsRequest(**given)),
        (world.wallet.GetBalance, wallet.GetBalanceRequest(**given)),
    )
    names = {each: "name" for each in (item.tokens.model, item.compute.resource, item.units.meter) if each}
    return [alike(await answered(method(request)), names) for method, request in calls]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stocked(shop: World) -> World:
    """A service with these cards in force."""
    for document in (RATED, FOLLOWING, SHARING):
        request = admin.PublishRateCardRequest(document=document)
        await shop.admin.PublishRateCard(request)
    return shop


@pytest.mark.parametrize("granted", [10_000, 0], ids=["rich", "empty"])
@pytest.mark.parametrize("case", CASES)
async def test_no_answer_tells_what_the_cost_book_knows(stocked, case, granted):
    """Every value of the field is answered as the first: treatment, price, refusal, order and balance."""
    card, items = CASES[case]
    first, *others = [await reported(stocked, card, item, granted) for item in items]
    assert len(first) == 13
    for other in others:
        for answer, expected in zip(other, first, strict=True):
            assert answer == expected


async def test_a_mistyped_server_makes_no_machine_free(stocked):
    """An hour at 4.00 costs 4.00, whatever a router wrote; finance sees that its cost is a guess."""
    customer = await stocked.new_customer(f"alike_{next(_numbers):06}")
    await stocked.update(rate_card="rated")
    hold = await stocked.reservation(amount_micros=5 * CREDIT)
    item = sandbox(3_600, served_by="hushed-hots")
    charge = (await stocked.commit(hold, usage=usage(item), final=True)).charge
    assert (charge.charged_micros, charge.lines[0].unpriced) == (4 * CREDIT, False)
    request = finance.ExplainChargeRequest(customer_id=customer, charge_id=charge.charge_id)
    (line,) = (await stocked.finance.ExplainCharge(request)).lines
    assert (line.treatment, line.cost_source, line.uncosted) == ("CHARGED", "asked", True)
    assert (line.cost_usd, line.unpriced_reason) == ("0.123456700", "")
    assert (await stocked.finance.VerifyJournal(finance.VerifyJournalRequest())).holds
