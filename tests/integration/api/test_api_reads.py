"""Reads of reservations, charges, balances, grants, statements and prices."""

from __future__ import annotations

import re

import pytest
from api_world import CREDIT, refusal, searches, ticket, tokens, usage
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def pages(method, request, field):
    """All pages of a list."""
    found = []
    while True:
        answer = await method(request)
        found.append(list(getattr(answer, field)))
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def test_get_reservation(world, customer):
    """A reservation is read as its last write left it."""
    labels = pb.Labels(agent="a", other={"k": "v"})
    made = (await world.reserve(labels=labels)).reservation
    named = made.reservation_id
    request = pb.GetReservationRequest(customer_id=customer, reservation_id=named)
    assert (await world.credit.GetReservation(request)).reservation == made
    committed = (await world.commit(named, usage=usage(searches("5")), final=True)).reservation
    read = (await world.credit.GetReservation(request)).reservation
    assert read.created_at == made.created_at
    committed.created_at.CopyFrom(made.created_at)
    assert read == committed


async def test_list_reservations(world, customer):
    """Newest first, by state and by labels; pages neither repeat nor miss a row while others write."""
    named = [
        await world.reservation(amount_micros=1, labels=pb.Labels(project=f"p{n % 2}")) for n in range(5)
    ]
    await world.release(named[1])
    listed = world.credit.ListReservations
    request = pb.ListReservationsRequest(customer_id=customer, page_size=2)
    first = await listed(request)
    await world.reservation(amount_micros=1)
    request.page_token = first.next_page_token
    rest = await pages(listed, request, "reservations")
    ids = [row.reservation_id for page in (first.reservations, *rest) for row in page]
    assert ids == named[::-1]
    assert [len(page) for page in rest] == [2, 1]

    released = await listed(
        pb.ListReservationsRequest(customer_id=customer, state=pb.RESERVATION_STATE_RELEASED)
    )
    assert [row.reservation_id for row in released.reservations] == [named[1]]
    labelled = await listed(
        pb.ListReservationsRequest(
            customer_id=customer, labels=pb.Labels(project="p1"), state=pb.RESERVATION_STATE_OPEN
        )
    )
    assert [row.reservation_id for row in labelled.reservations] == [named[3]]


async def test_charges_are_read_by_id_reservation_and_labels(world, customer):
    """Charges are read one by one, of one reservation, by labels; a reversed one says so."""
    named = await world.reservation(labels=pb.Labels(project="p"))
    parts = [(await world.commit(named, usage=usage(searches("7")))).charge for _ in range(2)]
    alone = (await world.charge(usage=usage(tokens(), ticket()), labels=pb.Labels(project="p"))).charge
    other = (await world.charge(amount_micros=1)).charge
    one = await world.credit.GetCharge(pb.GetChargeRequest(customer_id=customer, charge_id=alone.charge_id))
    assert one.charge == alone

    listed = world.credit.ListCharges
    everything = await pages(listed, pb.ListChargesRequest(customer_id=customer, page_size=3), "charges")
    assert everything == [[other, alone, parts[1]], [parts[0]]]
    of_reservation = await listed(pb.ListChargesRequest(customer_id=customer, reservation_id=named))
    assert list(of_reservation.charges) == parts[::-1]
    labelled = await listed(pb.ListChargesRequest(customer_id=customer, labels=pb.Labels(project="p")))
    assert list(labelled.charges) == [alone, *parts[::-1]]

    await world.reverse(charge_id=alone.charge_id)
    one = await world.credit.GetCharge(pb.GetChargeRequest(customer_id=customer, charge_id=alone.charge_id))
    assert one.charge.reversed
    everything = await listed(pb.ListChargesRequest(customer_id=customer))
    assert [charge.reversed for charge in everything.charges] == [False, True, False, False]


async def test_large_pages_end_early(world, customer):
    """A page of charges stays below what a client's default receives, and the list is whole all the same."""
    quantities = dict.fromkeys(("output", "reasoning", "cache_read", "cache_write"), 1)
    for letter in "\N{GRINNING FACE}\N{WINKING FACE}\N{THINKING FACE}\N{SMIRKING FACE}\N{NEUTRAL FACE}":
        item = tokens(letter * 128, **quantities)
        await world.charge(usage=usage(*[item] * 1_000), already_used=True)
    request = pb.ListChargesRequest(customer_id=customer)
    found = await pages(world.credit.ListCharges, request, "charges")
    assert sum(len(page) for page in found) == 5
    assert len(found) > 1


async def test_a_balance_is_in_all_and_by_kind(world, customer):
    """Credits in all, by kind of grant, and what expires next."""
    soon, later = Timestamp(), Timestamp()
    now = (await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=customer))).as_of
    soon.seconds, later.seconds = now.seconds + 3_600, now.seconds + 7_200
    promo = {"kind": wallet.GRANT_KIND_PROMO, "paid_total_usd": ""}
    await world.grant(3 * CREDIT, expires_at=later, **promo)
    await world.grant(5 * CREDIT, expires_at=soon, **promo)
    await world.grant(7 * CREDIT, effective_at=soon)
    await world.reserve(amount_micros=6 * CREDIT)
    answer = await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=customer))
    assert answer.balance == pb.Balance(
        available_micros=102 * CREDIT, held_micros=6 * CREDIT, pending_micros=7 * CREDIT
    )
    assert list(answer.by_kind) == [
        wallet.KindBalance(kind=wallet.GRANT_KIND_PAID, available_micros=100 * CREDIT),
        wallet.KindBalance(kind=wallet.GRANT_KIND_PROMO, available_micros=2 * CREDIT, held_micros=6 * CREDIT),
    ]
    assert answer.next_expiry == wallet.NextExpiry(expires_at=later, amount_micros=2 * CREDIT)


async def test_balance_of_the_past(world, customer):
    """The balance at an instant is what the last entry up to it left; before the customer there is none."""
    made = (await world.reserve(amount_micros=40 * CREDIT)).reservation
    made.created_at.seconds -= 60
    await world.owner.execute(
        """UPDATE cell_00.entries e SET effective_at = effective_at - interval '60 s' FROM ledger.customers c
           WHERE c.customer = e.customer AND c.customer_id = $1""",
        customer,
    )

    async def at(instant):
        request = wallet.GetBalanceRequest(customer_id=customer, as_of=instant)
        answer = await world.wallet.GetBalance(request)
        assert answer.as_of == instant
        assert not answer.by_kind
        return answer.balance

    before = Timestamp(seconds=made.created_at.seconds, nanos=made.created_at.nanos - 1_000)
    if made.created_at.nanos < 1_000:
        before = Timestamp(seconds=made.created_at.seconds - 1, nanos=999_999_000)
    assert await at(made.created_at) == pb.Balance(available_micros=60 * CREDIT, held_micros=40 * CREDIT)
    assert await at(before) == pb.Balance(available_micros=100 * CREDIT)
    assert await at(Timestamp(seconds=1)) == pb.Balance()


@pytest.mark.parametrize("ahead", [-14, 0, 86_400])
async def test_a_balance_is_of_a_settled_instant(world, customer, ahead):
    """Entries of the last 15 s may be on their way to the disk still, and nobody knows those to come."""
    now = (await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=customer))).as_of
    instant = Timestamp(seconds=now.seconds + ahead, nanos=now.nanos)
    request = wallet.GetBalanceRequest(customer_id=customer, as_of=instant)
    assert list((await refusal(world.wallet.GetBalance(request))).fields) == ["as_of"]


async def test_list_grants(world, customer):
    """Grants, newest first, with what is left of them."""
    promo = (await world.grant(CREDIT, kind=wallet.GRANT_KIND_PROMO, paid_total_usd="", priority=-1)).grant
    await world.charge(amount_micros=CREDIT)
    await world.reserve(amount_micros=4 * CREDIT)
    found = await pages(
        world.wallet.ListGrants, wallet.ListGrantsRequest(customer_id=customer, page_size=1), "grants"
    )
    [[newest], [oldest]] = found
    assert (newest.grant_id, newest.status) == (promo.grant_id, wallet.GRANT_STATUS_DEPLETED)
    assert (oldest.remaining_micros, oldest.held_micros) == (100 * CREDIT, 4 * CREDIT)
    assert oldest.status == wallet.GRANT_STATUS_ACTIVE


async def test_a_statement_has_every_entry_that_moved_credits(world, customer):
    """Every entry that moved credits, newest first, with the balances after it; they add up."""
    named = await world.reservation(amount_micros=30 * CREDIT)
    await world.extend(named, amount_micros=CREDIT)
    part = await world.commit(named, usage=usage(tokens()))
    await world.release(named)
    alone = await world.charge(usage=usage(searches("100")), labels=pb.Labels(user="u"))
    await world.reverse(charge_id=alone.charge.charge_id)
    request = wallet.ListTransactionsRequest(customer_id=customer, page_size=3)
    found = await pages(world.wallet.ListTransactions, request, "transactions")
    lines = [line for page in found for line in page][::-1]
    names = [wallet.TransactionType.Name(line.type).removeprefix("TRANSACTION_TYPE_") for line in lines]
    assert names == ["GRANT", "RESERVE", "EXTEND", "COMMIT", "RELEASE", "CHARGE", "REVERSAL"]
    available = held = 0
    for line in lines:
        available += line.available_change_micros
        held += line.held_change_micros
        assert (line.balance_after.available_micros, line.balance_after.held_micros) == (available, held)
    assert [line.consumed_micros for line in lines] == [0, 0, 0, 10 * CREDIT, 0, CREDIT, -CREDIT]
    assert lines[0].grant_id.startswith("grt_")
    assert [line.reservation_id for line in lines[1:5]] == [named] * 4
    assert (lines[3].charge_id, lines[5].charge_id) == (part.charge.charge_id, alone.charge.charge_id)
    assert lines[5].labels == pb.Labels(user="u")
    assert await world.balance() == lines[-1].balance_after


async def test_statement_leaves_out_what_moves_no_credits(world, customer):
    """Entries of free usage and of the customer's own data are on no statement: gaps would tell of them."""
    named = await world.reservation()
    await world.commit(named, usage=usage(tokens(input=0)))
    await world.extend(named)
    answer = await world.wallet.ListTransactions(wallet.ListTransactionsRequest(customer_id=customer))
    assert len(answer.transactions) == 2
    assert len(await world.journal()) == 5
    assert "sequence" not in {field.name for field in wallet.Transaction.DESCRIPTOR.fields}


async def test_price_list(world, customer):
    """What a credit buys: rates for rated rules, by their titles."""
    answer = await world.wallet.GetPriceList(wallet.GetPriceListRequest(customer_id=customer))
    assert (answer.rate_card, answer.credit_name) == ("metered", "ACU")
    assert [item.title for item in answer.items] == [
        "Large model",
        "Sandbox time",
        "Web search",
        "Resolved ticket",
    ]
    large = answer.items[0]
    assert (large.kind, list(large.names)) == ("tokens", ["acme/large"])
    assert {(rate.per, rate.credits) for rate in large.rates} >= {("1M input tokens", "10")}
    assert not large.varies


async def test_price_list_of_a_card_that_follows_public_prices(world):
    """A rule that follows what the provider asks says that it varies, and not by how much."""
    await world.new_customer(fresh(), plan="standard")
    await world.update(rate_card="following")
    answer = await world.wallet.GetPriceList(wallet.GetPriceListRequest(customer_id=world.customer_id))
    assert answer.items[0].varies
    assert not answer.items[0].rates
    assert answer.items[1].included
    assert not re.search(rb"37|hushed", answer.SerializeToString())


READS = [
    ("credit", "GetReservation", pb.GetReservationRequest(reservation_id="rsv_x")),
    ("credit", "ListReservations", pb.ListReservationsRequest()),
    ("credit", "GetCharge", pb.GetChargeRequest(charge_id="chg_x")),
    ("credit", "ListCharges", pb.ListChargesRequest()),
    ("credit", "Quote", pb.QuoteRequest(usage=usage(tokens()))),
    ("credit", "Check", pb.CheckRequest(usage=usage(tokens()))),
    ("wallet", "GetBalance", wallet.GetBalanceRequest()),
    ("wallet", "GetBalance", wallet.GetBalanceRequest(as_of=Timestamp(seconds=1))),
    ("wallet", "ListGrants", wallet.ListGrantsRequest()),
    ("wallet", "ListTransactions", wallet.ListTransactionsRequest()),
    ("wallet", "GetBudgets", wallet.GetBudgetsRequest()),
    ("wallet", "ListEvents", wallet.ListEventsRequest()),
    ("wallet", "GetPriceList", wallet.GetPriceListRequest()),
]


@pytest.mark.parametrize(("door", "method", "asked"), READS, ids=lambda value: str(value)[:20])
async def test_reads_of_an_unknown_customer(world, door, method, asked):
    """Each read of a customer that does not exist says so; each without an id names the field."""
    call = getattr(getattr(world, door), method)
    asked.customer_id = "nobody"
    refused = await refusal(call(asked))
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
    assert refused.metadata == {"customer_id": "nobody"}
    asked.customer_id = ""
    assert "customer_id" in (await refusal(call(asked))).fields


async def test_reads_of_what_is_not_there(world, customer):
    """Ids that name nothing, or something of another customer, are not found."""
    mine = await world.reservation()
    charge = (await world.charge(amount_micros=1)).charge.charge_id
    await world.new_customer(fresh())
    for named in (mine, "rsv_typo", "x"):
        request = pb.GetReservationRequest(customer_id=world.customer_id, reservation_id=named)
        assert (await refusal(world.credit.GetReservation(request))).reason == "RESERVATION_NOT_FOUND"
    for named in (charge, mine, "chg_typo"):
        request = pb.GetChargeRequest(customer_id=world.customer_id, charge_id=named)
        assert (await refusal(world.credit.GetCharge(request))).reason == "CHARGE_NOT_FOUND"
    nothing = await world.credit.ListCharges(
        pb.ListChargesRequest(customer_id=world.customer_id, reservation_id=mine)
    )
    assert not nothing.charges


@pytest.mark.parametrize("bad", [{"page_size": 1_001}, {"page_size": -1}, {"page_token": "garbage"}])
async def test_bad_pages(world, customer, bad):
    """A page size out of range and a token that was not given out are refused with their fields."""
    for call in (
        world.credit.ListReservations(pb.ListReservationsRequest(customer_id=customer, **bad)),
        world.credit.ListCharges(pb.ListChargesRequest(customer_id=customer, **bad)),
        world.wallet.ListGrants(wallet.ListGrantsRequest(customer_id=customer, **bad)),
        world.wallet.ListTransactions(wallet.ListTransactionsRequest(customer_id=customer, **bad)),
        world.wallet.ListEvents(wallet.ListEventsRequest(customer_id=customer, **bad)),
        world.admin.ListAllEvents(admin.ListAllEventsRequest(**bad)),
    ):
        assert (await refusal(call)).fields.keys() == bad.keys()


async def test_internal_labels_are_no_filter(world, customer):
    """Whether a charge has an internal label is not told by what a filter leaves of a list either."""
    labels = pb.Labels(project="p", other={"internal.route": "r"})
    await world.commit(await world.reservation(labels=labels), amount_micros=1)
    for asked in ("r", "another"):
        hidden = pb.Labels(other={"internal.route": asked})
        for call in (
            world.credit.ListReservations(pb.ListReservationsRequest(customer_id=customer, labels=hidden)),
            world.credit.ListCharges(pb.ListChargesRequest(customer_id=customer, labels=hidden)),
        ):
            refused = await refusal(call)
            assert refused.reason == "INVALID_ARGUMENT"
            assert list(refused.fields) == ['labels.other["internal.route"]']
    reported = pb.Labels(project="p")
    charges = await world.credit.ListCharges(pb.ListChargesRequest(customer_id=customer, labels=reported))
    assert [charge.labels for charge in charges.charges] == [reported]


async def test_bad_state(world, customer):
    """A state that is not in the list is refused."""
    request = pb.ListReservationsRequest(customer_id=customer, state=77)
    assert "state" in (await refusal(world.credit.ListReservations(request))).fields


async def test_what_a_front_end_sends_is_small(world, customer):
    """What may come by a customer's token is read up to 64 KiB: 4 MiB of labels take long to parse."""
    most = 64 * 1024
    large = wallet.GetUsageReportRequest(customer_id=customer, labels=pb.Labels(user="x" * most))
    refused = await refusal(world.wallet.GetUsageReport(large))
    assert refused.fields == {"request": f"has {large.ByteSize()} bytes; at most {most} are allowed"}
