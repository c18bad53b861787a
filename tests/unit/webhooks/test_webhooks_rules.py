"""Where webhooks may lead, how they are signed, and when they are tried again."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from ledger.store.events.webhooks import QueuedEvent, WebhookSecret
from ledger.webhooks.addresses import AddressRefusedError, is_public, refuse_url, resolve
from ledger.webhooks.delivery import PAUSES, pause_after
from ledger.webhooks.sender import Sender, authorities, body_of, headers_of, shown
from tests.waiting import until

EVENT = QueuedEvent(
    number=12,
    customer=1,
    attempts=0,
    event_id="evt_1",
    customer_id="acme",
    customer_number=3,
    type="credit.balance.low",
    at=datetime(2026, 11, 29, 12, tzinfo=UTC),
    data='{"available_micros":"1"}',
)
FIRST, SECOND = WebhookSecret(bytes(range(32))), WebhookSecret(bytes(range(32, 64)))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104 -- an address to refuse
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
    ],
)
def test_addresses_that_are_not_public(address):
    """Loopback, link-local, private, shared, multicast and reserved ones, also within an address of IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    """What anybody on the Internet can reach."""
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "http://hooks.example.com",
        "ftp://hooks.example.com",
        "file:///etc/passwd",
        "https://",
        "https://user:password@hooks.example.com",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com:99999",
        "https://hooks.example.com:0",
        "https://hooks.example.com/\r\nx: y",
        "https://[::1",
        "https://hooks.example.com/" + "x" * 2_048,
    ],
)
def test_urls_that_are_refused_by_their_text(url):
    """No plain text, no passwords, nothing that could be read in two ways."""
    with pytest.raises(AddressRefusedError):
        refuse_url(url, private_allowed=False)


def test_where_a_url_leads():
    """To its host and port; without TLS only where that is allowed."""
    assert refuse_url("https://hooks.example.com/x?y=z", private_allowed=False) == ("hooks.example.com", 443)
    assert refuse_url("http://127.0.0.1:8080", private_allowed=True) == ("127.0.0.1", 8080)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "::1"])
async def test_names_of_loopback_are_refused(host):
    """Whatever it is written as: what it resolves to is looked at."""
    with pytest.raises(AddressRefusedError):
        await resolve(host, 443, private_allowed=False)


async def test_name_servers_that_do_not_answer_hold_up_no_other_host(monkeypatch):
    """However many endpoints wait for them; each has one look-up, which all its connections wait for."""
    answered, asked = Event(), Counter[str]()
    ask = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        asked[host] += 1
        if host == "silent.example.com":
            answered.wait()
            raise socket.gaierror
        return ask(host, *args, **kwargs)

    async def all_have_asked():
        return asked["silent.example.com"] >= len(senders)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    silent = "https://silent.example.com/hook"
    try:
        async with AsyncExitStack() as endpoints, asyncio.TaskGroup() as deliveries:
            senders = [
                await endpoints.enter_async_context(Sender(silent, authorities(), private_allowed=False))
                for _ in range(40)
            ]
            attempts = [
                deliveries.create_task(sender.failure_of(EVENT, (FIRST,)))
                for sender in senders
                for _ in "123"
            ]
            await until(all_have_asked)
            assert await resolve("127.0.0.1", 443, private_allowed=True) == ["127.0.0.1"]
            assert asked["silent.example.com"] == len(senders)
            answered.set()
    finally:
        answered.set()
    assert all(attempt.result() for attempt in attempts)


@pytest.mark.parametrize(
    ("begins", "goes_on", "failure"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "no status in 16 KiB"),
        (b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n", "no status in 16 KiB"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"and more of the body", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", b"and more of the body", "status 503"),
    ],
)
async def test_no_more_of_an_answer_is_read_than_its_beginning(begins, goes_on, failure):
    """Whichever part of it does not end; what its status is counts, once that has come."""

    async def answer(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(begins)
            while True:
                writer.write(goes_on * 1_000)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Sender(url, authorities(), private_allowed=True) as sender:
            assert await sender.failure_of(EVENT, (FIRST,)) == failure


def test_authorities_are_read_once():
    """It takes 75 ms, in which nobody is served; every event may bring every endpoint to work."""
    assert authorities() is authorities()


def test_a_receiver_verifies_with_either_secret():
    """A delivery has a signature of each secret in force, and of no other; the body is what was signed."""
    body = body_of(EVENT)
    headers = dict(headers_of(EVENT.event_id, body, (SECOND, FIRST), datetime.now(UTC)))
    for secret in (FIRST, SECOND):
        assert Webhook(shown(secret)).verify(body, headers) == json.loads(body)
    for wrong in (Webhook(bytes(32)), Webhook(shown(FIRST)[:-8] + "AAAAAAA=")):
        with pytest.raises(WebhookVerificationError):
            wrong.verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown(FIRST)).verify(body + b" ", headers)


def test_what_is_posted():
    """The event as both doors list it."""
    assert json.loads(body_of(EVENT)) == {
        "type": "credit.balance.low",
        "timestamp": "2026-11-29T12:00:00+00:00",
        "event_id": "evt_1",
        "customer_id": "acme",
        "number": 3,
        "data": {"available_micros": "1"},
    }


def test_a_secret_has_no_text():
    """It may come to stand in a log."""
    assert repr(FIRST) == "WebhookSecret()"


def test_tries_go_on_for_three_days():
    """Each pause is longer than the one before; after the last attempt the event is dead."""
    pauses = [pause_after(attempts) for attempts in range(len(PAUSES) + 1)]
    assert pauses[-1] is None
    least = sum(PAUSES, timedelta())
    assert timedelta(days=3) < least < timedelta(days=4)
    for pause, stated in zip(pauses, PAUSES, strict=False):
        assert stated <= pause <= stated * 1.1
    assert sorted(PAUSES) == list(PAUSES)
