"""The ports: health, reflection, metrics, and calls that their callers give up."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import urllib.request
from operator import attrgetter

import grpc
import grpc.aio
import pytest
from api_world import CREDIT, anybody, refusal, tokens, unlimited, usage
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ledger.api.messages import limits
from ledger.api.server import ApiServer, finance_service
from ledger.doors.certificates import TlsFiles
from ledger.doors.tls import Tls
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest, VerifyJournalResponse
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceServicer, FinanceServiceStub
from ledger.metrics.operations import OperationsMetrics
from ledger.v1 import credit_service_pb2 as pb
from tests.calling import fresh
from tests.certificates import Authority

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLIC = ("ledger.v1.CreditService", "ledger.v1.WalletService")
BACK_OFFICE = ("ledger.admin.v1.AdminService", "ledger.finance.v1.FinanceService")


async def reflect(channel, **asked):
    request = reflection_pb2.ServerReflectionRequest(**asked)
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    return await anext(aiter(call))


async def test_each_port_and_service_is_healthy(world):
    """Each port is healthy as a whole and service by service, and knows no other service."""
    for channel, services in ((world.public, PUBLIC), (world.back_office, BACK_OFFICE)):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *services):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(world.public).Check(
            health_pb2.HealthCheckRequest(service=BACK_OFFICE[1])
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_each_port_reflects_its_own_services(world):
    """Each port tells of its own services; the public one does not know that the others exist."""
    for channel, services, others in (
        (world.public, PUBLIC, BACK_OFFICE),
        (world.back_office, BACK_OFFICE, PUBLIC),
    ):
        answer = await reflect(channel, list_services="")
        listed = {service.name for service in answer.list_services_response.service}
        assert listed >= set(services)
        assert not listed & set(others)
        for service in services:
            found = await reflect(channel, file_containing_symbol=service)
            files = found.file_descriptor_response.file_descriptor_proto
            names = {FileDescriptorProto.FromString(file).name for file in files}
            assert "ledger/v1/scope.proto" in names
    for hidden in BACK_OFFICE:
        answer = await reflect(world.public, file_containing_symbol=hidden)
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_services_are_on_their_own_ports(world, customer):
    """A method of the back office is unknown on the public port."""
    call = world.public.unary_unary("/ledger.admin.v1.AdminService/ListCustomers")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def scrape(world):
    with await asyncio.to_thread(urllib.request.urlopen, world.stack.operations_url) as response:
        return response.read().decode()


def sample(text, name, **labels):
    """One sample of a scrape; 0 if it is not there."""
    wanted = "".join(sorted(f'{key}="{value}"' for key, value in labels.items()))
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name and "".join(sorted((match[2] or "").split(","))) == wanted:
            return float(match[3])
    return 0.0


async def test_calls_are_counted_by_method_and_code(world):
    """Calls are counted and timed by method and code; what the engine and the pools do is shown."""
    labels = {"method": "ledger.v1.CreditService/Reserve"}
    before = await scrape(world)
    await world.reserve()
    await refusal(world.reserve(amount_micros=1_000 * CREDIT))
    after = await scrape(world)
    for code in ("OK", "FAILED_PRECONDITION"):
        for name in ("acu_ledger_rpcs_total", "acu_ledger_rpc_seconds_count"):
            counted = sample(after, name, code=code, **labels) - sample(before, name, code=code, **labels)
            assert counted == 1
    assert sample(after, "acu_ledger_batch_commands_count") > sample(
        before, "acu_ledger_batch_commands_count"
    )
    assert sample(after, "acu_ledger_commit_seconds_count") > sample(
        before, "acu_ledger_commit_seconds_count"
    )
    assert sample(after, "acu_ledger_rpcs_in_flight") == 0
    for name in ("commands_waiting", "conflicts_total", "sweeper_lag_seconds", "pool_connections"):
        assert f"\nacu_ledger_{name}" in after


async def test_metrics_have_no_unbounded_labels(world):
    """Unknown methods, customers and ids make no new series."""
    call = world.public.unary_unary(f"/ledger.v1.CreditService/{fresh()}")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(b"")
    methods = set(re.findall(r'method="([^"]*)"', await scrape(world)))
    assert all(method.startswith(("ledger.", "grpc.health.v1.Health/")) for method in methods)
    assert not any("req_" in method for method in methods)


async def test_large_messages(world, customer):
    """A request above the limit is refused by gRPC itself; nothing is decoded."""
    item = tokens("x" * (limits.MESSAGE_BYTES_MAX + 1))
    async with world.nothing_changed():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.charge(usage=usage(item))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_path_that_is_no_text(world, customer):
    """A call whose path is no UTF-8 ends gRPC's own loop: the port is served on, again and again."""
    for _ in range(3):
        await end_loop(world.stack.public_target)
        # A call on a connection of before may be cancelled with it, once.
        async with asyncio.timeout(60):
            while not await is_serving(world.public):
                pass
        request = pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=CREDIT)
        assert (await world.credit.Reserve(request, wait_for_ready=True)).sequence


async def end_loop(target, tls=None):
    """A call whose path is no UTF-8: gRPC's own loop ends by it, and its port with it."""
    host, _, port = target.rpartition(":")
    path = b"/ledger.\xf61.CreditService/GetBalance"
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"))
    fields = (*fields, (b"te", b"trailers"), (b"content-type", b"application/grpc"))
    block = b"".join(b"\x00" + b"".join(bytes([len(text)]) + text for text in field) for field in fields)
    settings, call = b"\0\0\0\4\0\0\0\0\0", len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1" + block
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + call)
    await reader.readuntil(b"Server shutdown")
    # At once: who says good-bye by TLS waits for an answer, and a port waits 20 s for a peer that stays.
    writer.transport.abort()


class Robbed(ApiServer):
    """Its port is taken by another when it is to be served anew, and is free at the next attempt."""

    thief: socket.socket | None = None
    robbed = False

    def _make(self):
        if self.thief is not None:
            self.thief.close()
        elif hasattr(self, "_port"):
            self.robbed = True
            host, _, port = self.address.rpartition(":")
            self.thief = socket.create_server((host, int(port)))
        return super()._make()


async def test_a_port_that_is_taken_meanwhile():
    """Where gRPC has let a port go and another has taken it, it is asked for until it is free."""
    server = Robbed("127.0.0.1:0", (), unlimited(OperationsMetrics()), 100, anybody)
    await server.start()
    await end_loop(server.address)
    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(60):
        while not await is_serving(channel):
            pass
    assert server.robbed
    await server.drain()


async def test_a_port_of_tls_that_is_served_anew(tmp_path):
    """Where gRPC has let a port go it comes back by TLS, with the certificate that is in force by then."""
    authority = Authority(tmp_path)
    pair = authority.issue("tls")
    tls = Tls(TlsFiles(pair.certificate, pair.key, None, None), OperationsMetrics())
    server = ApiServer(
        "127.0.0.1:0", (), unlimited(OperationsMetrics()), 100, anybody, tls.credentials(attrgetter("public"))
    )
    await server.start()
    context = ssl.create_default_context(cafile=authority.file)
    context.set_alpn_protocols(["h2"])
    other = Authority(tmp_path)
    other.issue("tls")
    tls.step()
    await end_loop(server.address, context)
    tls.step()
    credentials = grpc.ssl_channel_credentials(other.file.read_bytes())
    async with grpc.aio.secure_channel(server.address, credentials) as channel, asyncio.timeout(60):
        while not await is_serving(channel):
            pass
    await server.drain()


class Slow(FinanceServiceServicer):
    """Answers when it may."""

    def __init__(self):
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def VerifyJournal(self, request, context):  # noqa: N802 -- gRPC's
        self.began.set()
        await self.may_end.wait()
        return VerifyJournalResponse(entries=7)


async def test_a_drain():
    """Health says NOT_SERVING, connections are sent away, and a call in flight ends with its answer."""
    slow = Slow()
    server = ApiServer("127.0.0.1:0", [finance_service(slow)], unlimited(OperationsMetrics()), 100, anybody)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(60):
        reported = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await reported.read()).status == health_pb2.HealthCheckResponse.SERVING
        in_flight = asyncio.ensure_future(FinanceServiceStub(channel).VerifyJournal(VerifyJournalRequest()))
        await slow.began.wait()
        drain = asyncio.create_task(server.drain())
        assert (await reported.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reported.cancel()
        # Who was sent away connects anew, and finds nobody.
        nobody = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        while (state := channel.get_state(try_to_connect=True)) is not nobody:
            await channel.wait_for_state_change(state)
        assert not in_flight.done()
        slow.may_end.set()
        assert (await in_flight).entries == 7
        await drain


async def is_serving(channel):
    health = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE):
            raise
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_deadline_ends_the_wait_and_not_the_write(world, customer):
    """A caller that gives up is let go at once; what it asked for is done all the same, once."""
    request = pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=CREDIT)
    async with world.owner.transaction():
        await world.owner.execute(
            "SELECT 1 FROM cell_00.wallets w JOIN ledger.customers c USING (customer)"
            " WHERE c.customer_id = $1 FOR UPDATE OF w",
            customer,
        )
        seconds = 0.2
        while not await world.owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await world.credit.Reserve(request, timeout=seconds)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            seconds *= 2  # A machine that is too slow to come to it before has time the next time.
    again = await world.credit.Reserve(request)
    assert again.replayed
    assert await world.balance() == pb.Balance(available_micros=99 * CREDIT, held_micros=CREDIT)
