"""Every write of the public port, through a real channel to a real database."""

from __future__ import annotations

import asyncio

import pytest
from api_world import CREDIT, refusal, sandbox, searches, ticket, tokens, usage
from google.protobuf.duration_pb2 import Duration

from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_quote_has_no_effect(world, customer):
    """A quote prices usage by line and in all, and has no effect."""
    async with world.nothing_changed():
        quote = await world.credit.Quote(
            pb.QuoteRequest(customer_id=customer, usage=usage(tokens(output=50_000), searches("3"), ticket()))
        )
    assert quote.credits_micros == 14_030_000
    assert [line.credits_micros for line in quote.lines] == [12 * CREDIT, 30_000, 2 * CREDIT]
    assert [line.title for line in quote.lines] == ["Large model", "Web search", "Resolved ticket"]
    assert quote.rate_card == "metered"
    assert dict(quote.lines[0].quantities) == {"input": "1000000", "output": "50000", "requests": "1"}


async def test_reserve_an_amount(world, customer):
    """A hold moves credits from available to held, and says until when."""
    answer = await world.reserve(amount_micros=30 * CREDIT, labels=pb.Labels(project="p", other={"a": "b"}))
    made = answer.reservation
    assert (made.customer_id, made.held_micros, made.charged_micros) == (customer, 30 * CREDIT, 0)
    assert made.state == pb.RESERVATION_STATE_OPEN
    assert made.expires_at.seconds - made.created_at.seconds == 300
    assert made.labels == pb.Labels(project="p", other={"a": "b"})
    assert made.rate_card == "metered"
    assert answer.balance == pb.Balance(available_micros=70 * CREDIT, held_micros=30 * CREDIT)
    assert (answer.sequence, answer.replayed) == (3, False)


async def test_reserve_priced_usage(world):
    """Usage to be priced holds its estimate; a free estimate holds nothing."""
    assert (await world.reserve(usage=usage(sandbox(30)))).reservation.held_micros == 66_667
    free = await world.reserve(usage=usage(tokens(input=0)))
    assert free.reservation.held_micros == 0


async def test_reserve_up_to(world):
    """UP_TO holds what there is, if it is the minimum."""
    answer = await world.reserve(amount_micros=500 * CREDIT, fill=pb.FILL_UP_TO, minimum_micros=100 * CREDIT)
    assert answer.reservation.held_micros == 100 * CREDIT
    again = world.reserve(amount_micros=500 * CREDIT, fill=pb.FILL_UP_TO)
    assert (await refusal(again)).reason == "INSUFFICIENT_CREDITS"


async def test_an_extension_never_shortens_a_hold(world):
    """More credits and more time; the expiry never comes closer."""
    named = await world.reservation(ttl=Duration(seconds=60))
    longer = await world.extend(named, amount_micros=5 * CREDIT, ttl=Duration(seconds=600))
    shorter = await world.extend(named, ttl=Duration(seconds=1))
    assert longer.reservation.held_micros == 15 * CREDIT
    assert shorter.reservation.expires_at == longer.reservation.expires_at
    assert longer.balance.available_micros == 85 * CREDIT


async def test_partial_and_final_commit(world, customer):
    """Parts are charged against the hold; the final one gives back what is left."""
    named = await world.reservation(amount_micros=50 * CREDIT, labels=pb.Labels(session="s"))
    part = await world.commit(named, usage=usage(tokens()))
    assert part.charge.charged_micros == 10 * CREDIT
    assert (part.reservation.held_micros, part.reservation.charged_micros) == (40 * CREDIT, 10 * CREDIT)
    assert part.reservation.state == pb.RESERVATION_STATE_OPEN
    final = await world.commit(named, usage=usage(sandbox(3600), ticket()), final=True)
    assert final.charge.charged_micros == 6 * CREDIT
    assert [line.credits_micros for line in final.charge.lines] == [4 * CREDIT, 2 * CREDIT]
    assert final.charge.final
    assert final.charge.labels == pb.Labels(session="s")
    assert final.charge.reservation_id == named
    assert final.charge.rate_card == "metered"
    assert final.reservation.state == pb.RESERVATION_STATE_COMMITTED
    assert final.reservation.rate_card == "metered"
    assert final.balance == pb.Balance(available_micros=84 * CREDIT)


async def test_commit_of_nothing(world):
    """An agent that used nothing commits 0 credits, and gets its hold back."""
    named = await world.reservation()
    answer = await world.commit(named, amount_micros=0, final=True)
    assert (answer.charge.charged_micros, answer.balance.available_micros) == (0, 100 * CREDIT)


async def test_commit_of_zero_usage(world):
    """Zero quantities are facts too: booked, and free."""
    named = await world.reservation()
    answer = await world.commit(named, usage=usage(tokens(input=0), searches("0")), final=True)
    assert answer.charge.charged_micros == 0
    assert len(answer.charge.lines) == 2


async def test_commit_of_unpriced_usage(world):
    """A commit is never refused for its price: what has none is booked at 0, and says so."""
    named = await world.reservation()
    answer = await world.commit(named, usage=usage(tokens("nobody/knows"), tokens()), final=True)
    assert [line.unpriced for line in answer.charge.lines] == [True, False]
    assert [line.credits_micros for line in answer.charge.lines] == [0, 10 * CREDIT]


async def test_commit_beyond_hold_and_balance(world):
    """What neither hold nor balance covers is not collected, and stated."""
    named = await world.reservation(amount_micros=CREDIT)
    answer = await world.commit(named, usage=usage(tokens(input=11 * CREDIT)), final=True)
    assert answer.charge.charged_micros == 100 * CREDIT
    assert answer.charge.uncollected_micros == 10 * CREDIT
    assert answer.balance == pb.Balance()


async def test_an_overdraft_goes_down_to_its_limit(world):
    """On a plan with an overdraft a commit goes into debt, down to the limit."""
    await world.new_customer(fresh(), plan="overdraft", granted=1)
    named = await world.reservation(amount_micros=CREDIT)
    answer = await world.commit(named, usage=usage(tokens()), final=True)
    assert answer.balance == pb.Balance(debt_micros=5 * CREDIT)
    assert answer.charge.uncollected_micros == 4 * CREDIT


async def test_a_released_hold_is_available_again(world):
    """A released hold is available again."""
    answer = await world.release(await world.reservation())
    assert answer.reservation.state == pb.RESERVATION_STATE_RELEASED
    assert answer.balance == pb.Balance(available_micros=100 * CREDIT)


async def test_a_charge_needs_no_hold(world, customer):
    """Usage is charged without a hold, if it is covered."""
    answer = await world.charge(usage=usage(tokens(), searches("100")), labels=pb.Labels(user="u"))
    assert answer.charge.charged_micros == 11 * CREDIT
    assert answer.charge.reservation_id == ""
    assert answer.charge.labels == pb.Labels(user="u")
    assert answer.balance.available_micros == 89 * CREDIT
    in_credits = await world.charge(amount_micros=CREDIT)
    assert in_credits.balance.available_micros == 88 * CREDIT


async def test_charge_of_what_was_already_used(world):
    """Usage that has happened is charged as far as there are credits."""
    answer = await world.charge(usage=usage(tokens(input=20 * CREDIT)), already_used=True)
    assert (answer.charge.charged_micros, answer.charge.uncollected_micros) == (100 * CREDIT, 100 * CREDIT)


async def test_reverse_a_charge(world, customer):
    """A charge that did not happen gives all its credits back, once."""
    charged = await world.charge(usage=usage(tokens()))
    answer = await world.reverse(charge_id=charged.charge.charge_id)
    assert answer.returned_micros == 10 * CREDIT
    assert answer.balance.available_micros == 100 * CREDIT
    again = await refusal(world.reverse(charge_id=charged.charge.charge_id))
    assert again.reason == "CHARGE_NOT_REVERSIBLE"


async def test_reverse_a_reservation(world, customer):
    """A closed reservation is undone whole: all its charges."""
    named = await world.reservation(amount_micros=30 * CREDIT)
    parts = [await world.commit(named, usage=usage(tokens())) for _ in range(2)]
    await world.commit(named, amount_micros=0, final=True)
    assert (
        await refusal(world.reverse(charge_id=parts[0].charge.charge_id))
    ).reason == "CHARGE_NOT_REVERSIBLE"
    answer = await world.reverse(reservation_id=named)
    assert answer.returned_micros == 20 * CREDIT
    listed = await world.credit.ListCharges(pb.ListChargesRequest(customer_id=customer, reservation_id=named))
    assert [charge.reversed for charge in listed.charges] == [True, True, True]


async def test_refund_a_charge(world, customer):
    """A part of a charge goes back, then all that is left; reads of the charge tell how much has."""
    charged = (await world.charge(usage=usage(tokens()), labels=pb.Labels(project="p"))).charge
    answer = await world.refund(charged.charge_id, amount_micros=3 * CREDIT)
    assert answer.refunded_micros == 3 * CREDIT
    assert answer.balance.available_micros == 93 * CREDIT
    read = pb.GetChargeRequest(customer_id=customer, charge_id=charged.charge_id)
    charged.refunded_micros = 3 * CREDIT
    assert (await world.credit.GetCharge(read)).charge == charged
    rest = await world.refund(charged.charge_id)
    assert rest.refunded_micros == 7 * CREDIT
    listed = await world.credit.ListCharges(pb.ListChargesRequest(customer_id=customer))
    assert [charge.refunded_micros for charge in listed.charges] == [10 * CREDIT]
    statement = await world.wallet.ListTransactions(wallet.ListTransactionsRequest(customer_id=customer))
    line = statement.transactions[0]
    assert (line.type, line.consumed_micros) == (wallet.TRANSACTION_TYPE_REFUND, -7 * CREDIT)
    assert (line.charge_id, line.labels) == (charged.charge_id, pb.Labels(project="p"))


async def test_refund_a_commit_and_reverse_its_reservation(world, customer):
    """A part of a reservation is refunded alone, open or closed; its reversal takes back what is left."""
    named = await world.reservation(amount_micros=30 * CREDIT)
    part = await world.commit(named, usage=usage(tokens()))
    assert (await world.refund(part.charge.charge_id, amount_micros=4 * CREDIT)).balance.held_micros == (
        20 * CREDIT
    )
    closed = await world.commit(named, usage=usage(tokens()), final=True)
    assert closed.reservation.charged_micros == 20 * CREDIT
    assert (await world.reverse(reservation_id=named)).returned_micros == 16 * CREDIT
    assert await world.available() == 100 * CREDIT
    left = await refusal(world.refund(part.charge.charge_id))
    reported = {"charge_id": part.charge.charge_id, "left_micros": "0"}
    assert (left.reason, left.metadata) == ("REFUND_EXCEEDS_CHARGE", reported)


async def test_refunds_at_once_never_exceed_the_charge(world):
    """Of many refunds at once as many take effect as the charge can bear, and the others are refused."""
    charged = (await world.charge(amount_micros=10 * CREDIT)).charge.charge_id
    refunds = [world.refund(charged, amount_micros=3 * CREDIT) for _ in range(8)]
    outcomes = await asyncio.gather(world.reverse(charge_id=charged), *refunds, return_exceptions=True)
    returned, *refunded = outcomes
    given_back = sum(each.refunded_micros for each in refunded if isinstance(each, pb.RefundResponse))
    assert returned.returned_micros + given_back == 10 * CREDIT
    assert await world.available() == 100 * CREDIT


REPEATED = ["reserve", "extend", "commit", "release", "charge", "reverse", "refund"]


@pytest.mark.parametrize("write", REPEATED)
async def test_a_repeat_gets_the_same_answer(world, write):
    """The same request under the same id has one effect, and gets the answer that it got; later too."""
    arguments = {"request_id": fresh()}
    named = (await world.reservation(labels=pb.Labels(project="p")),)
    if write in ("reserve", "charge"):
        named, arguments["usage"] = (), usage(tokens(), searches("1"))
    if write == "commit":
        arguments |= {"usage": usage(tokens(), tokens("nobody/knows")), "final": True}
    if write == "reverse":
        charged = await world.charge(amount_micros=CREDIT)
        named, arguments["charge_id"] = (), charged.charge.charge_id
    if write == "refund":
        named = ((await world.charge(amount_micros=CREDIT)).charge.charge_id,)
    first = await getattr(world, write)(*named, **arguments)
    await world.charge(amount_micros=1)
    async with world.nothing_changed():
        second = await getattr(world, write)(*named, **arguments)
    assert not first.replayed
    assert second.replayed
    second.replayed = False
    assert second == first


@pytest.mark.parametrize("write", ["reserve", "charge"])
async def test_an_id_is_of_one_request(world, write):
    """Another request under the same id is an error, whatever method it comes by."""
    used = fresh()
    await world.reserve(amount_micros=CREDIT, request_id=used)
    async with world.nothing_changed():
        refused = await refusal(getattr(world, write)(amount_micros=2 * CREDIT, request_id=used))
    assert (refused.code.name, refused.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_a_refusal_takes_no_id(world):
    """A request that was refused may succeed later, under the same id."""
    used = fresh()
    refused = await refusal(world.charge(amount_micros=150 * CREDIT, request_id=used))
    assert refused.reason == "INSUFFICIENT_CREDITS"
    await world.grant(50 * CREDIT)
    answer = await world.charge(amount_micros=150 * CREDIT, request_id=used)
    assert (answer.replayed, answer.balance.available_micros) == (False, 0)


async def test_internal_labels_do_not_come_back(world, customer):
    """Labels that begin with internal. are stored, and not returned, by writes and reads alike."""
    labels = pb.Labels(project="p", other={"internal.router": "hushed-lever", "team": "t"})
    made = await world.reserve(labels=labels)
    named = made.reservation.reservation_id
    commit = await world.commit(named, usage=usage(tokens()), final=True)
    read = await world.credit.GetReservation(
        pb.GetReservationRequest(customer_id=customer, reservation_id=named)
    )
    shown = pb.Labels(project="p", other={"team": "t"})
    assert made.reservation.labels == commit.charge.labels == read.reservation.labels == shown
    assert any("internal.router" in (row["labels"] or "") for row in await world.journal())


async def test_served_by_changes_no_price(world):
    """What really ran changes what the work costs, never what the customer pays."""
    hidden = tokens(served_by="acme/hushed-distilled")
    cached = tokens(served_by="cache")
    charged = [await world.charge(usage=usage(item)) for item in (tokens(), hidden, cached)]
    assert {answer.charge.charged_micros for answer in charged} == {10 * CREDIT}


async def test_usage_in_parts_costs_what_it_costs_in_one(world):
    """A minimum belongs to the run: 20 s, 30 s and 20 s of a sandbox bill 60 s, 0 s and 10 s."""
    named = await world.reservation()
    charged = [
        (await world.commit(named, usage=usage(sandbox(seconds)))).charge.charged_micros
        for seconds in (20, 30, 20)
    ]
    assert charged == [66_667, 0, 11_111]


async def test_outcome_that_failed_is_free(world):
    """An outcome whose result has no price costs nothing."""
    answer = await world.charge(usage=usage(ticket(use.OUTCOME_RESULT_FAILED)))
    assert answer.charge.charged_micros == 0


async def test_small_charges_are_not_free(world):
    """What is too small to be booked is carried from charge to charge, by its row: 100 x 0.4 = 40."""
    before = await world.available()
    for _ in range(100):
        await world.charge(usage=usage(searches("0.00004")))
    assert before - await world.available() == 40
