"""Spans of calls and of the writes that carry them out, as OpenTelemetry's own exporters get them."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import grpc
import grpc.aio
import pytest
from api_world import CONFIG, CREDIT, World, refusal
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ledger import spans as spans_module
from ledger.app import running
from ledger.settings import Settings, spans_are_wanted
from ledger.spans import LINKS_MAX
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.keys import new_key
from tests.serving import UNHURRIED

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RESERVE = "ledger.v1.CreditService/Reserve"
BALANCE = "ledger.v1.WalletService/GetBalance"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Kept(InMemorySpanExporter):
    """Keeps them for the test."""

    def named(self, name):
        return [span for span in self.get_finished_spans() if span.name == name]

    @property
    def calls(self):
        return [span for span in self.get_finished_spans() if span.kind is SpanKind.SERVER]


@pytest.fixture
def stored(monkeypatch) -> Kept:
    """What servers send instead of by OTLP; all of it is there when a server has ended."""
    for name in ("TRACES_SAMPLER", "SDK_DISABLED", "TRACES_EXPORTER", "SERVICE_NAME"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    exporter = Kept()
    monkeypatch.setattr(spans_module, "OTLPSpanExporter", lambda: exporter)
    return exporter


@asynccontextmanager
async def serving(urls) -> AsyncIterator[World]:
    """A server on a database of the test's own, with a customer of a hundred credits."""
    ports = dict.fromkeys(("public_port", "back_office_port", "operations_port", "finance_port"), 0)
    settings = Settings(
        DATABASE_URL=urls.owner,
        reader_url=urls.reader,
        finance_url=urls.finance,
        writer_url=urls.writer,
        config_dir=CONFIG,
        **ports,
    )
    async with (
        running(settings, UNHURRIED) as stack,
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        owner = await asyncpg.connect(urls.owner)
        world = World(stack, public, back_office, owner)
        await world.new_customer("customer")
        yield world
        await owner.close()


def reserve(world, **metadata):
    request = pb.ReserveRequest(request_id=fresh(), customer_id="customer", amount_micros=CREDIT)
    return world.credit.Reserve(request, metadata=tuple(metadata.items()))


async def test_a_call_is_a_span_of_its_callers_trace(stored, database_urls):
    """By the conventions of RPC; its write is in the same trace, beneath it and linked to it."""
    async with serving(database_urls) as world:
        await reserve(world, traceparent=f"00-{TRACE}-{SPAN}-01")
    (call,) = stored.named(RESERVE)
    assert (call.kind, call.context.trace_id, call.parent.span_id) == (
        SpanKind.SERVER,
        int(TRACE, 16),
        int(SPAN, 16),
    )
    assert call.parent.is_remote
    assert dict(call.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "ledger.v1.CreditService",
        "rpc.method": "Reserve",
        "rpc.grpc.status_code": 0,
    }
    assert call.status.status_code is StatusCode.UNSET
    (write,) = [span for span in stored.named("write") if span.context.trace_id == int(TRACE, 16)]
    assert write.parent.span_id == call.context.span_id
    assert [link.context.span_id for link in write.links] == [call.context.span_id]
    assert dict(write.attributes) == {
        "db.system.name": "postgresql",
        "acu_ledger.cell": "cell_00",
        "acu_ledger.commands": 1,
        "acu_ledger.outcome": "written",
    }
    assert call.start_time <= write.start_time <= write.end_time
    assert call.resource.attributes["service.name"] == "acu-ledger"


async def test_statuses_without_a_word(stored, database_urls):
    """A refusal is an answer, a fault of the service an error; of neither a text is reported."""
    async with serving(database_urls) as world:
        await refusal(world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id="nobody")))
        await refusal(world.wallet.GetBalance(wallet.GetBalanceRequest()))
        await world.owner.execute("ALTER TABLE cell_00.lots RENAME TO broken")
        await refusal(world.wallet.ListGrants(wallet.ListGrantsRequest(customer_id="customer")))
        await world.owner.execute("ALTER TABLE cell_00.broken RENAME TO lots")
        await world.owner.execute(
            "ALTER TABLE cell_00.reservations ADD CONSTRAINT planted CHECK (false) NOT VALID"
        )
        await refusal(reserve(world))
    codes = [span.attributes["rpc.grpc.status_code"] for span in stored.named(BALANCE)]
    assert codes == [grpc.StatusCode.NOT_FOUND.value[0], grpc.StatusCode.INVALID_ARGUMENT.value[0]]
    faults = [*stored.named("ledger.v1.WalletService/ListGrants"), *stored.named(RESERVE)]
    assert [span.attributes["rpc.grpc.status_code"] for span in faults] == [13, 13]
    refused = [span for span in stored.named("write") if span.attributes["acu_ledger.outcome"] == "refused"]
    assert len(refused) == 2, "the batch, and what was in it alone"
    assert {span.name for span in stored.get_finished_spans() if not span.status.is_ok} == {
        span.name for span in (*faults, *refused)
    }
    for span in stored.get_finished_spans():
        assert not span.events
        assert not span.status.description


async def test_one_write_of_many_calls(stored, database_urls):
    """A write is linked to so many of its calls, and part of the trace of the first; a Batch is one call."""
    calls = LINKS_MAX + 8

    def waiting():
        with urllib.request.urlopen(world.stack.operations_url) as page:  # noqa: S310 -- ours
            return float(re.search(rb"\nacu_ledger_commands_waiting (\S+)", page.read())[1])

    async with serving(database_urls) as world:
        async with world.owner.transaction():
            await world.owner.execute("LOCK TABLE cell_00.wallets IN EXCLUSIVE MODE")
            first = asyncio.ensure_future(reserve(world, traceparent=f"00-{TRACE}-{SPAN}-01"))
            while await asyncio.to_thread(waiting) < 1:
                pass
            others = asyncio.gather(*(reserve(world) for _ in range(calls)))
            while await asyncio.to_thread(waiting) < 1 + calls:
                pass
        await asyncio.gather(first, others)
        item = pb.BatchItem(
            charge=pb.ChargeRequest(request_id=fresh(), customer_id="customer", amount_micros=1)
        )
        items = [item, pb.BatchItem.FromString(item.SerializeToString())]
        items[1].charge.request_id = fresh()
        await world.credit.Batch(pb.BatchRequest(items=items))
    writes = {span.attributes["acu_ledger.commands"]: span for span in stored.named("write")}
    assert len(writes[calls].links) == LINKS_MAX
    ids = {span.context.span_id for span in stored.named(RESERVE)}
    assert {link.context.span_id for link in writes[calls].links} <= ids
    assert writes[calls].parent == writes[calls].links[0].context
    (batch,) = stored.named("ledger.v1.CreditService/Batch")
    assert [link.context for link in writes[2].links] == [batch.context]


async def test_unsampled_traces_are_let_be(stored, database_urls):
    """Whose caller keeps no spans of a trace has none here, nor of its write; health has none at all."""
    async with serving(database_urls) as world:
        await reserve(world, traceparent=f"00-{TRACE}-{SPAN}-00")
        await health_pb2_grpc.HealthStub(world.public).Check(health_pb2.HealthCheckRequest())
        await reserve(world, traceparent="00-not-one")
    (call,) = stored.named(RESERVE)
    assert call.parent is None, "what cannot be read begins a trace"
    assert all(span.context.trace_id != int(TRACE, 16) for span in stored.get_finished_spans())
    assert not [span for span in stored.calls if span.name.startswith("grpc.")]


async def test_the_standard_sampler(stored, database_urls, monkeypatch):
    """OTEL_TRACES_SAMPLER is gone by, and a name of the service that the variables have."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "credits-eu")
    async with serving(database_urls) as world:
        await reserve(world)
        await reserve(world, traceparent=f"00-{TRACE}-{SPAN}-01")
    (call,) = stored.calls
    assert call.context.trace_id == int(TRACE, 16)
    assert call.resource.attributes["service.name"] == "credits-eu"


async def test_a_sampler_that_fails(stored, database_urls, monkeypatch):
    """Spans that cannot be made keep no call from its answer."""

    def fail(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr("opentelemetry.sdk.trace.sampling.ParentBased.should_sample", fail)
    async with serving(database_urls) as world:
        assert (await reserve(world)).reservation.reservation_id
    assert not stored.get_finished_spans()


async def test_a_span_has_the_id_of_a_key(stored, database_urls, database):
    """And never the key; whose key is not taken is nobody."""
    async with serving(database_urls) as world:
        key = await new_key(database, "backend", "wallet", "ops")
        request = wallet.GetBalanceRequest(customer_id="customer")
        codes = set()
        while grpc.StatusCode.UNAUTHENTICATED not in codes:
            try:
                await world.wallet.GetBalance(request)
            except grpc.aio.AioRpcError as error:
                codes.add(error.code())
        await world.wallet.GetBalance(request, metadata=(("authorization", f"Bearer {key.text}"),))
    keyless, with_key = stored.named(BALANCE)[-2:]
    assert "acu_ledger.key_id" not in keyless.attributes
    assert keyless.attributes["rpc.grpc.status_code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert with_key.attributes["acu_ledger.key_id"] == key.key_id
    assert not [span for span in stored.get_finished_spans() if key.text in span.to_json()]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({"EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "SDK_DISABLED": "TRUE"}, False),
        ({"EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "TRACES_EXPORTER": "none"}, False),
        ({"EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_when_spans_are_wanted(monkeypatch, variables, wanted):
    """An endpoint turns them on; what OpenTelemetry has for turning them off does so."""
    for name in (
        "EXPORTER_OTLP_ENDPOINT",
        "EXPORTER_OTLP_TRACES_ENDPOINT",
        "SDK_DISABLED",
        "TRACES_EXPORTER",
    ):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    assert spans_are_wanted() is wanted
