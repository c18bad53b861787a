"""Events from the journal to both doors: each once, in order, and without a dollar."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from importlib.resources import files

import fastjsonschema
import pytest
from api_world import CREDIT, refusal, searches, tokens, usage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

import ledger.events
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.events.derive import OF_CUSTOMERS
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh, patient
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMA = json.loads(files(ledger.events).joinpath("schema.json").read_text(encoding="utf-8"))
is_valid = fastjsonschema.compile(SCHEMA)
OF_BALANCE = {"credit.balance.low", "credit.balance.depleted", "credit.balance.recovered"}


async def events_of(world, *types, **fields):
    """All events of the customer so far, page by page."""
    request = wallet.ListEventsRequest(customer_id=world.customer_id, types=types, **fields)
    found = []
    while True:
        page = await world.wallet.ListEvents(request)
        found += page.events
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def after_all(world, *types):
    """The customer's events, once all that is booked is among them: another grant's comes after them."""
    mark = (await world.grant(1)).grant.grant_id

    async def is_there():
        found = await events_of(world, "grant.issued")
        return any(json.loads(each.data)["grant_id"] == mark for each in found)

    await until(is_there)
    found = await events_of(world, *types)
    for each in found:
        is_valid({"type": each.type, "data": json.loads(each.data)})
    return found


def data_of(event):
    return json.loads(event.data)


async def test_a_customers_life_in_events(world):
    """Each thing that happens is one event, in the order in which it did, numbered without gaps."""
    customer = await world.new_customer(fresh(), plan="watched", granted=0)
    await world.grant(100 * CREDIT, expires_at=None)
    named = await world.reservation(amount_micros=60 * CREDIT)
    await world.commit(named, amount_micros=90 * CREDIT, final=True)
    await world.charge(amount_micros=10 * CREDIT)
    await world.grant(50 * CREDIT)
    expired = await world.reservation(amount_micros=CREDIT, ttl=Duration(seconds=1))

    async def has_expired():
        return "reservation.expired" in {each.type for each in await events_of(world)}

    await until(has_expired)
    await world.commit(expired, amount_micros=2 * CREDIT, final=True)
    found = await after_all(world)
    assert [each.type for each in found] == [
        "grant.issued",
        "credit.balance.recovered",
        "reservation.over_captured",
        "credit.balance.low",
        "credit.balance.depleted",
        "grant.issued",
        "credit.balance.recovered",
        "reservation.expired",
        "reservation.late_commit",
        "grant.issued",
    ]
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert {each.customer_id for each in found} == {customer}
    assert len({each.event_id for each in found}) == len(found)
    assert data_of(found[2])["beyond_hold_micros"] == str(30 * CREDIT)
    assert data_of(found[3]) == {
        "available_micros": str(10 * CREDIT),
        "held_micros": "0",
        "debt_micros": "0",
        "threshold_micros": str(20 * CREDIT),
    }
    assert data_of(found[7])["reservation_id"] == expired


async def test_a_voided_grant(world):
    """What was left is taken back, and that nothing is left is an event after it."""
    await world.new_customer(fresh(), granted=0)
    granted = (await world.grant(30 * CREDIT)).grant
    await world.charge(amount_micros=10 * CREDIT)
    await world.admin.VoidGrant(
        admin.VoidGrantRequest(
            request_id=fresh(),
            customer_id=world.customer_id,
            grant_id=granted.grant_id,
            reason="a test",
        )
    )
    found = await after_all(world)
    assert [each.type for each in found][2:4] == ["grant.voided", "credit.balance.depleted"]
    assert data_of(found[2]) == {
        "grant_id": granted.grant_id,
        "taken_back_micros": str(20 * CREDIT),
        "owed_micros": "0",
    }


def hours_from_now(hours: int) -> Timestamp:
    return Timestamp(seconds=int(datetime.now(UTC).timestamp()) + hours * 3_600)


async def expiring(world):
    """Grants of the customer that were reported to expire, once all that is to be by now is among them."""
    mark = (await world.grant(1, expires_at=hours_from_now(2))).grant.grant_id

    async def is_there():
        return any(data_of(each)["grant_id"] == mark for each in await events_of(world, "grant.expiring"))

    await until(is_there)
    found = [data_of(each) for each in await after_all(world, "grant.expiring")]
    return [each for each in found if each["remaining_micros"] != "1"]


async def extend(world, grant_id, **fields):
    request = admin.ExtendGrantRequest(customer_id=world.customer_id, grant_id=grant_id, **fields)
    request.request_id = fresh()
    await world.admin.ExtendGrant(request)


async def test_a_grant_that_will_expire_is_reported_ahead(world):
    """As long ahead as the plan has it, once for each expiry; what starts later too."""
    await world.new_customer(fresh(), plan="watched", granted=0)
    soon = (await world.grant(30 * CREDIT, expires_at=hours_from_now(12))).grant
    later = (await world.grant(20 * CREDIT, expires_at=hours_from_now(40 * 24))).grant.grant_id
    await world.grant(10 * CREDIT)
    pending = {"effective_at": hours_from_now(1), "expires_at": hours_from_now(20)}
    pending = (await world.grant(5 * CREDIT, **pending)).grant.grant_id
    await world.reservation(amount_micros=7 * CREDIT)
    found = await expiring(world)
    assert [each["grant_id"] for each in found] == [soon.grant_id, pending]
    assert found[0]["remaining_micros"] == str(30 * CREDIT)
    assert datetime.fromisoformat(found[0]["expires_at"]) == soon.expires_at.ToDatetime(tzinfo=UTC)

    await extend(world, soon.grant_id, priority=3)
    await extend(world, later, expires_at=hours_from_now(30 * 24))
    assert await expiring(world) == found, "of the same expiry, or of one that is far"
    await extend(world, soon.grant_id, expires_at=hours_from_now(13))
    await extend(world, later, expires_at=hours_from_now(14))
    again = (await expiring(world))[len(found) :]
    assert [each["grant_id"] for each in again] == [soon.grant_id, later]
    assert [each["held_micros"] for each in again] == [str(7 * CREDIT), "0"]


async def test_a_customer_of_another_plan_is_looked_at_anew(world):
    """Under a plan without a notice nothing is reported; under the next one what will expire is."""
    await world.new_customer(fresh(), granted=0)
    soon = (await world.grant(30 * CREDIT, expires_at=hours_from_now(12))).grant.grant_id
    assert not await events_of(world, "grant.expiring")
    await world.update(plan="watched")
    assert [each["grant_id"] for each in await expiring(world)] == [soon]


async def test_a_notice_of_its_own_is_in_place_of_the_plans(world):
    """A shorter one waits for longer; a longer one is looked at anew."""
    await world.new_customer(fresh(), plan="watched", granted=0)
    await world.update(plan_overrides="expiring_notice: 3h")
    soon = (await world.grant(30 * CREDIT, expires_at=hours_from_now(12))).grant.grant_id
    assert await expiring(world) == []
    await world.update(plan_overrides="expiring_notice: 13h")
    assert [each["grant_id"] for each in await expiring(world)] == [soon]


async def test_pages_and_the_cursor(world):
    """Pages neither repeat nor miss an event; the cursor leads to what comes after the last one."""
    await after_all(world)
    everything = await events_of(world)
    assert await events_of(world, page_size=1) == everything
    request = wallet.ListEventsRequest(customer_id=world.customer_id, types=["grant.issued"])
    first = await world.wallet.ListEvents(request)
    assert not first.next_page_token
    request.page_token = first.cursor
    empty = await world.wallet.ListEvents(request)
    assert (list(empty.events), empty.next_page_token) == ([], "")
    [*_, last] = await after_all(world, "grant.issued")
    request.page_token = empty.cursor
    assert list((await world.wallet.ListEvents(request)).events) == [last]
    request.types.append("credit.balance.low")
    assert (await refusal(world.wallet.ListEvents(request))).fields.keys() == {"page_token"}


async def test_types_that_are_not_of_the_door(world, customer):
    """A type that nobody reports would be waited for in vain; what is the house's no customer hears of."""
    for wrong in ("credit.balance.lower", "rate_card.published"):
        request = wallet.ListEventsRequest(customer_id=customer, types=["grant.issued", wrong])
        assert (await refusal(world.wallet.ListEvents(request))).fields.keys() == {"types[1]"}


async def test_all_events_of_the_back_office(world):
    """All customers' and the house's, each with its customer; the same ones that customers see."""
    mine = await after_all(world)
    request = admin.ListAllEventsRequest(page_size=1000)
    found = []
    while True:
        page = await world.admin.ListAllEvents(request)
        found += page.events
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert [each for each in found if each.customer_id == world.customer_id] == mine
    published = [each for each in found if each.type == "rate_card.published"]
    assert published
    assert {each.customer_id for each in published} == {""}
    for each in published:
        is_valid({"type": each.type, "data": data_of(each)})


async def test_a_race_crosses_a_threshold_once(world):
    """However many charges meet it, low is reported once and recovered once."""
    await world.new_customer(fresh(), plan="watched", granted=100)
    await asyncio.gather(*(patient(lambda: world.charge(amount_micros=2 * CREDIT)) for _ in range(49)))
    await asyncio.gather(*(patient(lambda: world.grant(20 * CREDIT)) for _ in range(5)))
    found = [each.type for each in await after_all(world) if each.type in OF_BALANCE]
    assert found == ["credit.balance.recovered", "credit.balance.low", "credit.balance.recovered"]


async def test_a_customer_has_a_threshold_of_its_own(world):
    """In place of its plan's, to the micro-credit: one below it is low, with one more it recovers."""
    await world.new_customer(fresh(), plan="watched", granted=0)
    await world.update(plan_overrides="low_balance: '3.000001'")
    await world.grant(100 * CREDIT)
    await world.charge(amount_micros=96 * CREDIT)
    await world.charge(amount_micros=CREDIT)
    found = [(each.type, data_of(each)) for each in await after_all(world) if each.type in OF_BALANCE]
    recovered = "credit.balance.recovered"
    assert [each for each, _ in found] == [recovered, "credit.balance.low", recovered]
    assert {data["threshold_micros"] for _, data in found} == {"3000001"}


async def test_no_event_has_a_dollar(world):
    """What was paid, and what usage cost, is in no byte of what any door says of events."""
    await world.new_customer(fresh(), plan="watched", granted=0)
    await world.grant(40 * CREDIT, paid_total_usd="76543219.5")
    named = await world.reservation(usage=usage(tokens()), labels=None)
    await world.commit(named, usage=usage(tokens(), tokens(), searches("100")), final=True)
    await after_all(world)
    answers = [
        await world.wallet.ListEvents(wallet.ListEventsRequest(customer_id=world.customer_id)),
        await world.admin.ListAllEvents(admin.ListAllEventsRequest(page_size=1000)),
    ]
    for answer in answers:
        assert answer.events
        said = answer.SerializeToString()
        assert not re.search(rb"76543219|usd|cost|margin|revenue|paid_total|price_|served", said)
    columns = await world.owner.fetch(
        "SELECT table_name, column_name FROM information_schema.column_privileges"
        " WHERE grantee = 'acu_reader' AND table_name IN"
        " ('money', 'debts', 'lot_values', 'reservation_costs')"
    )
    assert columns == []


async def test_the_journal_is_followed_once(world):
    """Each entry that is an event of its own kind has one, whatever the number of steps and of starts."""
    await after_all(world)
    numbers = await world.owner.fetch("SELECT number FROM ledger.events ORDER BY number")
    assert [row["number"] for row in numbers] == list(range(1, len(numbers) + 1))
    issued = await world.owner.fetchval(
        "SELECT count(DISTINCT data->>'grant_id') = count(*) FROM ledger.events WHERE type = 'grant.issued'"
    )
    assert issued
    assert await world.owner.fetchval(
        "SELECT bool_and(type = ANY($1::text[]) OR customer = 0) FROM ledger.events", sorted(OF_CUSTOMERS)
    )
