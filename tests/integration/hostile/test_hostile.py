"""Hostile input: whatever is sent, the service answers, keeps its books, and is never at fault.

`HOSTILE_CALLS` sets how many calls are made (20,000 unless told) and `HOSTILE_SEED` from where they start.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import asyncpg
import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from messages import flipped, random_message

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.app import Settings, Stack, running
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet

CALLS = int(os.environ.get("HOSTILE_CALLS", "20000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
IN_FLIGHT = 64
CONFIG = Path(__file__).parents[1] / "api" / "config"
PUBLIC = (
    credit.DESCRIPTOR.services_by_name["CreditService"],
    wallet.DESCRIPTOR.services_by_name["WalletService"],
)
BACK_OFFICE = (
    admin.DESCRIPTOR.services_by_name["AdminService"],
    finance.DESCRIPTOR.services_by_name["FinanceService"],
)
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
SLOW = ("VerifyJournal",)
"""Reads the whole journal at each call: sent rarely."""

Answer = tuple[grpc.StatusCode, bytes]


@pytest.fixture
async def stack(database_urls: object) -> AsyncIterator[Stack]:
    urls = database_urls
    settings = Settings(
        DATABASE_URL=urls.owner,  # type: ignore[attr-defined]
        reader_url=urls.reader,  # type: ignore[attr-defined]
        finance_url=urls.finance,  # type: ignore[attr-defined]
        writer_url=urls.writer,  # type: ignore[attr-defined]
        config_dir=CONFIG,
        public_port=0,
        back_office_port=0,
        operations_port=0,
        finance_port=0,
    )
    async with running(settings) as running_stack:
        yield running_stack


class Attacker:
    """Sends bytes to methods, and keeps what was answered."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._channels = {
            service: grpc.aio.insecure_channel(target)
            for services, target in ((PUBLIC, stack.public_target), (BACK_OFFICE, stack.back_office_target))
            for service in services
        }
        self._methods = [(service, method) for service in self._channels for method in service.methods]
        self.known: tuple[str, ...] = ("standard", "metered")
        self.codes: Counter[grpc.StatusCode] = Counter()

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def send(self, service: object, method: object, data: bytes) -> Answer:
        path = f"/{service.full_name}/{method.name}"  # type: ignore[attr-defined]
        call = self._channels[service].unary_unary(path)(data, timeout=60)  # type: ignore[index]
        try:
            return grpc.StatusCode.OK, await call
        except grpc.aio.AioRpcError as error:
            if error.code() in FAULTS:
                pytest.fail(f"{path} with {data!r}: {error!r}")
            return error.code(), b""

    async def attack(self) -> grpc.StatusCode:
        """One hostile call to a random method."""
        service, method = self._random.choice(self._methods)
        if method.name in SLOW and self._random.random() < 0.99:
            return grpc.StatusCode.OK
        shape = self._random.random()
        message = random_message(self._random, GetMessageClass(method.input_type), self.known)
        data = message.SerializeToString()
        if shape < 0.2:
            data = flipped(self._random, data)
        elif shape < 0.25:
            data = self._random.randbytes(self._random.randrange(200))
        code, answer = await self.send(service, method, data)
        self.codes[code] += 1
        if code is grpc.StatusCode.OK:
            self._learn(GetMessageClass(method.output_type).FromString(answer))
        return code

    async def good(self, request: Message) -> bytes:
        """A call in good faith, to the method that takes such a request."""
        service, method = next(
            (service, method) for service, method in self._methods if method.input_type is request.DESCRIPTOR
        )
        code, answer = await self.send(service, method, request.SerializeToString())
        assert code is grpc.StatusCode.OK
        return answer

    def _learn(self, answer: Message) -> None:
        """Ids that the service gave out are worth sending again."""
        for _, value in answer.ListFields():
            if isinstance(value, Message):
                self._learn(value)
            elif isinstance(value, str) and value.startswith(("rsv_", "chg_", "grt_")):
                self.known = (*self.known[-200:], value)


async def begin(attacker: Attacker) -> None:
    """Two customers with credits, so that some hostile calls get far."""
    for name in ("acme", "beta"):
        customer = admin.Customer(customer_id=name, plan="standard")
        await attacker.good(admin.CreateCustomerRequest(request_id="create", customer=customer))
        grant = admin.IssueGrantRequest(
            request_id="grant", customer_id=name, amount_micros=10**12, kind=wallet.GRANT_KIND_PAID
        )
        await attacker.good(grant)
        attacker.known = (*attacker.known, name, name, name)


async def effects(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    """How many writes have taken effect."""
    count = await connection.fetchval("SELECT count(*) FROM cell_00.entries WHERE request_id IS NOT NULL")
    return int(count)


@pytest.mark.timeout(900)
async def test_nothing_that_is_sent_is_a_fault(stack: Stack, database_url: str) -> None:
    """No INTERNAL, no crash; the books hold; and the service works on as before."""
    attacker = Attacker(stack, SEED)
    await begin(attacker)
    for _ in range(-(-CALLS // IN_FLIGHT)):
        await asyncio.gather(*(attacker.attack() for _ in range(IN_FLIGHT)))
    verified = finance.VerifyJournalResponse.FromString(await attacker.good(finance.VerifyJournalRequest()))
    assert verified.holds, verified.violations
    await attacker.good(wallet.GetBalanceRequest(customer_id="acme"))
    await attacker.close()
    assert attacker.codes[grpc.StatusCode.OK] > CALLS // 100, "too few calls got far enough to prove much"


async def test_a_refused_call_changes_nothing(stack: Stack, database_url: str) -> None:
    """Hostile calls one by one: whatever is refused leaves no write behind."""
    attacker = Attacker(stack, SEED + 1)
    await begin(attacker)
    connection = await asyncpg.connect(database_url)
    before = await effects(connection)
    for _ in range(500):
        code = await attacker.attack()
        after = await effects(connection)
        assert code is grpc.StatusCode.OK or after == before
        before = after
    await connection.close()
    await attacker.close()
