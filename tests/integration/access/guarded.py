"""A service that holds keys, its methods as their descriptors tell of them, and calls with a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import asyncpg
import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ledger.access.keys import Key
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.app import running
from ledger.settings import Settings
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import scope_pb2
from ledger.v1 import wallet_service_pb2 as wallet
from tests.amounts import CREDIT
from tests.calling import first_answer, fresh
from tests.databases import new_database
from tests.serving import UNHURRIED, settings_on

CONFIG = Path(__file__).parents[1] / "api" / "config"
KEYLESS = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


class Method(NamedTuple):
    """A method of the service."""

    channel: grpc.aio.Channel
    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def scope(self) -> str:
        number = self.descriptor.GetOptions().Extensions[scope_pb2.scope]
        return scope_pb2.Scope.Name(number).removeprefix("SCOPE_").lower()

    def request(self, **fields: Any) -> Message:
        return GetMessageClass(self.descriptor.input_type)(**fields)


class Answer(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    status: bytes
    """Serialized; empty where the call succeeded."""
    response: Any = None

    @property
    def reason(self) -> str:
        return self._info().reason

    @property
    def metadata(self) -> Mapping[str, str]:
        return dict(self._info().metadata)

    def _info(self) -> ErrorInfo:
        info = ErrorInfo()
        for detail in Status.FromString(self.status).details:
            detail.Unpack(info)
            if info.reason:
                break
        return info


@dataclass
class Guarded:
    """A running service."""

    owner: asyncpg.Connection
    methods: Mapping[str, Method]
    ops: str = ""
    """The first key."""

    async def call(self, name: str, key: str | None = None, /, **fields: Any) -> Answer:
        """Calls a method with a key."""
        return await self.ask(name, self.methods[name].request(**fields), _sent(key))

    async def ask(self, name: str, request: Message, metadata: Any) -> Answer:
        method = self.methods[name]
        deserialize = GetMessageClass(method.descriptor.output_type).FromString
        try:
            response = await first_answer(
                method.channel, method.descriptor, request, deserialize, metadata=metadata
            )
            return Answer(grpc.StatusCode.OK, b"", response)
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            status = trailing.get("grpc-status-details-bin", b"")
            return Answer(error.code(), status)

    async def make(self, *scopes: str, customers: tuple[str, ...] = (), **fields: Any) -> str:
        """A new key."""
        given = {"request_id": fresh(), "name": "+".join(scopes), "scopes": scopes, **fields}
        made = await self.call("CreateKey", self.ops, customer_ids=customers, **given)
        assert made.code is grpc.StatusCode.OK, made
        self.ops = self.ops or made.response.secret
        return made.response.secret

    async def takes(self, key: str) -> bool:
        """Whether a key of scope ops is let in."""
        return (await self.call("ListKeys", key)).code is grpc.StatusCode.OK

    async def refuses(self, key: str) -> bool:
        return not await self.takes(key)

    async def new_customer(self, customer_id: str) -> None:
        """A customer with 100 credits."""
        customer = admin.Customer(customer_id=customer_id, plan="standard")
        await self.call("CreateCustomer", self.ops, request_id=fresh(), customer=customer)
        await self.call(
            "IssueGrant",
            self.ops,
            request_id=fresh(),
            customer_id=customer_id,
            amount_micros=100 * CREDIT,
            kind=wallet.GRANT_KIND_PAID,
        )

    async def reserve(self, key: str, customer_id: str) -> str:
        """A new reservation's id."""
        made = await self.call(
            "Reserve", key, request_id=fresh(), customer_id=customer_id, amount_micros=CREDIT
        )
        return made.response.reservation.reservation_id

    async def charge(self, key: str, customer_id: str) -> str:
        """A new charge's id."""
        made = await self.call(
            "Charge", key, request_id=fresh(), customer_id=customer_id, amount_micros=CREDIT
        )
        return made.response.charge.charge_id


def _sent(key: str | None) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")] if key is not None else []


def unknown() -> str:
    """A key that nobody has."""
    return Key.draw().text


async def settings_of(postgres: EmbeddedPostgres, database: str) -> Settings:
    """Of a server on a new database."""
    return settings_on(await new_database(postgres, database), config_dir=CONFIG, webhooks_private=True)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Guarded]:
    """A server, and its methods by name."""
    async with running(settings, UNHURRIED) as stack, reached(stack, settings.database_url or "") as service:
        yield service


class Targets(Protocol):
    """Where a service is reached."""

    @property
    def public_target(self) -> str: ...
    @property
    def back_office_target(self) -> str: ...


@asynccontextmanager
async def reached(stack: Targets, database_url: str) -> AsyncIterator[Guarded]:
    """A service that runs, and its methods by name, as its own reflection lists them."""
    async with (
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        owner = await asyncpg.connect(database_url)
        methods: dict[str, Method] = {}
        for channel in (public, back_office):
            for service in await _services(channel):
                for method in Default().FindServiceByName(service).methods:
                    assert method.name not in methods
                    methods[method.name] = Method(channel, method)
        yield Guarded(owner, methods)
        await owner.close()


async def _services(channel: grpc.aio.Channel) -> list[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    answer = await anext(aiter(call))
    names = [service.name for service in answer.list_services_response.service]
    return [name for name in names if name not in KEYLESS]


OF_A_CUSTOMER: Mapping[str, dict[str, Any]] = {
    "Quote": {"usage": {}},
    "Check": {"amount_micros": CREDIT},
    "Reserve": {"request_id": "", "amount_micros": CREDIT},
    "ExtendReservation": {"request_id": "", "reservation_id": "", "amount_micros": CREDIT},
    "CommitReservation": {"request_id": "", "reservation_id": "", "amount_micros": CREDIT},
    "ReleaseReservation": {"request_id": "", "reservation_id": ""},
    "Charge": {"request_id": "", "amount_micros": CREDIT},
    "ReverseCharge": {"request_id": "", "charge_id": "", "reason": "a test"},
    "Refund": {"request_id": "", "charge_id": "", "reason": "a test"},
    "GetReservation": {"reservation_id": ""},
    "ListReservations": {},
    "GetCharge": {"charge_id": ""},
    "ListCharges": {},
    "GetBalance": {},
    "WatchBalance": {},
    "ListGrants": {},
    "ListTransactions": {},
    "GetBudgets": {},
    "ListEvents": {},
    "GetUsageReport": {"first_day": "2026-11-01", "last_day": "2026-11-02"},
    "GetStatement": {"month": "2026-11"},
    "GetPriceList": {},
    "CreateCustomerToken": {},
}
"""Requests of the methods that a bound key may call; what is empty is filled in for a customer."""
