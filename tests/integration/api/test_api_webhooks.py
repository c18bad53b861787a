"""Webhooks on a real server with real receivers: signed, in order, and again after a failure."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import pytest_asyncio
from api_world import CONFIG, CREDIT, World, refusal, served
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from standardwebhooks import Webhook, WebhookVerificationError

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.store.events.webhooks import QUEUE_MAX
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.calling import fresh
from tests.databases import DatabaseUrls, new_database
from tests.serving import settings_on
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTEMPTS_MAX = 10


class Receiver:
    """Whoever events are delivered to: answers as it is told to, and remembers."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[dict], str | None] = lambda _: "204 No Content"
        """By the event's body; None: never."""
        self._hanging = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[dict]:
        return [json.loads(body) for _, body in self.received]

    def known(self) -> list[dict]:
        """Events without those that came again: who does not answer in time gets them twice."""
        return list({each["event_id"]: each for each in self.events}.values())

    def of(self, customer: str) -> list[int]:
        """Numbers of a customer's events, as they came."""
        return [each["number"] for each in self.events if each["customer_id"] == customer]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")[1:]
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)
                }
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append((headers, body))
                status = self.answer(json.loads(body))
                if status is None:
                    await self._hanging.wait()
                    return
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def end(self) -> None:
        self._hanging.set()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.end()
        server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def urls(postgres: EmbeddedPostgres) -> DatabaseUrls:
    return await new_database(postgres, f"webhooks_{os.getpid()}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def office(urls: DatabaseUrls) -> AsyncIterator[World]:
    """A service whose webhooks may go to this machine."""
    async with served(settings_on(urls, config_dir=CONFIG, webhooks_private=True)) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def hooked(world: World, receiver: Receiver, **fields) -> AsyncIterator[admin.CreateWebhookResponse]:
    """An endpoint for a receiver, until the block ends."""
    request = admin.CreateWebhookRequest(request_id=fresh(), url=receiver.url, **fields)
    made = await world.admin.CreateWebhook(request)
    yield made
    await world.admin.DeleteWebhook(admin.DeleteWebhookRequest(endpoint_id=made.webhook.endpoint_id))


async def webhook_of(world: World, endpoint_id: str) -> admin.Webhook:
    found = (await world.admin.ListWebhooks(admin.ListWebhooksRequest())).webhooks
    return next(each for each in found if each.endpoint_id == endpoint_id)


async def has(receiver: Receiver, customer: str, numbers: list[int]) -> bool:
    """Whether these have come, in this order; some may have come again."""
    return list(dict.fromkeys(receiver.of(customer))) == numbers


async def hurry(world: World, endpoint_id: str, **fields: int) -> None:
    """What is to be tried again later is due at once."""
    attempts = fields.get("attempts")
    await world.owner.execute(
        "UPDATE ledger.webhook_queue SET due_at = now(), attempts = coalesce($2, attempts)"
        " WHERE endpoint_id = $1 AND attempts > 0 AND NOT is_dead",
        endpoint_id,
        attempts,
    )


async def failed_once(world: World, endpoint_id: str) -> bool:
    return bool((await webhook_of(world, endpoint_id)).last_failure)


async def test_events_are_delivered_signed_and_in_order(office, receiver):
    """Each once, those of a customer in their order; whoever has the secret can tell that they are ours."""
    async with hooked(office, receiver) as made:
        first = await office.new_customer(fresh(), plan="watched", granted=100)
        for _ in range(4):
            await office.charge(amount_micros=25 * CREDIT)
        second = await office.new_customer(fresh(), granted=100)
        await until(partial(has, receiver, first, [1, 2, 3, 4]))
        await until(partial(has, receiver, second, [1, 2]))
        for headers, body in receiver.received:
            verified = Webhook(made.secret).verify(body, headers)
            assert headers["webhook-id"] == verified["event_id"]
        assert [each["type"] for each in receiver.known() if each["customer_id"] == first] == [
            "grant.issued",
            "credit.balance.recovered",
            "credit.balance.low",
            "credit.balance.depleted",
        ]
        assert b"31.4" not in b"".join(body for _, body in receiver.received)


async def test_only_what_an_endpoint_is_for(office, receiver):
    """Its types, its customers; what is the house's only where it is named."""
    mine = fresh()
    async with hooked(office, receiver, types=["grant.issued"], customer_ids=[mine]):
        await office.new_customer(fresh(), granted=100)
        await office.new_customer(mine, granted=100)
        await office.charge(amount_micros=100 * CREDIT)
        await office.grant(CREDIT)

        async def has_both():
            return len(receiver.known()) == 2

        await until(has_both)
        assert {(each["type"], each["customer_id"]) for each in receiver.events} == {("grant.issued", mine)}


async def test_a_failure_is_tried_again_and_later_events_wait(office, receiver):
    """Later events of the customer come after it; other customers' do not wait."""
    failing = fresh()
    receiver.answer = lambda event: (
        "500 Internal Server Error" if event["customer_id"] == failing else "204 No Content"
    )
    async with hooked(office, receiver) as made:
        endpoint_id = made.webhook.endpoint_id
        await office.new_customer(failing, granted=100)
        other = await office.new_customer(fresh(), granted=100)
        await until(partial(has, receiver, other, [1, 2]))
        await until(partial(failed_once, office, endpoint_id))
        assert set(receiver.of(failing)) == {1}
        assert (await webhook_of(office, endpoint_id)).last_failure == "status 500"
        receiver.answer = lambda _: "204 No Content"

        async def is_done():
            await hurry(office, endpoint_id)
            return receiver.of(failing)[-1] == 2

        await until(is_done)
        assert sorted(receiver.of(failing)) == receiver.of(failing)


async def test_one_customers_refused_events_keep_nobody_elses_out(office, receiver):
    """However many wait; what then comes of that customer is dead at once, until it is replayed."""
    async with hooked(office, receiver) as made:
        endpoint_id = made.webhook.endpoint_id
        refused = await office.new_customer(fresh(), granted=0)
        await office.owner.execute(
            "INSERT INTO ledger.webhook_queue (endpoint_id, number, customer, attempts, due_at)"
            " SELECT $1, -n, c.customer, CASE n WHEN 1 THEN 5 ELSE 0 END, now() + interval '1 day'"
            " FROM generate_series(1, 10000) n, ledger.customers c WHERE c.customer_id = $2",
            endpoint_id,
            refused,
        )
        await office.grant(100 * CREDIT)
        other = await office.new_customer(fresh(), granted=100)
        await until(partial(has, receiver, other, [1, 2]))

        async def is_apart():
            stands = await webhook_of(office, endpoint_id)
            return (stands.waiting_events, stands.dead_events) == (10_000, 2)

        await until(is_apart)
        assert receiver.of(refused) == []


async def test_what_is_given_up_is_replayed(office, receiver):
    """After the last attempt an event is dead and the next one's turn comes; a replay brings it back."""
    customer = fresh()
    receiver.answer = lambda event: "503 Service Unavailable" if event["number"] == 1 else "204 No Content"
    async with hooked(office, receiver, customer_ids=[customer]) as made:
        endpoint_id = made.webhook.endpoint_id
        await office.new_customer(customer, granted=100)
        await until(partial(failed_once, office, endpoint_id))

        async def is_over():
            await hurry(office, endpoint_id, attempts=ATTEMPTS_MAX - 1)
            stands = await webhook_of(office, endpoint_id)
            return (stands.waiting_events, stands.dead_events) == (0, 1)

        await until(is_over)
        assert receiver.of(customer)[-1] == 2
        changed = await office.admin.UpdateWebhook(
            admin.UpdateWebhookRequest(
                webhook=admin.Webhook(endpoint_id=endpoint_id, description="dead once"),
                update_mask=FieldMask(paths=["description"]),
            )
        )
        assert changed.webhook == await webhook_of(office, endpoint_id)
        receiver.answer = lambda _: "204 No Content"
        replay = admin.ReplayEventsRequest(endpoint_id=endpoint_id)
        assert (await office.admin.ReplayEvents(replay)).events == 1

        async def is_back():
            return receiver.of(customer)[-1] == 1

        await until(is_back)
        before = len(receiver.received)
        replay.since.CopyFrom(Timestamp(seconds=1))
        assert (await office.admin.ReplayEvents(replay)).events == 2

        async def are_all_back():
            return len(receiver.received) >= before + 2

        await until(are_all_back)
        assert receiver.of(customer)[-2:] == [1, 2]


async def test_a_replay_leaves_out_none(office, receiver):
    """However many events there were since: more than an endpoint has in its queue otherwise."""
    customer = await office.new_customer(fresh(), granted=0)
    await office.owner.execute(
        """WITH log AS (UPDATE ledger.event_log SET events = events + $2 RETURNING events)
        INSERT INTO ledger.events (number, customer, customer_id, customer_number, type, at, data)
        SELECT log.events - $2 + n, c.customer, c.customer_id, n, 'credit.balance.low', now(), '{}'
        FROM log, ledger.customers c, generate_series(1, $2::bigint) n WHERE c.customer_id = $1""",
        customer,
        QUEUE_MAX + 1_000,
    )
    receiver.answer = lambda _: "503 Service Unavailable"
    async with hooked(office, receiver, customer_ids=[customer]) as made:
        endpoint_id = made.webhook.endpoint_id
        replay = admin.ReplayEventsRequest(endpoint_id=endpoint_id, since=Timestamp(seconds=1))
        assert (await office.admin.ReplayEvents(replay)).events == QUEUE_MAX + 1_000

        async def are_all_there():
            return (await webhook_of(office, endpoint_id)).waiting_events == QUEUE_MAX + 1_000

        await until(are_all_there)
        assert receiver.of(customer)[0] == 1


async def test_a_receiver_that_never_answers_holds_up_nobody_else(office, receiver):
    """Each endpoint has a queue and connections of its own."""
    async with receiving() as dead:
        dead.answer = lambda _: None
        async with hooked(office, dead) as first, hooked(office, receiver):
            customers = [await office.new_customer(fresh(), granted=1) for _ in range(20)]

            async def are_there():
                return all([await has(receiver, each, [1, 2]) for each in customers])

            await until(are_there)
            dead.end()
            assert (await webhook_of(office, first.webhook.endpoint_id)).dead_events == 0


async def test_a_rotated_secret_signs_beside_the_new_one(office, receiver):
    """For the overlap; it is shown once, and a repeat draws no other."""
    async with hooked(office, receiver) as made:
        request = admin.RotateWebhookSecretRequest(request_id=fresh(), endpoint_id=made.webhook.endpoint_id)
        rotated = await office.admin.RotateWebhookSecret(request)
        again = await office.admin.RotateWebhookSecret(request)
        assert (again.secret, again.replayed) == ("", True)
        assert rotated.secret != made.secret
        customer = await office.new_customer(fresh(), granted=1)
        await until(partial(has, receiver, customer, [1, 2]))
        headers, body = receiver.received[-1]
        for secret in (made.secret, rotated.secret):
            assert Webhook(secret).verify(body, headers)
        request.request_id = fresh()
        request.overlap.SetInParent()
        last = await office.admin.RotateWebhookSecret(request)
        await office.grant(CREDIT)
        await until(partial(has, receiver, customer, [1, 2, 3]))
        headers, body = receiver.received[-1]
        assert Webhook(last.secret).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(rotated.secret).verify(body, headers)


async def test_a_redirect_is_not_followed(office, receiver):
    """It is a failure like any answer but one of 2xx: where it leads nobody has looked at."""
    async with receiving() as elsewhere:
        receiver.answer = lambda _: f"307 Temporary Redirect\r\nlocation: {elsewhere.url}"
        async with hooked(office, receiver) as made:
            await office.new_customer(fresh(), granted=1)
            await until(partial(failed_once, office, made.webhook.endpoint_id))
            assert (await webhook_of(office, made.webhook.endpoint_id)).last_failure == "status 307"
        assert elsewhere.received == []


async def test_two_servers_deliver_once(office, urls, receiver):
    """One of them at a time has an endpoint."""
    async with (
        served(settings_on(urls, config_dir=CONFIG, webhooks_private=True)),
        hooked(office, receiver) as made,
    ):
        customers = [await office.new_customer(fresh(), granted=1) for _ in range(10)]

        async def are_there():
            return all([await has(receiver, each, [1, 2]) for each in customers])

        await until(are_there)
        times = defaultdict(int)
        for event in receiver.events:
            times[event["event_id"]] += 1
        # Who has met an answer that came too late delivers again.
        found = await webhook_of(office, made.webhook.endpoint_id)
        assert found.last_failure or set(times.values()) == {1}


async def test_an_endpoint_is_made_once_and_its_secret_shown_once(office, receiver):
    """A repeat answers without the secret; nothing that is read back or audited has it."""
    request = admin.CreateWebhookRequest(request_id=fresh(), url=receiver.url, description="a test")
    made = await office.admin.CreateWebhook(request)
    again = await office.admin.CreateWebhook(request)
    assert (again.webhook, again.secret, again.replayed) == (made.webhook, "", True)
    request.description = "another"
    assert (await refusal(office.admin.CreateWebhook(request))).reason == "REQUEST_ID_REUSED"
    endpoint_id = made.webhook.endpoint_id
    changed = admin.UpdateWebhookRequest(
        webhook=admin.Webhook(endpoint_id=endpoint_id, description="changed", types=["grant.issued"]),
        update_mask=FieldMask(paths=["description", "types"]),
    )
    answer = (await office.admin.UpdateWebhook(changed)).webhook
    assert (answer.url, answer.description, list(answer.types)) == (receiver.url, "changed", ["grant.issued"])
    deleted = admin.DeleteWebhookRequest(endpoint_id=endpoint_id)
    for _ in range(2):
        await office.admin.DeleteWebhook(deleted)
    assert (await refusal(office.admin.UpdateWebhook(changed))).reason == "WEBHOOK_NOT_FOUND"
    wanted = admin.ListAuditEventsRequest(resource=f"webhooks/{endpoint_id}")
    audited = await office.admin.ListAuditEvents(wanted)
    methods = [each.method for each in audited.events]
    assert methods == ["DeleteWebhook", "UpdateWebhook", "CreateWebhook"]
    secret = made.secret.removeprefix("whsec_").encode()
    listed = await office.admin.ListWebhooks(admin.ListWebhooksRequest())
    assert secret not in audited.SerializeToString() + listed.SerializeToString()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/hook",
        "https://localhost/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://10.0.0.1/hook",
        "http://93.184.216.34/hook",
        "https://user@93.184.216.34/hook",
        "nothing",
    ],
)
async def test_endpoints_lead_to_public_addresses(service, url):
    """Where the setting does not say otherwise: neither what is made nor what is changed leads elsewhere."""
    refused = await refusal(
        service.admin.CreateWebhook(admin.CreateWebhookRequest(request_id=fresh(), url=url))
    )
    assert refused.fields.keys() == {"url"}
    changed = admin.UpdateWebhookRequest(
        webhook=admin.Webhook(endpoint_id="whe_1", url=url), update_mask=FieldMask(paths=["url"])
    )
    assert (await refusal(service.admin.UpdateWebhook(changed))).fields.keys() == {"webhook.url"}


async def test_a_name_that_leads_elsewhere_by_now_is_not_called(service, receiver):
    """What is connected to is looked at: a name that was public when the endpoint was made tells nothing."""
    endpoint_id = await service.owner.fetchval(
        "INSERT INTO ledger.webhook_endpoints"
        " (url, description, types, customers, request_id, fingerprint, passed)"
        " SELECT $1, '', '{}', '{}', $2, '', events FROM ledger.event_log RETURNING endpoint_id",
        f"https://localhost:{receiver.port}/hook",
        fresh(),
    )
    await service.new_customer(f"rebound_{fresh()}", granted=1)
    await until(partial(failed_once, service, endpoint_id))
    found = await webhook_of(service, endpoint_id)
    assert found.last_failure == "the URL leads to an address that is not public"
    assert receiver.received == []
    await service.admin.DeleteWebhook(admin.DeleteWebhookRequest(endpoint_id=endpoint_id))
