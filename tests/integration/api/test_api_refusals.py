"""Bad input and refusals: each with its reason and field, and nothing changed."""

from __future__ import annotations

import pytest
from api_world import CREDIT, refusal, sandbox, searches, ticket, tokens, usage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused_without_a_trace(world, call):
    """The refusal of a call, after it is clear that it left no trace."""
    async with world.nothing_changed():
        return await refusal(call)


UNKNOWN = {"request_id": "r", "customer_id": "nobody"}


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Reserve", pb.ReserveRequest(**UNKNOWN, amount_micros=1)),
        ("ExtendReservation", pb.ExtendReservationRequest(**UNKNOWN, reservation_id="rsv_x")),
        (
            "CommitReservation",
            pb.CommitReservationRequest(**UNKNOWN, reservation_id="rsv_x", amount_micros=0),
        ),
        ("ReleaseReservation", pb.ReleaseReservationRequest(**UNKNOWN, reservation_id="rsv_x")),
        ("Charge", pb.ChargeRequest(**UNKNOWN, usage=usage(tokens()))),
        ("ReverseCharge", pb.ReverseChargeRequest(**UNKNOWN, charge_id="chg_x", reason="r")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_unknown_customer(world, method, request_):
    """A write to a customer that does not exist is refused, and makes none."""
    refused = await refused_without_a_trace(world, getattr(world.credit, method)(request_))
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
    assert refused.metadata["customer_id"] == "nobody"


@pytest.mark.parametrize("write", ["reserve", "charge", "quote"])
async def test_a_price_beyond_what_can_be_booked(world, customer, write):
    """A price that no wallet can hold is refused, asked for or charged."""
    item = sandbox(10**6, count="9" * 15)
    if write == "quote":
        call = world.credit.Quote(pb.QuoteRequest(customer_id=customer, usage=usage(item)))
    else:
        call = getattr(world, write)(usage=usage(item))
    refused = await refused_without_a_trace(world, call)
    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert refused.fields.keys() == {"usage"}


@pytest.mark.parametrize(
    "item", [tokens("nobody/knows"), use.UsageItem(units=use.UnitUsage(meter="x", quantity="1"))]
)
@pytest.mark.parametrize("write", ["reserve", "charge", "quote"])
async def test_unpriced_usage(world, customer, write, item):
    """Usage that has no price is refused before the work, by its place, and not why."""
    if write == "quote":
        call = world.credit.Quote(pb.QuoteRequest(customer_id=customer, usage=usage(tokens(), item)))
    else:
        call = getattr(world, write)(usage=usage(tokens(), item))
    refused = await refused_without_a_trace(world, call)
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "UNPRICED_USAGE")
    kind, name = ("tokens", item.tokens.model) if item.tokens.model else ("units", item.units.meter)
    assert refused.metadata == {"item": "1", "kind": kind, "name": name}
    assert refused.metadata["name"] in refused.message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-5", "provider/name, such as openai/gpt-5"),
        ("Claude-Sonnet-4-5", "provider/name, such as anthropic/claude-sonnet-4-5"),
        ("gpt-5-minni", "provider/name, such as openai/gpt-5-mini-2025-08-07"),
        ("large", "provider/name"),
    ],
)
async def test_a_bare_name_of_a_model_is_told_with_the_form_that_is_expected(world, name, expected):
    """With the nearest name of the public catalog; what only the cost book has (acme/large) is not named."""
    refused = await refusal(world.charge(usage=usage(tokens(name))))
    assert refused.metadata == {"item": "0", "kind": "tokens", "name": name, "expected": expected}
    assert expected in refused.message


async def test_unpriced_usage_that_happened_is_charged_as_nothing(world):
    """With already_used a charge is booked, unpriced items at 0 and marked."""
    answer = await world.charge(usage=usage(tokens("nobody/knows")), already_used=True)
    assert (answer.charge.charged_micros, answer.charge.lines[0].unpriced) == (0, True)


@pytest.mark.parametrize("write", ["reserve", "charge"])
async def test_too_few_credits(world, write):
    """A hold or a charge above what is available says what there is, what it takes, and what is short."""
    refused = await refused_without_a_trace(world, getattr(world, write)(amount_micros=100 * CREDIT + 1))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_CREDITS")
    assert refused.metadata == {
        "available_micros": "100000000",
        "required_micros": "100000001",
        "short_micros": "1",
    }


async def test_extend_beyond_what_is_available(world):
    """More credits and more time, both or neither."""
    named = await world.reservation()
    longer = {"amount_micros": 91 * CREDIT, "ttl": Duration(seconds=3_600)}
    refused = await refused_without_a_trace(world, world.extend(named, **longer))
    assert refused.reason == "INSUFFICIENT_CREDITS"


@pytest.mark.parametrize("write", ["extend", "commit", "release"])
@pytest.mark.parametrize("named", ["of another customer", "of a charge", "rsv_mistyped"])
async def test_reservations_that_are_not_the_customers(world, write, named):
    """Another customer's reservation is not found, like one that does not exist."""
    if named == "of another customer":
        named = await world.reservation()
        await world.new_customer(fresh())
    elif named == "of a charge":
        named = (await world.charge(amount_micros=1)).charge.charge_id
    fields = {"amount_micros": 0} if write == "commit" else {}
    refused = await refused_without_a_trace(world, getattr(world, write)(named, **fields))
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "RESERVATION_NOT_FOUND")
    assert refused.metadata == {"reservation_id": named}


async def test_another_customers_reservation_stays_as_it_is(world, customer):
    """Who names another's reservation changes nothing of the other's either."""
    named = await world.reservation()
    await world.new_customer(fresh())
    await refusal(world.release(named))
    request = pb.GetReservationRequest(customer_id=customer, reservation_id=named)
    read = (await world.credit.GetReservation(request)).reservation
    assert read.state == pb.RESERVATION_STATE_OPEN


@pytest.mark.parametrize("ended_by", ["release", "final commit"])
@pytest.mark.parametrize("write", ["extend", "commit", "final commit", "release"])
async def test_closed_reservations(world, ended_by, write):
    """After a release or a final commit nothing is taken any more: no commit, no second final one."""
    named = await world.reservation()
    if ended_by == "release":
        await world.release(named)
    else:
        await world.commit(named, usage=usage(tokens()), final=True)
    fields = {"usage": usage(tokens()), "final": write == "final commit"} if "commit" in write else {}
    call = getattr(world, write.removeprefix("final "))(named, **fields)
    refused = await refused_without_a_trace(world, call)
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "RESERVATION_CLOSED")
    assert refused.metadata == {"reservation_id": named}


async def test_expired_reservation(world, customer):
    """An expired hold is neither extended nor released; a commit is still taken, as a late one."""
    made = (await world.reserve(ttl=Duration(seconds=1))).reservation
    request = pb.GetReservationRequest(customer_id=customer, reservation_id=made.reservation_id)
    state = pb.RESERVATION_STATE_OPEN
    while state == pb.RESERVATION_STATE_OPEN:
        state = (await world.credit.GetReservation(request)).reservation.state
    assert state == pb.RESERVATION_STATE_EXPIRED
    assert await world.balance() == pb.Balance(available_micros=100 * CREDIT)
    refused = await refused_without_a_trace(world, world.extend(made.reservation_id, amount_micros=1))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "RESERVATION_EXPIRED")
    assert refused.metadata == {"reservation_id": made.reservation_id}
    late = await world.commit(made.reservation_id, usage=usage(tokens()), final=True)
    assert late.charge.late
    assert late.balance == pb.Balance(available_micros=90 * CREDIT)


@pytest.mark.parametrize("final", [False, True])
async def test_commit_in_credits_above_the_hold(world, final):
    """On a plan that rejects it, a commit stated in credits stays within the hold; usage is not refused."""
    await world.new_customer(fresh(), plan="strict")
    named = await world.reservation(amount_micros=CREDIT)
    refused = await refused_without_a_trace(world, world.commit(named, amount_micros=2 * CREDIT, final=final))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "OVER_CAPTURE")
    assert refused.metadata == {
        "reservation_id": named,
        "held_micros": "1000000",
        "required_micros": "2000000",
    }
    answer = await world.commit(named, usage=usage(tokens()), final=final)
    assert (answer.charge.charged_micros, answer.charge.uncollected_micros) == (CREDIT, 9 * CREDIT)


async def test_reversals_that_are_refused(world):
    """An open reservation is not reversed; a charge or reservation that is not there is not found."""
    named = await world.reservation()
    refused = await refused_without_a_trace(world, world.reverse(reservation_id=named))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "RESERVATION_OPEN")
    assert refused.metadata == {"reservation_id": named}
    refused = await refused_without_a_trace(world, world.reverse(reservation_id="rsv_x"))
    assert (refused.reason, refused.metadata) == ("RESERVATION_NOT_FOUND", {"reservation_id": "rsv_x"})
    refused = await refused_without_a_trace(world, world.reverse(charge_id=named))
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "CHARGE_NOT_FOUND")
    assert refused.metadata == {"charge_id": named}
    part = (await world.commit(named, usage=usage(tokens()))).charge.charge_id
    refused = await refused_without_a_trace(world, world.reverse(charge_id=part))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CHARGE_NOT_REVERSIBLE")
    assert refused.metadata == {"charge_id": part}


async def test_reversal_twice(world):
    """What was undone is not undone again, under another id."""
    charged = (await world.charge(amount_micros=CREDIT)).charge.charge_id
    await world.reverse(charge_id=charged)
    refused = await refused_without_a_trace(world, world.reverse(charge_id=charged))
    assert (refused.reason, refused.metadata) == ("CHARGE_NOT_REVERSIBLE", {"charge_id": charged})


async def test_refunds_that_are_refused(world, customer):
    """More than is left; a charge that is not there; another customer's."""
    charged = (await world.charge(amount_micros=CREDIT)).charge.charge_id
    refused = await refused_without_a_trace(world, world.refund(charged, amount_micros=CREDIT + 1))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "REFUND_EXCEEDS_CHARGE")
    assert refused.metadata == {"charge_id": charged, "left_micros": str(CREDIT)}
    await world.reverse(charge_id=charged)
    refused = await refused_without_a_trace(world, world.refund(charged))
    assert refused.reason == "REFUND_EXCEEDS_CHARGE"
    assert refused.metadata == {"charge_id": charged, "left_micros": "0"}
    for named in ("chg_0", await world.reservation()):
        refused = await refused_without_a_trace(world, world.refund(named))
        assert (refused.code.name, refused.reason) == ("NOT_FOUND", "CHARGE_NOT_FOUND")
    await world.new_customer(f"{customer}-other")
    assert (await refusal(world.refund(charged))).reason == "CHARGE_NOT_FOUND"


NO_QUANTITY = [
    use.UsageItem(tokens=use.TokenUsage(model="acme/large")),
    use.UsageItem(compute=use.ComputeUsage(resource="sandbox")),
    use.UsageItem(units=use.UnitUsage(meter="web_search")),
    use.UsageItem(),
]


@pytest.mark.parametrize(
    "item",
    [
        *NO_QUANTITY,
        tokens(input=-1),
        tokens(input=2**63 - 1),
        tokens(requests=-1),
        sandbox(-1),
        sandbox(1, count="-1"),
        sandbox(1, count="NaN"),
        *map(searches, ("NaN", "nan", "Infinity", "-1", "1e9", "1" * 16, "0.0000000001", "one")),
        ticket(use.OUTCOME_RESULT_UNSPECIFIED),
        use.UsageItem(
            outcome=use.Outcome(name="ticket.resolved", result=use.OUTCOME_RESULT_RESOLVED, count=-1)
        ),
    ],
    ids=lambda item: str(item).replace("\n", " ").strip() or "nothing",
)
@pytest.mark.parametrize("write", ["reserve", "charge", "commit", "quote"])
async def test_bad_usage(world, customer, write, item):
    """Negative, overflowing, missing or unreadable quantities are refused everywhere, by field."""
    if write == "quote":
        call = world.credit.Quote(pb.QuoteRequest(customer_id=customer, usage=usage(tokens(), item)))
    else:
        named = (await world.reservation(),) if write == "commit" else ()
        call = getattr(world, write)(*named, usage=usage(tokens(), item))
    refused = await refused_without_a_trace(world, call)
    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert [field.startswith("usage.items[1]") for field in refused.fields] == [True]
    assert all(refused.fields.values())


async def test_a_thousand_bad_items(world):
    """However much is wrong, the answer arrives: the first bad fields, and how many more there are."""
    items = [searches("NaN")] * 1_000
    refused = await refused_without_a_trace(world, world.charge(usage=usage(*items)))
    assert refused.reason == "INVALID_ARGUMENT"
    assert len(refused.fields) == 16
    assert "and 999 more" in refused.message


@pytest.mark.parametrize("write", ["reserve", "charge", "commit"])
async def test_price_that_overflows(world, write):
    """Quantities that are each allowed, and whose price no account holds, are refused; nothing is booked."""
    items = [searches("9" * 15)] * 1_000
    named = (await world.reservation(),) if write == "commit" else ()
    refused = await refused_without_a_trace(world, getattr(world, write)(*named, usage=usage(*items)))
    assert refused.code.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert refused.reason in ("INVALID_ARGUMENT", "INSUFFICIENT_CREDITS")


@pytest.mark.parametrize("write", ["reserve", "charge", "commit"])
async def test_too_many_items(world, write):
    """1,001 items are one too many, and none is no usage."""
    named = (await world.reservation(),) if write == "commit" else ()
    for items in ([tokens(input=0)] * 1_001, []):
        call = getattr(world, write)(*named, usage=usage(*items))
        assert "usage.items" in (await refused_without_a_trace(world, call)).fields


@pytest.mark.parametrize("field", ["request_id", "customer_id"])
@pytest.mark.parametrize("bad", ["", "x" * 129, "a\0b"])
async def test_bad_ids(world, field, bad):
    """Empty and over-long ids, and ids that no database column holds, are refused by field."""
    for call in (
        world.reserve(**{field: bad}),
        world.charge(**{field: bad, "amount_micros": 1}),
        world.commit("rsv_x", **{field: bad, "amount_micros": 1}),
        world.extend("rsv_x", **{field: bad}),
        world.release("rsv_x", **{field: bad}),
        world.reverse(**{field: bad, "charge_id": "chg_x"}),
        world.refund("chg_x", **{field: bad}),
    ):
        assert (await refused_without_a_trace(world, call)).fields.keys() == {field}


@pytest.mark.parametrize("bad", ["", "x" * 129])
async def test_bad_reservation_ids(world, bad):
    """An id that names nothing at all is a bad field."""
    for call in (world.extend(bad), world.commit(bad, amount_micros=0), world.release(bad)):
        assert (await refused_without_a_trace(world, call)).fields.keys() == {"reservation_id"}


@pytest.mark.parametrize(
    "seconds", [0, -1, 86_401, 2**40], ids=["0 s", "negative", "a second past 24 h", "ages"]
)
async def test_ttl_out_of_range(world, seconds):
    """A time to live is 1 s to 24 h, for a new hold and for a longer one."""
    ttl = Duration(seconds=seconds)
    named = await world.reservation()
    for call in (world.reserve(ttl=ttl), world.extend(named, ttl=ttl)):
        assert (await refused_without_a_trace(world, call)).fields.keys() == {"ttl"}


@pytest.mark.parametrize(
    ("ttl", "shown"),
    [
        (Duration(nanos=500_000_000), "is 0.5 s;"),
        (Duration(seconds=86_400, nanos=1), "is 86400.000000001 s;"),
        (Duration(nanos=-1), "is -0.000000001 s;"),
    ],
)
async def test_a_length_of_time_is_reported_as_it_is(world, ttl, shown):
    """What is wrong is shown to the nanosecond: nothing that is refused looks like what is allowed."""
    refused = await refused_without_a_trace(world, world.reserve(ttl=ttl))
    assert refused.fields["ttl"].startswith(shown)


async def test_a_long_compute_is_reported_as_it_is(world):
    """The longest use of a machine and half a second more is shown with the half."""
    item = use.UsageItem(compute=use.ComputeUsage(resource="sandbox"))
    item.compute.duration.CopyFrom(Duration(seconds=10**9, nanos=500_000_000))
    refused = await refused_without_a_trace(world, world.charge(usage=usage(item)))
    assert list(refused.fields.values()) == ["is 1000000000.5 s; at most 1000000000 s are allowed"]


async def test_ttl_past_the_plans(world):
    """A plan may allow less than 24 h."""
    await world.new_customer(fresh(), plan="brief")
    await world.reserve(ttl=Duration(seconds=600))
    refused = await refused_without_a_trace(world, world.reserve(ttl=Duration(seconds=601)))
    assert (refused.code.name, refused.fields.keys()) == ("INVALID_ARGUMENT", {"ttl"})
    half = Duration(seconds=600, nanos=500_000_000)
    refused = await refused_without_a_trace(world, world.reserve(ttl=half))
    assert refused.fields == {"ttl": "must be 1 s to 600 s, got 600.5 s"}


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1, 2**63 - 1])
async def test_bad_amounts(world, amount):
    """A hold or a charge is 1 micro-credit to a billion credits; a commit may be of nothing."""
    for call in (world.reserve(amount_micros=amount), world.charge(amount_micros=amount)):
        assert (await refused_without_a_trace(world, call)).fields.keys() == {"amount_micros"}
    if amount:
        named = await world.reservation()
        for call in (world.commit(named, amount_micros=amount), world.extend(named, amount_micros=amount)):
            assert (await refused_without_a_trace(world, call)).fields.keys() == {"amount_micros"}


async def test_bad_instants(world, customer):
    """Usage is at most 35 days old, and 5 minutes ahead of the clock."""
    balance = await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=customer))
    now = balance.as_of.seconds
    for seconds in (now - 35 * 86_400 - 60, now + 360):
        item = tokens()
        item.occurred_at.CopyFrom(Timestamp(seconds=seconds))
        refused = await refused_without_a_trace(world, world.charge(usage=usage(item)))
        assert refused.fields.keys() == {"usage.items[0].occurred_at"}
    item = tokens()
    item.occurred_at.CopyFrom(Timestamp(seconds=now - 34 * 86_400))
    answer = await world.charge(usage=usage(item))
    assert answer.charge.occurred_at == item.occurred_at


async def test_bad_labels(world):
    """Labels that are too many or too long are refused by field."""
    many = pb.Labels(other={f"k{n}": "v" for n in range(17)})
    long = pb.Labels(project="x" * 129)
    for labels, field in ((many, "labels"), (long, "labels.project")):
        for call in (world.reserve(labels=labels), world.charge(amount_micros=1, labels=labels)):
            assert (await refused_without_a_trace(world, call)).fields.keys() == {field}


async def test_what_is_missing(world):
    """A write says what it holds, spends or undoes."""
    given = {"request_id": fresh(), "customer_id": world.customer_id}
    named = await world.reservation()
    for call, field in (
        (world.credit.Reserve(pb.ReserveRequest(**given)), "hold"),
        (world.credit.Charge(pb.ChargeRequest(**given)), "spent"),
        (world.commit(named, final=True), "spent"),
        (world.reverse(), "subject"),
        (world.reverse(charge_id="chg_x", reason=""), "reason"),
        (world.refund("chg_x", reason=""), "reason"),
        (world.refund(""), "charge_id"),
        (world.refund("chg_x", amount_micros=-1), "amount_micros"),
    ):
        assert (await refused_without_a_trace(world, call)).fields.keys() == {field}
