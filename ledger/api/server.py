"""Servers: a port, the services behind it, their health and their descriptors.

Reflection tells only of the services of its own port: the public one does not know that the back office
exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc.aio
import structlog
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc  # type: ignore[import-untyped]

from ledger.access.table import Authorize
from ledger.admin.v1 import admin_service_pb2, admin_service_pb2_grpc
from ledger.api.admission import Admission
from ledger.api.call_boundary import Boundary
from ledger.api.messages import limits
from ledger.api.scopes import scopes_of
from ledger.finance.v1 import finance_service_pb2, finance_service_pb2_grpc
from ledger.v1 import (
    credit_service_pb2,
    credit_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)

if TYPE_CHECKING:
    from ledger.spans import Spans

DRAIN_SECONDS: Final = 20.0
"""How long calls may take to end once a server is asked to stop: longer than any write is retried inside."""

PAUSE_SECONDS: Final = 0.5
"""Between two attempts to listen on a port that gRPC has let go, and somebody else has taken."""

_OPTIONS: Final = (
    # Two processes on one port would share its calls without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.CALLS_OF_CONNECTION_MAX),
    # It counts calls that have just ended, and refuses a client that keeps to the limit.
    ("grpc.http.overload_protection", 0),
    ("grpc.server.max_pending_requests", limits.CALLS_UNSEEN_MAX),
    ("grpc.server.max_pending_requests_hard_limit", limits.CALLS_UNSEEN_HARD_MAX),
    ("grpc.max_connection_idle_ms", limits.IDLE_SECONDS * 1_000),
    ("grpc.max_connection_age_ms", limits.AGE_SECONDS * 1_000),
    ("grpc.max_connection_age_grace_ms", limits.AGE_GRACE_SECONDS * 1_000),
    ("grpc.keepalive_time_ms", limits.PING_SECONDS * 1_000),
    ("grpc.keepalive_timeout_ms", limits.PING_TIMEOUT_SECONDS * 1_000),
)

_log = structlog.get_logger(__name__)


class Service(NamedTuple):
    """A service and who serves it."""

    descriptor: ServiceDescriptor
    add: Callable[[Any, Any], None]
    servicer: object


def credit_service(servicer: credit_service_pb2_grpc.CreditServiceServicer) -> Service:
    """`ledger.v1.CreditService`."""
    descriptor = credit_service_pb2.DESCRIPTOR.services_by_name["CreditService"]
    return Service(descriptor, credit_service_pb2_grpc.add_CreditServiceServicer_to_server, servicer)


def wallet_service(servicer: wallet_service_pb2_grpc.WalletServiceServicer) -> Service:
    """`ledger.v1.WalletService`."""
    descriptor = wallet_service_pb2.DESCRIPTOR.services_by_name["WalletService"]
    return Service(descriptor, wallet_service_pb2_grpc.add_WalletServiceServicer_to_server, servicer)


def admin_service(servicer: admin_service_pb2_grpc.AdminServiceServicer) -> Service:
    """`ledger.admin.v1.AdminService`."""
    descriptor = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]
    return Service(descriptor, admin_service_pb2_grpc.add_AdminServiceServicer_to_server, servicer)


def finance_service(servicer: finance_service_pb2_grpc.FinanceServiceServicer) -> Service:
    """`ledger.finance.v1.FinanceService`."""
    descriptor = finance_service_pb2.DESCRIPTOR.services_by_name["FinanceService"]
    return Service(descriptor, finance_service_pb2_grpc.add_FinanceServiceServicer_to_server, servicer)


class ApiServer:
    """One port with its services."""

    def __init__(
        self,
        address: str,
        services: Sequence[Service],
        admission: Admission,
        connections_max: int,
        authorize: Authorize,
        credentials: Callable[[], grpc.ServerCredentials] | None = None,
        spans: Spans | None = None,
        port: limits.PortLimits = limits.PORT,
    ) -> None:
        """Prepares to serve at `host:port` (port 0: a free one), so many connections at a time.

        `credentials` makes those of TLS each time that the port is listened on; without them it is plaintext.

        Raises ScopeMissingError if a method does not say who may call it, and OSError, naming the address, if
        it cannot be listened on.
        """
        self._services = services
        self._authorize = authorize
        self._admission = admission
        self._spans = spans
        self._limits = port
        self._options = (
            *_OPTIONS,
            ("grpc.server_max_unrequested_time_in_server", port.unseen_seconds),
            ("grpc.server_handshake_timeout_ms", round(port.handshake_seconds * 1_000)),
            ("grpc.max_allowed_incoming_connections", connections_max),
        )
        self._descriptors = [service.descriptor for service in services]
        self._scopes = scopes_of(self._descriptors)
        self._names = [descriptor.full_name for descriptor in self._descriptors]
        self._health = health.aio.HealthServicer()
        self._server = self._make()
        self._host = address.rpartition(":")[0]
        self._credentials = credentials
        self._port = self._listen(address)
        self._keeping: asyncio.Task[None] | None = None
        self._draining = asyncio.Event()

    def _make(self) -> grpc.aio.Server:
        """A server with the services, that listens nowhere yet."""
        server = grpc.aio.server(options=self._options)
        boundary = Boundary(server, self._admission, self._authorize, self._scopes, self._spans, self._limits)
        for service in self._services:
            service.add(service.servicer, boundary)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, boundary)
        shown = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflector = reflection.aio.ReflectionServicer(shown, pool=_pool(self._descriptors))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflector, boundary)
        return server

    def _listen(self, address: str) -> int:
        """The port that is listened on. gRPC tells its reason to the process's standard error alone."""
        try:
            if self._credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._credentials())
        except RuntimeError as error:
            message = (
                f"cannot listen on {address}: it is in use, or no address of this machine;"
                " end what listens there, or choose another port"
            )
            raise OSError(message) from error

    @property
    def address(self) -> str:
        """Where the server listens, as host:port."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Begins to serve, and says so in its health."""
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._keeping = asyncio.create_task(self._keep(), name=f"keeper of {self.address}")

    async def _keep(self) -> None:
        """Serves on where gRPC has stopped by itself: a call whose path is no UTF-8 ends its loop.

        The calls in flight are cancelled, their writes are not. A peer that keeps its connection delays it by
        the 20 s after which gRPC cuts it.
        """
        while not self._draining.is_set():
            try:
                await self._server.wait_for_termination()
            except Exception as error:  # noqa: BLE001 -- whatever it was, the port is to be served
                _log.critical("port.ended", address=self.address, error=repr(error))
                await self._serve_anew()

    async def _serve_anew(self) -> None:
        while not self._draining.is_set():
            self._server = self._make()
            try:
                self._listen(self.address)
            except OSError as error:
                _log.critical("port.taken", address=self.address, error=str(error))
                await self._pause()
            else:
                await self._server.start()
                return

    async def _pause(self) -> None:
        """Not longer than until the server is asked to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._draining.wait()

    async def drain(self) -> None:
        """Says NOT_SERVING, takes no new call, and ends when those in flight have their answers."""
        self._draining.set()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(DRAIN_SECONDS)
        if self._keeping is not None:
            await self._keeping


def _pool(services: Sequence[ServiceDescriptor]) -> DescriptorPool:
    """The descriptors of these services, of what they are made of, and of their errors: nothing else."""
    pool = DescriptorPool()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        pool.AddSerializedFile(file.serialized_pb)

    for service in services:
        add(service.file)
    for details in (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR):
        add(details)
    add(health_pb2.DESCRIPTOR)
    add(reflection_pb2.DESCRIPTOR)
    return pool
