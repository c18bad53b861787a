"""Top-ups on two real servers: one at a time, once, whatever is declined, late, or never answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import pytest_asyncio
from api_world import CONFIG, CREDIT, World, refusal, served
from google.protobuf.field_mask_pb2 import FieldMask

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.store.events.top_up_needs import DUE_MAX
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.databases import new_database
from tests.serving import REPOSITORY, UNHURRIED, settings_on
from tests.waiting import until

sys.path.insert(0, str(REPOSITORY / "deploy" / "stripe"))

import receiver as stripe
from recorded import RecordedStripe
from stripe_api import StripeCustomer

from tests.calling import fresh, patient

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLANS = """\
plans:
  reloaded: {card: metered, topup: {below: "20", add: "100", credit_price_usd: "0.01", monthly_cap: "1000"}}
  targeted:
    card: metered
    topup: {below: "20", up_to: "150", credit_price_usd: "0.01", monthly_cap: "1000", expires_after: 30d}
  declined:
    card: metered
    topup:
      below: "20"
      add: "100"
      credit_price_usd: "0.01"
      monthly_cap: "1000"
      attempts: {max: 2, back_off: 1s}
  silent:
    card: metered
    topup:
      below: "20"
      add: "100"
      credit_price_usd: "0.01"
      monthly_cap: "1000"
      answer_within: 1s
      attempts: {max: 1, back_off: 1s}
  capped:
    card: metered
    topup: {below: "20", add: "15", credit_price_usd: "1", monthly_cap: "15", cool_down: 1s}
"""

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shops(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[World, World]]:
    """Two servers of one database, whose followers look often."""
    config = _config(tmp_path_factory.mktemp("topups") / "config")
    urls = await new_database(postgres, f"topups_{os.getpid()}_{next(_numbers)}")
    settings = settings_on(urls, config_dir=config, webhooks_private=True)
    often = replace(UNHURRIED, look_seconds=0.05)
    async with served(settings, often) as first, served(settings, often) as second:
        yield first, second


def _config(directory: Path) -> Path:
    shutil.copytree(CONFIG, directory)
    (directory / "plans.yaml").write_text(PLANS)
    return directory


@pytest.fixture
def shop(shops: tuple[World, World]) -> World:
    return shops[0]


async def spend(world: World, customer_id: str, credits_: int) -> None:
    request = pb.ChargeRequest(request_id=fresh(), customer_id=customer_id, amount_micros=credits_ * CREDIT)
    await patient(lambda: world.credit.Charge(request))


async def needy(world: World, plan: str, left: int = 10) -> str:
    """A customer that has so many credits left, and had 100."""
    customer_id = await world.new_customer(f"top_{next(_numbers)}", plan)
    await spend(world, customer_id, 100 - left)
    return customer_id


async def events(world: World, customer_id: str) -> list[tuple[str, dict[str, str]]]:
    """What was reported of a customer's top-ups, in order."""
    types = ["topup.requested", "topup.succeeded", "topup.failed"]
    page = await world.wallet.ListEvents(wallet.ListEventsRequest(customer_id=customer_id, types=types))
    return [(each.type.removeprefix("topup."), json.loads(each.data)) for each in page.events]


async def reported(world: World, customer_id: str, *types: str) -> list[dict[str, str]]:
    """The data of a customer's events, once there are as many as these types, which they have to be."""

    async def are_there() -> bool:
        return len(await events(world, customer_id)) >= len(types)

    await until(are_there)
    found = await events(world, customer_id)
    assert [each for each, _ in found] == list(types)
    return [data for _, data in found]


async def top_ups(world: World, customer_id: str) -> admin.ListTopUpsResponse:
    return await world.admin.ListTopUps(admin.ListTopUpsRequest(customer_id=customer_id))


async def confirm(world: World, customer_id: str, grant_id: str) -> admin.ConfirmGrantResponse:
    request = admin.ConfirmGrantRequest(request_id=fresh(), customer_id=customer_id, grant_id=grant_id)
    return await world.admin.ConfirmGrant(request)


async def decline(world: World, customer_id: str, grant_id: str) -> None:
    await world.admin.VoidGrant(
        admin.VoidGrantRequest(
            request_id=fresh(),
            customer_id=customer_id,
            grant_id=grant_id,
            reason="card_declined",
            only_pending_payment=True,
        )
    )


async def test_a_crossing_is_bought_once_and_confirmed(shop: World) -> None:
    """The entry that leaves less than the threshold has a grant stated, which counts once it is paid."""
    customer = await needy(shop, "reloaded")
    [asked] = await reported(shop, customer, "requested")
    assert (asked["amount_micros"], asked["attempt"]) == ("100000000", "1")
    [shown] = (await top_ups(shop, customer)).top_ups
    assert (shown.grant_id, shown.price_usd) == (asked["grant_id"], "1")
    assert shown.state == admin.TOP_UP_STATE_REQUESTED
    listed = await shop.wallet.ListGrants(wallet.ListGrantsRequest(customer_id=customer))
    assert listed.grants[0].status == wallet.GRANT_STATUS_PENDING_PAYMENT
    assert listed.grants[0].external_reference == "topup-1"
    confirmed = await confirm(shop, customer, asked["grant_id"])
    assert confirmed.balance.available_micros == 110 * CREDIT
    [_, paid] = await reported(shop, customer, "requested", "succeeded")
    assert paid == {key: asked[key] for key in ("grant_id", "amount_micros", "attempt")}
    found = await top_ups(shop, customer)
    assert found.top_ups[0].state == admin.TOP_UP_STATE_SUCCEEDED
    booked = await shop.owner.fetchval(
        "SELECT receivable FROM cell_00.money m JOIN ledger.customers c USING (customer)"
        " WHERE customer_id = $1 ORDER BY m.sequence DESC LIMIT 1",
        customer,
    )
    assert booked == -1_000_000_000


async def test_two_servers_that_race_buy_once(shops: tuple[World, World]) -> None:
    """However many entries cross a threshold at once on however many servers: one top-up is on its way."""
    customers = [await shops[0].new_customer(f"top_{next(_numbers)}", "reloaded") for _ in range(5)]
    for each in customers:
        await asyncio.gather(*(spend(world, each, 9) for _ in range(5) for world in shops))
    for each in customers:
        await reported(shops[0], each, "requested")
    for each in customers:
        assert len((await top_ups(shops[1], each)).top_ups) == 1
        pending = await shops[0].owner.fetchval(
            "SELECT count(*) FROM cell_00.entries e JOIN ledger.customers c USING (customer)"
            " WHERE customer_id = $1 AND kind = 'GRANT_PENDING_PAYMENT'",
            each,
        )
        assert pending == 1


async def test_a_top_up_of_its_own_is_in_place_of_the_plans(shops: tuple[World, World]) -> None:
    """None, or another one, whichever server is asked; what is on its way ends though it is taken back."""
    shop, other = shops
    customer = await shop.new_customer(f"top_{next(_numbers)}", "reloaded")
    await shop.update(plan_overrides="topup: null")
    await spend(other, customer, 90)
    own = "topup: {below: '50', add: '30', credit_price_usd: '0.02', monthly_cap: '60'}"
    await shop.update(plan_overrides=own)
    await spend(other, customer, 1)
    [asked] = await reported(shop, customer, "requested")
    assert (asked["amount_micros"], asked["attempt"]) == (str(30 * CREDIT), "1")
    [shown] = (await top_ups(other, customer)).top_ups
    assert (shown.number, shown.price_usd) == (1, "0.6")
    await shop.update(plan_overrides="")
    assert (await confirm(other, customer, asked["grant_id"])).balance.available_micros == 39 * CREDIT
    await reported(shop, customer, "requested", "succeeded")


async def test_a_top_up_waits_for_a_server_that_can_read_it(shop: World) -> None:
    """Fields of a newer version: nothing is bought by the plan's in their place, and nothing is forgotten."""
    customer = await shop.new_customer(f"top_{next(_numbers)}", "reloaded")
    await shop.write_own_fields('{"topup": {"below": "20", "by": "NEED"}}')
    request = pb.ChargeRequest(
        request_id=fresh(), customer_id=customer, amount_micros=90 * CREDIT, already_used=True
    )
    await patient(lambda: shop.credit.Charge(request))

    async def is_put_off() -> bool:
        return await shop.owner.fetchval(
            "SELECT EXISTS (SELECT FROM cell_00.top_up_needs n JOIN ledger.customers c USING (customer)"
            " WHERE customer_id = $1 AND look_at > now())",
            customer,
        )

    await until(is_put_off)
    assert not (await top_ups(shop, customer)).top_ups
    await shop.update(plan_overrides="")
    [asked] = await reported(shop, customer, "requested")
    assert asked["amount_micros"] == str(100 * CREDIT)


async def test_up_to_a_target_for_a_while(shop: World) -> None:
    """What is missing to the target is bought, and expires when the plan says."""
    customer = await needy(shop, "targeted", left=3)
    [asked] = await reported(shop, customer, "requested")
    assert asked["amount_micros"] == str(147 * CREDIT)
    [shown] = (await top_ups(shop, customer)).top_ups
    assert shown.price_usd == "1.47"
    confirmed = await confirm(shop, customer, asked["grant_id"])
    assert confirmed.grant.expires_at.seconds - shown.requested_at.seconds == 30 * 86_400


async def counted(shops: tuple[World, World]) -> Counter[str]:
    """What both servers have counted of top-ups, by result."""
    found: Counter[str] = Counter()
    for world in shops:
        text = await asyncio.to_thread(_scraped, world.stack.operations_url)
        for result, number in re.findall(
            r'^acu_ledger_top_ups_total{result="(\w+)"} ([\d.]+)$', text, re.MULTILINE
        ):
            found[result] += int(float(number))
    return found


def _scraped(url: str) -> str:
    with urlopen(url, timeout=60) as answer:  # noqa: S310 -- our own
        text: str = answer.read().decode()
    return text


async def test_a_decline_is_tried_again_until_the_attempts_are_used_up(shops: tuple[World, World]) -> None:
    """After a pause, as the plan says; then nothing more is requested until somebody asks for it.

    Metrics count what was requested, and what came of it.
    """
    shop, before = shops[0], await counted(shops)
    customer = await needy(shop, "declined")
    [first] = await reported(shop, customer, "requested")
    await decline(shop, customer, first["grant_id"])
    [_, failed, second] = await reported(shop, customer, "requested", "failed", "requested")
    assert failed["reason"] == "DECLINED"
    assert "next_attempt_at" in failed
    assert (second["attempt"], second["grant_id"] != first["grant_id"]) == ("2", True)
    await decline(shop, customer, second["grant_id"])
    last = (await reported(shop, customer, "requested", "failed", "requested", "failed"))[-1]
    assert "next_attempt_at" not in last
    found = await top_ups(shop, customer)
    assert (found.needed, found.failed_attempts, found.HasField("next_attempt_at")) == (True, 2, False)
    retried = await shop.admin.RetryTopUp(admin.RetryTopUpRequest(customer_id=customer))
    assert retried.needed
    types = ("requested", "failed") * 2
    third = (await reported(shop, customer, *types, "requested"))[-1]
    assert third["attempt"] == "1"
    await confirm(shop, customer, third["grant_id"])
    await reported(shop, customer, *types, "requested", "succeeded")

    async def are_counted() -> bool:
        return await counted(shops) - before >= Counter(requested=3, failed=1, given_up=1, paid=1)

    await until(are_counted)


async def test_a_payment_that_nobody_answers_fails_and_comes_too_late(shop: World) -> None:
    """Its grant is taken back: a confirmation then is refused, and says why."""
    customer = await needy(shop, "silent")
    asked, failed = await reported(shop, customer, "requested", "failed")
    assert failed["reason"] == "TIMED_OUT"
    late = await refusal(confirm(shop, customer, asked["grant_id"]))
    assert (late.code, late.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GRANT_NOT_PENDING_PAYMENT")
    assert late.metadata["status"] == "VOIDED"


async def test_a_decline_after_the_payment_takes_nothing(shop: World) -> None:
    """Events of a payment system come in any order: what was paid stays."""
    customer = await needy(shop, "declined")
    [asked] = await reported(shop, customer, "requested")
    await confirm(shop, customer, asked["grant_id"])
    late = await refusal(decline(shop, customer, asked["grant_id"]))
    assert late.reason == "GRANT_NOT_PENDING_PAYMENT"
    shop.customer_id = customer
    assert await shop.available() == 110 * CREDIT


async def test_a_month_has_no_room_for_more_than_its_cap(shop: World) -> None:
    """What would exceed it is reported once, and not requested."""
    customer = await needy(shop, "capped", left=1)
    [asked] = await reported(shop, customer, "requested")
    await confirm(shop, customer, asked["grant_id"])
    [*_, capped] = await reported(shop, customer, "requested", "succeeded", "failed")
    assert capped == {"amount_micros": "15000000", "attempt": "1", "reason": "MONTHLY_CAP"}
    await spend(shop, customer, 1)
    other = await needy(shop, "reloaded")
    await reported(shop, other, "requested")
    await reported(shop, customer, "requested", "succeeded", "failed")


async def test_who_has_used_no_credits_needs_none(shop: World) -> None:
    """Nothing is bought for who was just made, or lost its credits by a chargeback."""
    made = await shop.new_customer(f"top_{next(_numbers)}", "reloaded", granted=0)
    voided = await shop.new_customer(f"top_{next(_numbers)}", "reloaded", granted=0)
    grant_id = (await shop.grant(100 * CREDIT)).grant.grant_id
    void = admin.VoidGrantRequest(request_id=fresh(), customer_id=voided, grant_id=grant_id, reason="why")
    await shop.admin.VoidGrant(void)
    other = await needy(shop, "reloaded")
    await reported(shop, other, "requested")
    for each in (made, voided):
        found = await top_ups(shop, each)
        assert (len(found.top_ups), found.needed) == (0, False)
    retried = await shop.admin.RetryTopUp(admin.RetryTopUpRequest(customer_id=made))
    assert not retried.needed


async def test_what_a_server_began_that_died_is_ended_by_another(shop: World) -> None:
    """A request whose grant was not stated yet has one stated, once, and is announced."""
    customer = await shop.new_customer(f"top_{next(_numbers)}", "reloaded", granted=5)
    async with shop.owner.transaction():
        number = await shop.owner.fetchval(
            "SELECT customer FROM ledger.customers WHERE customer_id = $1", customer
        )
        await shop.owner.execute(
            "INSERT INTO cell_00.top_ups (customer, number, state, attempt, amount, price_nanousd, answer_by)"
            " VALUES ($1, 1, 'REQUESTED', 1, 7000000, 70000000, now() + interval '1 day')",
            number,
        )
        await shop.owner.execute("INSERT INTO cell_00.top_up_needs (customer) VALUES ($1)", number)
    [asked] = await reported(shop, customer, "requested")
    assert asked["amount_micros"] == "7000000"
    await confirm(shop, customer, asked["grant_id"])
    await reported(shop, customer, "requested", "succeeded")


async def test_customers_whose_steps_fail_keep_nobody_waiting(shop: World) -> None:
    """However many they are, and due before all others: they are put off, and the others have their turn."""
    failing = [-number for number in range(1, 2 * DUE_MAX + 1)]
    try:
        await shop.owner.execute(
            "INSERT INTO cell_00.top_up_needs (customer, look_at)"
            " SELECT customer, now() - interval '1 hour' FROM unnest($1::bigint[]) AS t (customer)",
            failing,  # They have no wallets.
        )
        await reported(shop, await needy(shop, "reloaded"), "requested")

        async def are_put_off() -> bool:
            due = await shop.owner.fetchval(
                "SELECT count(*) FROM cell_00.top_up_needs WHERE customer < 0 AND look_at < now()"
            )
            return due == 0

        await until(are_put_off)
    finally:
        await shop.owner.execute("DELETE FROM cell_00.top_up_needs WHERE customer < 0")


# -- the receiver of deploy/stripe ---------------------------------------------------------------

STRIPE_SECRET = "whsec_of_stripe"  # noqa: S105 -- of nobody
PAYS, DECLINES, SILENT = "pm_card_visa", "pm_card_chargeDeclined", "pm_none"


@dataclass
class Paying:
    """A receiver that runs, and Stripe as it was recorded."""

    world: World
    recorded: RecordedStripe
    customers: dict[str, StripeCustomer]

    def pays_with(self, customer_id: str, card: str) -> None:
        self.customers[customer_id] = StripeCustomer("cus_stripe", card)

    async def post(self, event_type: str, customer_id: str, grant_id: str, cents: int = 100) -> int:
        """Sends one of Stripe's events again, or out of turn; the status that it is answered with."""
        body = self.recorded.event(f"payment_intent.{event_type}", customer_id, grant_id, cents)
        return await asyncio.to_thread(self.recorded.post, body)

    async def available(self, customer_id: str) -> int:
        self.world.customer_id = customer_id
        return await self.world.available()


@asynccontextmanager
async def paying(world: World, customers: dict[str, str]) -> AsyncIterator[Paying]:
    """A receiver in a thread of its own that the ledger's events go to, of customers with these cards."""
    made = await world.admin.CreateWebhook(
        admin.CreateWebhookRequest(
            request_id=fresh(),
            url="http://127.0.0.1:9/",
            types=["topup.requested", "topup.failed"],
            customer_ids=list(customers),
        )
    )
    cards = {each: StripeCustomer("cus_stripe", card) for each, card in customers.items()}
    recorded = RecordedStripe("", STRIPE_SECRET, cards)
    with grpc.insecure_channel(world.stack.back_office_target) as channel:
        ledger = stripe.Ledger(AdminServiceStub(channel))
        taker = stripe.Receiver(ledger, recorded, made.secret, STRIPE_SECRET)
        with stripe.listening(taker, 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            at = f"http://127.0.0.1:{server.server_port}"
            recorded.url = f"{at}/stripe"
            webhook = admin.Webhook(endpoint_id=made.webhook.endpoint_id, url=f"{at}/ledger")
            mask = FieldMask(paths=["url"])
            await world.admin.UpdateWebhook(admin.UpdateWebhookRequest(webhook=webhook, update_mask=mask))
            try:
                yield Paying(world, recorded, cards)
            finally:
                deleted = admin.DeleteWebhookRequest(endpoint_id=made.webhook.endpoint_id)
                await world.admin.DeleteWebhook(deleted)
                await asyncio.to_thread(recorded.close)
                await asyncio.to_thread(server.shutdown)
                thread.join()


async def test_stripe_pays_once_whatever_it_sends_again(shop: World) -> None:
    """From the crossing to the credits; an event again, and a decline that comes after, change nothing."""
    customer = f"top_{next(_numbers)}"
    async with paying(shop, {customer: PAYS}) as payments:
        await shop.new_customer(customer, "reloaded")
        await spend(shop, customer, 90)
        asked, _ = await reported(shop, customer, "requested", "succeeded")
        assert await payments.available(customer) == 110 * CREDIT
        entries = len(await shop.journal())
        for event in ("succeeded", "succeeded", "payment_failed", "canceled"):
            assert await payments.post(event, customer, asked["grant_id"]) == 204
        assert len(await shop.journal()) == entries
        assert await payments.available(customer) == 110 * CREDIT


async def test_a_card_that_is_declined_may_pay_the_next_attempt(shop: World) -> None:
    """Each attempt is a payment of its own; money that comes for the first one after all is not lost."""
    customer = f"top_{next(_numbers)}"
    async with paying(shop, {customer: DECLINES}) as payments:
        await shop.new_customer(customer, "declined")
        await spend(shop, customer, 90)
        first, *_ = await reported(shop, customer, "requested", "failed", "requested", "failed")
        payments.pays_with(customer, PAYS)
        await shop.admin.RetryTopUp(admin.RetryTopUpRequest(customer_id=customer))
        await reported(shop, customer, *("requested", "failed") * 2, "requested", "succeeded")
        assert await payments.available(customer) == 110 * CREDIT
        for _ in range(2):
            assert await payments.post("succeeded", customer, first["grant_id"]) == 204
        assert await payments.available(customer) == 210 * CREDIT
        late = (await shop.journal())[-1]
        assert (late["kind"], late["request_id"].endswith(":late")) == ("GRANT", True)


async def test_what_nobody_signed_is_believed_by_nobody(shop: World) -> None:
    """An event with another signature, an old one, or none is refused, and is not acted on."""
    customer = f"top_{next(_numbers)}"
    async with paying(shop, {customer: SILENT}) as payments:
        await shop.new_customer(customer, "reloaded")
        await spend(shop, customer, 90)
        [asked] = await reported(shop, customer, "requested")
        forged = RecordedStripe(payments.recorded.url, "whsec_of_others", payments.customers)
        body = forged.event("payment_intent.succeeded", customer, asked["grant_id"], 100)
        assert await asyncio.to_thread(forged.post, body) == 400
        at_ledger = RecordedStripe(payments.recorded.url.replace("/stripe", "/ledger"), STRIPE_SECRET, {})
        assert await asyncio.to_thread(at_ledger.post, body) == 400
        assert await payments.available(customer) == 10 * CREDIT
