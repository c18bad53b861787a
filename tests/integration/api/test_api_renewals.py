"""Grants that recur, as callers see them."""

from __future__ import annotations

import json

import pytest
from api_world import CREDIT, World
from google.protobuf.field_mask_pb2 import FieldMask

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def grants_of(world: World) -> list[wallet.Grant]:
    """The customer's grants, the oldest first."""
    listed = await world.wallet.ListGrants(wallet.ListGrantsRequest(customer_id=world.customer_id))
    return list(reversed(listed.grants))


async def upcoming(world: World) -> list[admin.UpcomingGrant]:
    """What the customer's plan grants next."""
    request = admin.GetCustomerRequest(customer_id=world.customer_id)
    return list((await world.admin.GetCustomer(request)).upcoming_grants)


def has_available(world: World, micros: int):
    """Whether the customer has so much: what is due when a call is answered is written by then, or soon."""

    async def holds() -> bool:
        return await world.available() == micros

    return holds


async def test_a_plan_grants_from_the_day_on_which_a_customer_comes_to_it(world: World) -> None:
    """At once and under its name; what comes next, and when, is told with the customer."""
    await world.new_customer(fresh(), plan="renewing", granted=0)
    await until(has_available(world, 50 * CREDIT))
    [grant] = await grants_of(world)
    assert (grant.recurring, grant.kind) == ("monthly", wallet.GRANT_KIND_SUBSCRIPTION)
    assert (grant.amount_micros, grant.remaining_micros) == (50 * CREDIT, 50 * CREDIT)
    [coming] = await upcoming(world)
    assert coming == admin.UpcomingGrant(
        name="monthly",
        at=grant.expires_at,
        amount_micros=50 * CREDIT,
        kind=wallet.GRANT_KIND_SUBSCRIPTION,
        paid_total_usd="5",
    )
    request = wallet.ListEventsRequest(customer_id=world.customer_id, types=["grant.issued"])

    async def is_reported() -> bool:
        events = (await world.wallet.ListEvents(request)).events
        return [json.loads(event.data)["recurring"] for event in events] == ["monthly"]

    await until(is_reported)


async def test_a_change_of_plan_keeps_the_days_and_grants_once(world: World) -> None:
    """A repeat of the change grants nothing more, nor does coming back; what was granted stays."""
    await world.new_customer(fresh(), plan="renewing", granted=0)
    await until(has_available(world, 50 * CREDIT))
    [first] = await upcoming(world)
    change = admin.UpdateCustomerRequest(
        request_id=fresh(),
        customer=admin.Customer(customer_id=world.customer_id, plan="larger"),
        update_mask=FieldMask(paths=["plan"]),
    )
    await world.admin.UpdateCustomer(change)

    async def has_two() -> bool:
        return len(await grants_of(world)) == 2

    await until(has_two)
    small, large = await grants_of(world)
    # Whole on the day itself; past a midnight that comes meanwhile, the rest of the period.
    assert 480 * CREDIT <= large.amount_micros <= 500 * CREDIT
    assert (small.remaining_micros, small.expires_at) == (50 * CREDIT, large.expires_at)
    [second] = await upcoming(world)
    assert (second.at, second.amount_micros, second.paid_total_usd) == (first.at, 500 * CREDIT, "40.5")
    assert (await world.admin.UpdateCustomer(change)).replayed
    await world.update(plan="renewing")
    assert await upcoming(world) == [first]
    await world.update(plan="standard")
    assert await upcoming(world) == []
    assert await grants_of(world) == [small, large]


async def test_only_a_plan_that_is_named_grants(world: World) -> None:
    """Another name or zone of the customer begins nothing."""
    await world.new_customer(fresh(), plan="renewing", granted=0)
    await until(has_available(world, 50 * CREDIT))
    before = await upcoming(world)
    await world.update(display_name="Acme", zone="Asia/Tokyo")
    assert await upcoming(world) == before
    assert len(await grants_of(world)) == 1


async def test_grants_of_its_own_are_as_a_change_of_plan(world: World) -> None:
    """Days go on, one of the same name goes on as it is to be, and to and fro grants once."""
    await world.new_customer(fresh(), plan="renewing", granted=0)
    await until(has_available(world, 50 * CREDIT))
    [first] = await upcoming(world)
    own = (
        "grants: {monthly: {amount: '70', every: month},"
        " extra: {amount: '600', paid_usd: '9', every: month, prorate: BY_TIME}}"
    )
    await world.update(plan_overrides=own)

    async def has_two() -> bool:
        return len(await grants_of(world)) == 2

    await until(has_two)
    _, extra = await grants_of(world)
    # Whole on the day itself; past a midnight that comes meanwhile, the rest of the period.
    assert 570 * CREDIT <= extra.amount_micros <= 600 * CREDIT
    assert (extra.recurring, extra.expires_at) == ("extra", first.at)
    coming = [(each.name, each.at, each.amount_micros, each.paid_total_usd) for each in await upcoming(world)]
    assert coming == [
        ("extra", first.at, 600 * CREDIT, "9"),
        ("monthly", first.at, 70 * CREDIT, "0"),
    ]
    await world.update(plan_overrides="")
    assert await upcoming(world) == [first]
    await world.update(plan_overrides=own)
    await world.update(plan_overrides="{grants: {}, low_balance: '5'}")
    assert await upcoming(world) == []
    assert len(await grants_of(world)) == 2


async def test_a_customer_is_made_with_grants_of_its_own(world: World) -> None:
    """In place of its plan's, from its first day on; another field of its own begins nothing anew."""
    customer = admin.Customer(
        customer_id=fresh(),
        plan="renewing",
        plan_overrides="grants: {daily: {amount: '3', kind: PROMO, every: day}}",
    )
    request = admin.CreateCustomerRequest(request_id=fresh(), customer=customer)
    assert (await world.admin.CreateCustomer(request)).customer.plan_overrides
    world.customer_id = customer.customer_id
    await until(has_available(world, 3 * CREDIT))
    await world.update(
        plan_overrides="{max_ttl: 1h, grants: {daily: {amount: '3', kind: PROMO, every: day}}}"
    )
    assert {grant.recurring for grant in await grants_of(world)} == {"daily"}
    assert [each.name for each in await upcoming(world)] == ["daily"]
