"""The log of a server: an object a line, whoever logs, with whose call it was; and spans that go nowhere."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing

import asyncpg
import grpc.aio
import pytest
from api_world import CONFIG, World, refusal

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.spans import FLUSH_SECONDS
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.keys import new_key

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SLACK_SECONDS = 60.0
"""Of a server that ends on a busy machine, beside its spans."""


def objects(served):
    """What was logged, line by line; each is an object."""
    logged = [json.loads(line) for line in served.log().splitlines()]
    assert all(isinstance(each, dict) for each in logged)
    return logged


def of(served, event):
    return [each for each in objects(served) if each["event"] == event]


@pytest.fixture
async def key(database):
    """A key that may do all of the public door."""
    return await new_key(database, "backend", "wallet", "ops")


@pytest.fixture
def no_spans(monkeypatch):
    """The variables of spans as the test has them."""
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "TIMEOUT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


async def fail(served, owner, key):
    """A call whose write the database refuses, with all that a caller says of itself."""
    metadata = (("authorization", f"Bearer {key.text}"), ("traceparent", f"00-{TRACE}-{SPAN}-01"))
    async with (
        grpc.aio.insecure_channel(served.public) as public,
        grpc.aio.insecure_channel(served.back_office) as back_office,
    ):
        world = World(served, public, back_office, owner)
        customer = admin.Customer(customer_id="customer", plan="standard")
        create = admin.CreateCustomerRequest(request_id=fresh(), customer=customer)
        await world.admin.CreateCustomer(create, metadata=metadata)
        await owner.execute("ALTER TABLE cell_00.entries ADD CONSTRAINT planted CHECK (false) NOT VALID")
        grant = admin.IssueGrantRequest(
            request_id="req_of_the_fault",
            customer_id="customer",
            amount_micros=1,
            kind=wallet.GRANT_KIND_PROMO,
        )
        assert (await refusal(world.admin.IssueGrant(grant, metadata=metadata))).reason == "INTERNAL"
        await owner.execute("ALTER TABLE cell_00.entries DROP CONSTRAINT planted")
        await owner.execute("ALTER TABLE cell_00.lots RENAME TO broken")
        grants = wallet.ListGrantsRequest(customer_id="customer")
        assert (await refusal(world.wallet.ListGrants(grants, metadata=metadata))).reason == "INTERNAL"
        await owner.execute("ALTER TABLE cell_00.broken RENAME TO lots")


async def test_a_fault_says_whose_it_was(serve, database_urls, database, key, no_spans):
    """With the ids of the request, the key and the trace that was sent; the traceback is a field."""
    owner = await asyncpg.connect(database_urls.owner)
    with serve(database_urls, CONFIG) as served:
        await fail(served, owner, key)
    await owner.close()
    write, read = of(served, "rpc.fault")
    for fault in (read, write):
        assert (fault["key_id"], fault["trace_id"], fault["span_id"]) == (key.key_id, TRACE, SPAN)
        assert "Traceback" in fault["exception"]
    (alone,) = [each for each in of(served, "write.refused") if each["alone"]]
    for each in (write, alone):
        assert (each["request_id"], each["trace_id"]) == ("req_of_the_fault", TRACE)
    assert "request_id" not in read
    assert key.text not in served.log()
    assert of(served, "server.draining")


async def test_a_fault_is_found_by_its_span(serve, database_urls, database, key, no_spans, monkeypatch):
    """Where calls are spans, the log names the call's own."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    owner = await asyncpg.connect(database_urls.owner)
    with serve(database_urls, CONFIG) as served:
        await fail(served, owner, key)
    await owner.close()
    faults = of(served, "rpc.fault")
    assert {fault["trace_id"] for fault in faults} == {TRACE}
    assert len({fault["span_id"] for fault in faults} - {SPAN}) == 2


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "no url at all", "http://nobody:secret@127.0.0.1:1"]
)
async def test_a_receiver_that_is_not_there(serve, database_urls, no_spans, monkeypatch, endpoint):
    """Calls are answered, and it is said once; the server ends as it would."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    with serve(database_urls, CONFIG) as served:
        async with grpc.aio.insecure_channel(served.public) as public:
            world = World(served, public, public, None)
            said = []
            while not said:
                nobody = wallet.GetBalanceRequest(customer_id="nobody")
                assert (await refusal(world.wallet.GetBalance(nobody))).reason == "CUSTOMER_NOT_FOUND"
                said = of(served, "spans.not_sent")
            for _ in range(20):
                await refusal(world.wallet.GetBalance(nobody))
    assert len(of(served, "spans.not_sent")) == 1
    assert of(served, "spans.not_sent")[0]["why"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert not of(served, "library")
    assert "secret" not in served.log()


async def test_a_receiver_that_says_nothing(serve, database_urls, no_spans, monkeypatch):
    """The last spans are waited for so long, and no longer."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        with serve(database_urls, CONFIG) as served:
            async with grpc.aio.insecure_channel(served.public) as public:
                world = World(served, public, public, None)
                await refusal(world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id="nobody")))
            began = time.monotonic()
        assert time.monotonic() - began < FLUSH_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORTER_OTLP_TIMEOUT", "soon"),
        ("EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
async def test_variables_that_cannot_be_gone_by(serve, database_urls, no_spans, monkeypatch, name, value):
    """The server serves without spans, and says why, once."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(f"OTEL_{name}", value)
    with serve(database_urls, CONFIG) as served:
        async with grpc.aio.insecure_channel(served.public) as public:
            world = World(served, public, public, None)
            await refusal(world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id="nobody")))
    (off,) = of(served, "spans.off")
    assert "ValueError" in off["error"]


async def test_libraries_log_objects_too(serve, database_urls, no_spans, monkeypatch):
    """What a library warns of is an object with its name: of a header that it cannot read not a word."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "no_such_sampler")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "hushed and malformed")
    with serve(database_urls, CONFIG) as served:
        pass
    (warning,) = of(served, "library")
    assert "no_such_sampler" in warning["said"]
    assert warning["logger"] == "opentelemetry.sdk.trace.sampling"
    assert "hushed" not in served.log()
