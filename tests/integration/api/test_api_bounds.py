"""What callers can hold open: connections, streams and calls have bounds, and others are served."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import grpc
import grpc.aio
import pytest
from api_world import anybody, unlimited
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ledger.api.messages import limits
from ledger.api.server import ApiServer
from ledger.metrics.operations import OperationsMetrics

CONNECTIONS = 10
ASKED = health_pb2.HealthCheckRequest()
TOLD = reflection_pb2.ServerReflectionRequest(list_services="")


@asynccontextmanager
async def serving(metrics=None):
    """A port with health and reflection alone."""
    server = ApiServer("127.0.0.1:0", (), unlimited(metrics or OperationsMetrics()), CONNECTIONS, anybody)
    await server.start()
    try:
        async with channel(server) as opened:
            yield server, opened
    finally:
        await server.drain()


def channel(server):
    """A connection of its own."""
    return grpc.aio.insecure_channel(server.address, options=(("grpc.use_local_subchannel_pool", 1),))


async def check(opened, **how):
    answer = await health_pb2_grpc.HealthStub(opened).Check(ASKED, **how)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def refused(call):
    """The reason that a stream is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def test_watches_have_a_bound():
    """Beyond it a watch is refused, checks are answered, and a place that is left can be taken."""
    async with serving() as (_, opened):
        stub = health_pb2_grpc.HealthStub(opened)
        watches = [stub.Watch(ASKED) for _ in range(limits.WATCHES_MAX)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert await refused(stub.Watch(ASKED)) == "OVERLOADED"
        assert await check(opened)
        watches[0].cancel()
        async with asyncio.timeout(60):
            while True:
                again = stub.Watch(ASKED)
                with suppress(grpc.aio.AioRpcError):
                    await again.read()
                    break
        for watch in (*watches, again):
            watch.cancel()


async def test_reflection_has_a_bound_and_an_end(monkeypatch):
    """A stream that asks nothing more ends with its time, and its place goes to the next."""
    monkeypatch.setattr(limits, "REFLECTION_SECONDS", 0.5)
    async with serving() as (_, opened):
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        talks = [stub.ServerReflectionInfo() for _ in range(limits.REFLECTIONS_MAX)]
        for talk in talks:
            await talk.write(TOLD)
            assert (await talk.read()).list_services_response.service
        late = stub.ServerReflectionInfo()  # Asks nothing: it is refused before it could.
        assert await refused(late) == "OVERLOADED"
        for talk in talks:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await talk.read()
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        again = stub.ServerReflectionInfo()
        await again.write(TOLD)
        await again.done_writing()
        assert (await again.read()).list_services_response.service


async def test_connections_have_a_bound():
    """Beyond it a client is turned away, others are served, and a place that is left can be taken."""
    async with serving() as (server, first):
        assert await check(first)
        host, _, port = server.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(3 * CONNECTIONS)]
        turned_away = [reader for reader, _ in held if await said(reader) is None]
        assert len(turned_away) == 2 * CONNECTIONS + 1
        async with channel(server) as other:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(other)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await check(first)
        for _, writer in held:
            writer.close()
        async with channel(server) as other:
            assert await check(other, wait_for_ready=True, timeout=60)


async def said(reader):
    """What the server says first: its settings; None where it hangs up."""
    async with asyncio.timeout(60):
        try:
            return await reader.read(1) or None
        except ConnectionError:
            return None


async def test_a_connection_that_says_nothing_is_let_go(monkeypatch):
    """Until it speaks HTTP/2 it has the time of a handshake."""
    monkeypatch.setattr("ledger.api.server._OPTIONS", (("grpc.server_handshake_timeout_ms", 300),))
    async with serving() as (server, _):
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()


async def test_calls_have_a_bound(monkeypatch):
    """Calls beyond what a process bears are told to come again, before anything is done for them."""
    monkeypatch.setattr(limits, "CALLS_MAX", 3)
    metrics = OperationsMetrics()
    async with serving(metrics) as (_, opened):
        metrics.calls.in_flight = 3
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(opened)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await settled(metrics, in_flight=3)
        metrics.calls.in_flight = 2
        assert await check(opened)
        await settled(metrics, in_flight=2)


async def test_who_keeps_to_the_bound_of_a_connection_is_refused_no_call():
    """A client sends what a connection does not take yet as places are left, and each call is answered."""
    async with serving() as (_, opened):

        async def ask():
            return [await check(opened) for _ in range(10)]

        answers = await asyncio.gather(*(ask() for _ in range(3 * limits.CALLS_OF_CONNECTION_MAX)))
        assert answers == [[True] * 10] * (3 * limits.CALLS_OF_CONNECTION_MAX)


async def settled(metrics, *, in_flight):
    """A caller has its answer before the call is counted as ended."""
    for _ in range(100_000):
        if metrics.calls.in_flight == in_flight:
            return
        await asyncio.sleep(0)
    raise AssertionError(metrics.calls.in_flight)
