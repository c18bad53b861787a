"""What callers can hold open: connections, streams and calls have bounds, and others are served."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import grpc
import grpc.aio
import pytest
from api_world import anybody, refusal, unlimited
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ledger.api.messages import limits
from ledger.api.server import ApiServer, credit_service
from ledger.metrics.operations import OperationsMetrics
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1.credit_service_pb2_grpc import CreditServiceServicer, CreditServiceStub

BATCH = "/ledger.v1.CreditService/Batch"
CONNECTIONS = 10
PLACES = {"limit": "messages", "allowed": "1"}
ASKED = health_pb2.HealthCheckRequest()
SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


class NothingDone(CreditServiceServicer):
    """Answers any batch as one of which nothing is done."""

    async def Batch(self, request, context):  # noqa: N802 -- gRPC's
        return pb.BatchResponse()


@asynccontextmanager
async def serving(admission=None, services=(), **port):
    """A port with health and reflection, and what else is asked for; some of its limits may be others.

    However slow the machine is: no call waits for too long before it is begun.
    """
    admission = admission or unlimited(OperationsMetrics())
    bounds = limits.PORT._replace(unseen_seconds=3_600, **port)
    server = ApiServer("127.0.0.1:0", services, admission, CONNECTIONS, anybody, port=bounds)
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


async def test_reflection_has_a_bound():
    """Beyond it a stream is refused before it has asked anything."""
    async with serving(reflections=2, reflection_seconds=3_600.0) as (_, opened):
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        talks = [stub.ServerReflectionInfo() for _ in range(2)]
        for talk in talks:
            await talk.write(SERVICES)
            assert (await talk.read()).list_services_response.service
        assert await refused(stub.ServerReflectionInfo()) == "OVERLOADED"
        for talk in talks:
            talk.cancel()


async def test_a_talk_of_reflection_has_an_end():
    """A stream that asks nothing more ends with its time, and its place goes to the next."""
    async with serving(reflections=1, reflection_seconds=0.1) as (_, opened):
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ServerReflectionInfo().read()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(60):
            while True:
                again = stub.ServerReflectionInfo()
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    # Where the machine stands still its time may be over before it has asked.
                    await again.write(SERVICES)
                    assert (await again.read()).list_services_response.service
                    break


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


async def test_a_connection_that_says_nothing_is_let_go():
    """Until it speaks HTTP/2 it has the time of a handshake."""
    async with serving(handshake_seconds=0.3) as (server, _):
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()


async def test_calls_have_a_bound():
    """Calls beyond what a process bears are asked to come again, before anything is done for them."""
    metrics = OperationsMetrics()
    async with serving(unlimited(metrics, calls=limits.CALLS._replace(calls=3))) as (_, opened):
        metrics.calls.in_flight = 3
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(opened)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await settled(metrics, in_flight=3)
        metrics.calls.in_flight = 2
        assert await check(opened)
        await settled(metrics, in_flight=2)


def begun_batch(opened):
    """A call of `Batch` whose message does not come."""
    begin = opened.stream_unary(BATCH, request_serializer=pb.BatchRequest.SerializeToString)
    return asyncio.ensure_future(refusal(begin()))


def batches(**changed):
    """A port with room for the message of one batch, as limits and a service of `serving`."""
    arrivals = limits.BATCH_ARRIVALS._replace(at_once=1, seconds=3_600.0, crowded_seconds=3_600.0, **changed)
    return {"batches": arrivals, "services": (credit_service(NothingDone()),)}


async def test_a_batch_that_has_just_begun_keeps_its_place():
    """Where all places for messages are taken the next is refused: messages come in a moment."""
    async with serving(**batches(safe_seconds=3_600.0)) as (_, opened):
        begun = [begun_batch(opened) for _ in range(2)]
        [refused], [other] = await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        assert refused.result().metadata == PLACES
        assert not other.done()
        other.cancel()


async def test_batches_that_are_begun_and_not_sent_keep_none_out():
    """Where all places for messages are taken the oldest gives way to the next, unless it has just begun."""
    async with serving(**batches(safe_seconds=-1.0)) as (_, opened):
        ask, begun = CreditServiceStub(opened).Batch, begun_batch(opened)
        async with asyncio.timeout(60):
            while not begun.done():
                # What is begun may come after it, and take its place.
                with suppress(grpc.aio.AioRpcError):
                    await ask(pb.BatchRequest())
            assert await ask(pb.BatchRequest()) == pb.BatchResponse()
        assert begun.result().metadata == PLACES


async def test_who_keeps_to_the_bound_of_a_connection_is_refused_no_call():
    """A client sends what a connection does not take yet as places are left, and each call is answered."""
    async with serving() as (_, opened):

        async def ask():
            return [await check(opened) for _ in range(3)]

        answers = await asyncio.gather(*(ask() for _ in range(3 * limits.CALLS_OF_CONNECTION_MAX)))
        assert answers == [[True] * 3] * (3 * limits.CALLS_OF_CONNECTION_MAX)


async def settled(metrics, *, in_flight):
    """A caller has its answer before the call is counted as ended."""
    for _ in range(100_000):
        if metrics.calls.in_flight == in_flight:
            return
        await asyncio.sleep(0)
    raise AssertionError(metrics.calls.in_flight)
