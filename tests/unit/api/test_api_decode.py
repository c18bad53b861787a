"""Requests become commands, or a list of all that is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

import pricing
from ledger.access.keys import Key
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import decode, decode_customers, decode_grants, ids, limits
from ledger.api.messages.validation import InvalidArgumentError
from ledger.api.messages.write import fingerprint
from ledger.books.commands import (
    Charge,
    Commit,
    Extend,
    Fill,
    IssueGrant,
    Refund,
    Release,
    Reserve,
    Reverse,
)
from ledger.books.model.lots import GrantKind
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FIRST, LAST = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799, nanos=999_999_000)
"""Both ends of the calendar."""
TOKENS = use.UsageItem(tokens=use.TokenUsage(model="acme/small", input=3))


def reserve(**fields):
    given = {"request_id": "r1", "customer_id": "cus_1", **fields}
    if not given.keys() & {"amount_micros", "usage"}:
        given["amount_micros"] = 5
    return pb.ReserveRequest(**given)


def usage_of(item, **fields):
    return reserve(usage=pb.ReserveRequest(usage=use.UsageList(items=[item])).usage, **fields)


def violations(request, function=decode.reserve):
    with pytest.raises(InvalidArgumentError) as caught:
        function(request, NOW)
    return dict(caught.value.violations)


KEY = Key("0" * 12, "0" * 43).text


@pytest.mark.parametrize("field", ["request_id", "customer_id"])
@pytest.mark.parametrize("text", [KEY, f"r-{KEY}", f"{KEY}-1"])
def test_an_id_holds_no_key(field, text):
    """It would be stored, and quoted to others; the refusal does not quote it either."""
    reported = violations(reserve(**{field: text}))
    assert reported == {field: "holds a key, which is sent as metadata alone; if others saw it, revoke it"}


@pytest.mark.parametrize("text", ["acu_1", f"acu_{'0' * 12}_{'0' * 49}", KEY[4:]])
def test_an_id_may_look_like_a_key(text):
    """Only what the checksum shows to be one is refused."""
    assert decode.reserve(reserve(customer_id=text), NOW).customer_id == text


def at(delta):
    stamp = Timestamp()
    stamp.FromDatetime((NOW + delta).replace(tzinfo=None))
    return stamp


# -- What good requests become -----------------------------------------------------------------------


def test_reserve_of_an_amount():
    """An amount, a fill, a time to live and labels reach the books as they were sent."""
    request = reserve(
        amount_micros=70,
        fill=pb.FILL_UP_TO,
        minimum_micros=20,
        ttl=Duration(seconds=90, nanos=500_000_000),
        labels=pb.Labels(project="p", other={"team": "t", "internal.run": "9"}),
    )
    write = decode.reserve(request, NOW)
    assert write.customer_id == "cus_1"
    assert write.usage is None
    assert write.command == Reserve(
        request_id="r1",
        fingerprint=fingerprint(request),
        amount_micros=70,
        fill=Fill.UP_TO,
        minimum_micros=20,
        ttl=timedelta(seconds=90.5),
        labels={"project": "p", "team": "t", "internal.run": "9"},
    )


def test_what_is_unset_takes_its_default():
    """Unset: all or nothing, a minimum of 1, the plan's time to live, no labels."""
    command = decode.reserve(reserve(), NOW).command
    assert (command.fill, command.minimum_micros, command.ttl) == (Fill.ALL_OR_NOTHING, 1, None)
    assert command.labels == {}


def test_usage_of_each_kind():
    """Usage reaches pricing as exact integers: billionths of decimal strings, nanoseconds of durations."""
    items = [
        use.UsageItem(
            tokens=use.TokenUsage(
                model="a/b",
                served_by="cache",
                key_owner=use.KEY_OWNER_CUSTOMER,
                service_tier="batch",
                requests=4,
                input=0,
                cache_read=7,
            ),
            occurred_at=at(-timedelta(days=1)),
        ),
        use.UsageItem(
            compute=use.ComputeUsage(
                resource="h100", run_id="run", state="idle", duration=Duration(nanos=5), count="0.5"
            )
        ),
        use.UsageItem(units=use.UnitUsage(meter="page", quantity="12.000000001")),
        use.UsageItem(
            outcome=use.Outcome(name="done", subject="s", result=use.OUTCOME_RESULT_FAILED, count=0)
        ),
    ]
    request = pb.ChargeRequest(request_id="r", customer_id="c", usage=use.UsageList(items=items))
    write = decode.charge(request, NOW)
    assert write.usage == (
        pricing.Tokens(
            model="a/b",
            quantities={"input": 0, "cache_read": 7},
            served_by="cache",
            key_owner=pricing.KeyOwner.CUSTOMER,
            service_tier="batch",
            requests=4,
            occurred_at=NOW - timedelta(days=1),
        ),
        pricing.Compute("h100", 5, 500_000_000, None, "run", "idle"),
        pricing.Units("page", 12_000_000_001),
        pricing.Outcome("done", pricing.Result.FAILED, "s", 0),
    )
    assert isinstance(write.command, Charge)
    assert write.command.amount_micros is None


def test_token_fields_are_pricings_quantities():
    """Every quantity of the message is one that pricing knows, and the other way round."""
    fields = {f.name for f in use.TokenUsage.DESCRIPTOR.fields if f.number >= 10}
    assert fields == set(pricing.usage.items.TOKEN_QUANTITIES)


def test_commit_extend_release_reverse_refund():
    """Ids become sequences of the customer's own entries; no credits at all may be committed."""
    named = ids.reservation_id("c", 9)
    charge = ids.charge_id("c", 10)
    commit = pb.CommitReservationRequest(
        request_id="r", customer_id="c", reservation_id=named, amount_micros=0, final=True
    )
    extend = pb.ExtendReservationRequest(request_id="r", customer_id="c", reservation_id=named)
    release = pb.ReleaseReservationRequest(request_id="r", customer_id="c", reservation_id=named)
    undo = pb.ReverseChargeRequest(request_id="r", customer_id="c", charge_id=charge, reason="twice")
    mark = fingerprint
    assert decode.commit(commit, NOW).command == Commit("r", mark(commit), 9, 0, final=True)
    assert decode.extend(extend, NOW).command == Extend("r", mark(extend), 9)
    assert decode.release(release, NOW).command == Release("r", mark(release), 9)
    assert decode.reverse(undo, NOW).command == Reverse("r", mark(undo), 10, None, "twice")
    back = pb.RefundRequest(
        request_id="r", customer_id="c", charge_id=charge, amount_micros=5, reason="sorry"
    )
    assert decode.refund(back, NOW).command == Refund("r", mark(back), 10, 5, "sorry")
    back.amount_micros = 0
    assert decode.refund(back, NOW).command == Refund("r", mark(back), 10, None, "sorry")


def test_what_was_paid_for_a_grant_is_exact():
    """What was paid is nano-dollars, exactly."""
    request = admin.IssueGrantRequest(
        request_id="r",
        customer_id="c",
        amount_micros=1,
        kind=wallet.GRANT_KIND_PAID,
        paid_total_usd="19.990000001",
        priority=-3,
        scope="tokens",
        expires_at=at(timedelta(days=9)),
    )
    assert decode_grants.issue_grant(request, NOW).command == IssueGrant(
        "r",
        fingerprint(request),
        1,
        GrantKind.PAID,
        19_990_000_001,
        None,
        NOW + timedelta(days=9),
        -3,
        "tokens",
    )


def test_update_changes_what_the_mask_names():
    """A field outside the mask is left alone, whatever it says; an empty card within it removes the card."""
    request = admin.UpdateCustomerRequest(
        request_id="r",
        customer=admin.Customer(customer_id="c", display_name="new", plan="other"),
        update_mask=FieldMask(paths=["display_name", "rate_card", "zone"]),
    )
    command = decode_customers.update_customer(request, NOW).command
    assert (command.display_name, command.plan, command.card, command.zone) == ("new", None, "", "UTC")


# -- Fingerprints ------------------------------------------------------------------------------------


def test_fingerprint_is_of_fields_not_of_bytes():
    """The order of map keys on the wire, and fields of a newer client, make no other request."""
    one = reserve(labels=pb.Labels(other={"a": "1", "b": "2"}))
    two = reserve(labels=pb.Labels(other={"b": "2", "a": "1"}))
    newer = pb.ReserveRequest.FromString(one.SerializeToString() + b"\xfa\x7f\x01x")
    assert fingerprint(one) == fingerprint(two) == fingerprint(newer)


def test_fingerprint_tells_requests_apart():
    """Another amount, another customer, another method: another request. So is a default spelled out."""
    release = pb.ReleaseReservationRequest(request_id="r1", customer_id="cus_1", reservation_id="x")
    extend = pb.ExtendReservationRequest(request_id="r1", customer_id="cus_1", reservation_id="x")
    assert release.SerializeToString() == extend.SerializeToString()
    requests = [
        reserve(),
        reserve(amount_micros=6),
        reserve(customer_id="cus_2"),
        reserve(fill=pb.FILL_ALL_OR_NOTHING),
        release,
        extend,
    ]
    assert len({fingerprint(request) for request in requests}) == len(requests)


def test_fingerprint_does_not_change():
    """A retry may come after an upgrade of this service or of its libraries."""
    request = reserve(ttl=Duration(seconds=60), labels=pb.Labels(project="p", other={"a": "1", "b": "2"}))
    assert fingerprint(request).hex() == "7146a1ddcfa43c9358b0a59fdc57b096"


# -- Limits: at each, and one past -------------------------------------------------------------------


@pytest.mark.parametrize("field", ["request_id", "customer_id"])
def test_ids_of_callers(field):
    """1 to 128 characters, none of them a control character."""
    decode.reserve(reserve(**{field: "x" * limits.ID_LENGTH_MAX}), NOW)
    assert field in violations(reserve(**{field: ""}))
    assert field in violations(reserve(**{field: "x" * (limits.ID_LENGTH_MAX + 1)}))
    assert field in violations(reserve(**{field: "a\0b"}))
    assert field in violations(reserve(**{field: "a\nb"}))
    assert field in violations(reserve(**{field: "a\x9b31mb"}))
    assert field in violations(reserve(**{field: "a\u202e321"}))
    decode.reserve(reserve(**{field: "نص \u200d\u200f"}), NOW)


def test_amounts_have_a_least_and_a_most():
    """1 micro-credit to a billion credits."""
    decode.reserve(reserve(amount_micros=1), NOW)
    decode.reserve(reserve(amount_micros=limits.AMOUNT_MICROS_MAX), NOW)
    for amount in (0, -1, limits.AMOUNT_MICROS_MAX + 1, 2**63 - 1, -(2**63)):
        assert "amount_micros" in violations(reserve(amount_micros=amount))


def test_a_minimum_goes_with_up_to_only():
    """Of UP_TO only, and not above the amount."""
    decode.reserve(reserve(amount_micros=5, fill=pb.FILL_UP_TO, minimum_micros=5), NOW)
    assert "minimum_micros" in violations(reserve(amount_micros=5, fill=pb.FILL_UP_TO, minimum_micros=6))
    assert "minimum_micros" in violations(reserve(amount_micros=5, fill=pb.FILL_UP_TO, minimum_micros=-1))
    assert "minimum_micros" in violations(reserve(amount_micros=5, minimum_micros=1))
    assert "fill" in violations(reserve(fill=9))


def test_a_hold_lives_for_a_second_to_a_day():
    """1 s to 24 h, to the nanosecond."""
    for good in (Duration(seconds=1), Duration(seconds=86_400)):
        assert decode.reserve(reserve(ttl=good), NOW).command.ttl == good.ToTimedelta()
    for bad in (
        Duration(),
        Duration(nanos=999_999_999),
        Duration(seconds=86_400, nanos=1),
        Duration(seconds=-1),
        Duration(seconds=5, nanos=-1),
        Duration(seconds=1, nanos=2_000_000_000),
        Duration(seconds=2**62),
    ):
        assert "ttl" in violations(reserve(ttl=bad))


def test_labels_are_few_and_short():
    """16 labels, keys to 63 characters, values to 128; a named label only in its field."""
    full = {f"k{number}": "v" for number in range(limits.LABELS_MAX - 1)}
    decode.reserve(reserve(labels=pb.Labels(project="p", other=full)), NOW)
    assert "labels" in violations(reserve(labels=pb.Labels(project="p", other={**full, "one": "more"})))
    longest = {"k" * limits.LABEL_KEY_LENGTH_MAX: "v" * limits.LABEL_VALUE_LENGTH_MAX}
    decode.reserve(reserve(labels=pb.Labels(other=longest)), NOW)
    for bad in (
        {"k" * (limits.LABEL_KEY_LENGTH_MAX + 1): "v"},
        {"k": "v" * (limits.LABEL_VALUE_LENGTH_MAX + 1)},
        {"": "v"},
        {"project": "v"},
        {"k": "a\0"},
    ):
        assert violations(reserve(labels=pb.Labels(other=bad)))
    assert "labels.user" in violations(reserve(labels=pb.Labels(user="u" * 129)))


def test_labels_that_are_too_many_are_not_looked_at():
    """What is wrong with each of them takes seconds to say where there are hundreds of thousands."""
    bad = {f"{number}\n": "v" for number in range(1_000)}
    assert violations(reserve(labels=pb.Labels(user="u", other=bad))) == {
        "labels": "has 1001 labels; at most 16 are allowed"
    }


def test_number_of_items():
    """1 to 1,000 items in a usage list."""
    items = [TOKENS] * limits.USAGE_ITEMS_MAX
    assert len(decode.reserve(reserve(usage=use.UsageList(items=items)), NOW).usage) == 1_000
    assert "usage.items" in violations(reserve(usage=use.UsageList(items=[*items, TOKENS])))
    assert "usage.items" in violations(reserve(usage=use.UsageList()))


def test_item_without_kind():
    """An item is of one of the four kinds."""
    assert "usage.items[0]" in violations(usage_of(use.UsageItem()))


def test_item_without_quantity():
    """An item with no quantity at all says nothing; zero is a quantity."""
    none = use.TokenUsage(model="a/b", requests=1)
    assert "usage.items[0].tokens" in violations(usage_of(use.UsageItem(tokens=none)))
    decode.reserve(usage_of(use.UsageItem(tokens=use.TokenUsage(model="a/b", output=0))), NOW)
    compute = use.ComputeUsage(resource="h100", count="2")
    assert "usage.items[0].compute.duration" in violations(usage_of(use.UsageItem(compute=compute)))
    units = use.UnitUsage(meter="page")
    assert "usage.items[0].units.quantity" in violations(usage_of(use.UsageItem(units=units)))


def test_item_without_name():
    """A model, resource, meter or outcome has a name, of 128 characters at most."""
    for name in ("", "m" * (limits.NAME_LENGTH_MAX + 1)):
        tokens = use.TokenUsage(model=name, input=1)
        assert "usage.items[0].tokens.model" in violations(usage_of(use.UsageItem(tokens=tokens)))
        compute = use.ComputeUsage(resource=name, duration=Duration())
        assert "usage.items[0].compute.resource" in violations(usage_of(use.UsageItem(compute=compute)))
        units = use.UnitUsage(meter=name, quantity="1")
        assert "usage.items[0].units.meter" in violations(usage_of(use.UsageItem(units=units)))
        outcome = use.Outcome(name=name, result=use.OUTCOME_RESULT_RESOLVED)
        assert "usage.items[0].outcome.name" in violations(usage_of(use.UsageItem(outcome=outcome)))
    decode.reserve(
        usage_of(use.UsageItem(tokens=use.TokenUsage(model="m" * limits.NAME_LENGTH_MAX, input=1))), NOW
    )


@pytest.mark.parametrize("field", ["input", "output", "cache_write_1h", "requests"])
def test_token_quantities(field):
    """0 to 10**15; negative and larger ones are refused."""
    for good in (0, limits.QUANTITY_MAX):
        tokens = use.TokenUsage(**{"model": "a/b", "reasoning": 1, field: good})
        decode.reserve(usage_of(use.UsageItem(tokens=tokens)), NOW)
    for bad in (-1, limits.QUANTITY_MAX + 1, 2**63 - 1):
        tokens = use.TokenUsage(**{"model": "a/b", "reasoning": 1, field: bad})
        assert f"usage.items[0].tokens.{field}" in violations(usage_of(use.UsageItem(tokens=tokens)))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "NaN",
            "nan",
            "Infinity",
            "-1",
            "+1",
            "1e3",
            "1E3",
            ".5",
            "1.",
            "1,5",
            " 1",
            "1 ",
            "0x1",
            "1_0",
        ),
        *("1" * 16, "0.0000000001", "\N{ARABIC-INDIC DIGIT ONE}", "1\n"),
    ],
)
def test_decimal_strings_that_are_none(text):
    """At most 15 digits and 9 places: no sign, exponent, NaN, separator or blank."""
    units = use.UnitUsage(meter="page", quantity=text)
    assert "usage.items[0].units.quantity" in violations(usage_of(use.UsageItem(units=units)))
    if text:
        compute = use.ComputeUsage(resource="h100", duration=Duration(), count=text)
        assert "usage.items[0].compute.count" in violations(usage_of(use.UsageItem(compute=compute)))


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("0", 0), ("007", 7 * 10**9), ("0.000000001", 1), ("9" * 15 + "." + "9" * 9, 10**24 - 1)],
)
def test_decimal_strings_at_their_limits(text, nanos):
    """Exact to the billionth, up to 15 digits."""
    units = use.UnitUsage(meter="page", quantity=text)
    assert decode.reserve(usage_of(use.UsageItem(units=units)), NOW).usage[0].quantity_nanos == nanos


def test_durations_are_not_negative_and_have_a_most():
    """0 s to 10**9 s."""

    def compute(**duration):
        usage = use.ComputeUsage(resource="h100", duration=Duration(**duration))
        return usage_of(use.UsageItem(compute=usage))

    for good in ({}, {"seconds": limits.DURATION_SECONDS_MAX}):
        decode.reserve(compute(**good), NOW)
    for bad in (
        {"seconds": limits.DURATION_SECONDS_MAX, "nanos": 1},
        {"seconds": -1},
        {"nanos": -1},
        {"nanos": 10**9},
        {"seconds": 2**63 - 1},
    ):
        assert "usage.items[0].compute.duration" in violations(compute(**bad))


def test_an_unknown_enum_value_is_refused():
    """A value that is not in the list is refused, not taken for a default."""
    tokens = use.TokenUsage(model="a/b", input=1, key_owner=7)
    assert "usage.items[0].tokens.key_owner" in violations(usage_of(use.UsageItem(tokens=tokens)))
    for result in (0, 9):
        outcome = use.Outcome(name="done", result=result)
        assert "usage.items[0].outcome.result" in violations(usage_of(use.UsageItem(outcome=outcome)))
    compute = use.ComputeUsage(resource="h100", duration=Duration(), state="busy")
    assert "usage.items[0].compute.state" in violations(usage_of(use.UsageItem(compute=compute)))


def test_a_start_and_a_resize():
    """A resize needs its instant; none may be more than 5 minutes ahead, however long ago it may be."""

    def compute(**fields):
        return usage_of(use.UsageItem(compute=use.ComputeUsage(resource="l", duration=Duration(), **fields)))

    started = Timestamp(seconds=1)
    (item,) = decode.reserve(compute(started_at=started, resized_from="m"), NOW).usage
    assert (item.started_at, item.resized_from) == (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "m")
    (item,) = decode.reserve(compute(), NOW).usage
    assert (item.started_at, item.resized_from) == (None, None)
    for bad in (compute(resized_from="m"), compute(started_at=Timestamp(nanos=-1))):
        assert violations(bad).keys() == {"usage.items[0].compute.started_at"}
    long = compute(started_at=started, resized_from="m" * 1000)
    assert violations(long).keys() == {"usage.items[0].compute.resized_from"}
    assert not decode.reserve(compute(started_at=at(limits.OCCURRED_AHEAD_MAX)), NOW).untimely
    ahead = compute(started_at=at(limits.OCCURRED_AHEAD_MAX + timedelta(microseconds=1)))
    assert dict(decode.reserve(ahead, NOW).untimely).keys() == {"usage.items[0].compute.started_at"}


def test_occurred_at():
    """35 days back to 5 minutes ahead. Past that a write is untimely: it can only be a repeat."""

    def write(delta):
        item = use.UsageItem(tokens=TOKENS.tokens, occurred_at=at(delta))
        return decode.reserve(usage_of(item), NOW)

    tick = timedelta(microseconds=1)
    assert not write(-limits.OCCURRED_BACK_MAX).untimely
    assert not write(limits.OCCURRED_AHEAD_MAX).untimely
    for past in (-limits.OCCURRED_BACK_MAX - tick, limits.OCCURRED_AHEAD_MAX + tick):
        assert dict(write(past).untimely).keys() == {"usage.items[0].occurred_at"}
    malformed = use.UsageItem(tokens=TOKENS.tokens, occurred_at=Timestamp(nanos=-1))
    assert "usage.items[0].occurred_at" in violations(usage_of(malformed))


def test_what_is_held_spent_or_undone_is_stated():
    """What is held, spent or undone is stated."""
    assert "hold" in violations(pb.ReserveRequest(request_id="r", customer_id="c"))
    commit = pb.CommitReservationRequest(request_id="r", customer_id="c", reservation_id="x", final=True)
    assert "spent" in violations(commit, decode.commit)
    assert "spent" in violations(pb.ChargeRequest(request_id="r", customer_id="c"), decode.charge)
    undo = pb.ReverseChargeRequest(request_id="r", customer_id="c", reason="x")
    assert "subject" in violations(undo, decode.reverse)


def test_reason_of_a_reversal():
    """1 to 256 characters."""

    def undo(reason):
        return pb.ReverseChargeRequest(request_id="r", customer_id="c", charge_id="x", reason=reason)

    decode.reverse(undo("x" * limits.REASON_LENGTH_MAX), NOW)
    for bad in ("", "x" * (limits.REASON_LENGTH_MAX + 1)):
        assert "reason" in violations(undo(bad), decode.reverse)


def test_bad_grants():
    """A kind, an amount, a price that is a decimal string of at most a hundred million, a known scope."""

    def grant(**fields):
        given = {"request_id": "r", "customer_id": "c", "amount_micros": 1, "kind": wallet.GRANT_KIND_PAID}
        return admin.IssueGrantRequest(**{**given, **fields})

    assert decode_grants.issue_grant(grant(paid_total_usd="100000000"), NOW)
    for field, bad in {
        "kind": 0,
        "amount_micros": 0,
        "paid_total_usd": "100000000.000000001",
        "scope": "gpu",
        "expires_at": Timestamp(seconds=2**60),
        "effective_at": FIRST,
    }.items():
        assert field in violations(grant(**{field: bad}), decode_grants.issue_grant)
    assert "expires_at" in violations(grant(expires_at=LAST), decode_grants.issue_grant)
    assert "paid_total_usd" in violations(grant(paid_total_usd="-1"), decode_grants.issue_grant)


@pytest.mark.parametrize(
    "zone", ["localtime", "posixrules", "Factory", "right/Europe/Berlin", "posix/UTC", "Europe", "../UTC"]
)
def test_zones_of_one_machine(zone):
    """They are refused: on the next server the customer's days would be others, or none."""
    customer = admin.Customer(customer_id="c", plan="p", zone=zone)
    request = admin.CreateCustomerRequest(request_id="r", customer=customer)
    with pytest.raises(InvalidArgumentError) as caught:
        decode_customers.create_customer(request)
    assert [path for path, _ in caught.value.violations] == ["customer.zone"]


def test_bad_customers():
    """An id, a plan, a zone that exists, a mask that names what can be changed."""
    with pytest.raises(InvalidArgumentError) as caught:
        decode_customers.create_customer(
            admin.CreateCustomerRequest(customer=admin.Customer(zone="Moon/Base", display_name="x" * 257))
        )
    assert {path for path, _ in caught.value.violations} == {
        "request_id",
        "customer.customer_id",
        "customer.plan",
        "customer.display_name",
        "customer.zone",
    }
    for paths in ([], ["customer_id"], ["plan", "created_at"]):
        request = admin.UpdateCustomerRequest(
            request_id="r",
            customer=admin.Customer(customer_id="c", plan="p"),
            update_mask=FieldMask(paths=paths),
        )
        assert "update_mask" in violations(request, decode_customers.update_customer)


def test_what_is_wrong_is_said_once():
    """Of a customer's own fields too, which a change reads and checks."""
    request = admin.UpdateCustomerRequest(
        request_id="r",
        customer=admin.Customer(customer_id="c", plan_overrides="budget: {}"),
        update_mask=FieldMask(paths=["plan_overrides"]),
    )
    with pytest.raises(InvalidArgumentError) as caught:
        decode_customers.update_customer(request, NOW)
    assert [path for path, _ in caught.value.violations] == ["customer.plan_overrides"]


def test_everything_wrong_is_told_at_once():
    """A caller sees all bad fields of a request in one answer, each with what is allowed."""
    bad = use.UsageItem(tokens=use.TokenUsage(input=-5), occurred_at=at(timedelta(hours=1)))
    request = pb.ReserveRequest(usage=use.UsageList(items=[TOKENS, bad]), ttl=Duration(seconds=90_000))
    found = violations(request)
    assert found.keys() == {
        "request_id",
        "customer_id",
        "ttl",
        "usage.items[1].tokens.model",
        "usage.items[1].tokens.input",
        "usage.items[1].occurred_at",
    }
    assert "allowed" in found["usage.items[1].tokens.input"]
