"""Hostile input: whatever is sent, the service answers, keeps its books, and is never at fault.

`HOSTILE_CALLS` sets how many calls are made (20,000 by default) and `HOSTILE_SEED` from where they start.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from calls import CALLS as MALFORMED
from calls import Target, connection
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from messages import flipped, random_message, unknown_field
from tables import Tables
from wire import exchange

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import first_answer

CALLS = int(os.environ.get("HOSTILE_CALLS", "20000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
WATCHED_CALLS = CALLS // 40
"""After each of them all tables are read."""
MALFORMED_CALLS = CALLS // 20
"""Each on a connection of its own."""
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
CODES_OF_FAULTS = re.compile(r'code="(INTERNAL|UNKNOWN|UNAVAILABLE)"')
OK = 0
SLOW = ("VerifyJournal",)
"""Reads the whole journal at each call: sent rarely."""
MESSAGE_BYTES_MAX = 4 << 20
WALLET_BYTES_MAX = 64 << 10
WAIT_SECONDS = 1.0
"""For a status; a server owes none to a stream that does not go on."""
GROWTH_MAX = 1.05
"""Of the last quarter over the third: in the first half each thread takes what it will keep."""
MEMORY_SAMPLES = 10
READS = (wallet.GetBalanceRequest(customer_id="acme"), admin.GetCustomerRequest(customer_id="acme"))

Answer = tuple[grpc.StatusCode, bytes]


@pytest.fixture
def served(serve: Any, database_urls: Any) -> Iterator[Any]:
    """A process of its own, which may not end and whose log may tell of no fault."""
    with serve(database_urls, CONFIG) as running:
        yield running
        assert running.process.poll() is None
        assert not CODES_OF_FAULTS.search(running.operations_metrics())
        assert '"level": "error"' not in running.log()
        assert '"level": "critical"' not in running.log()


class Attacker:
    """Sends bytes to methods, and keeps what was answered."""

    def __init__(self, served: Any, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self.targets = {
            service: target
            for services, target in ((PUBLIC, served.public), (BACK_OFFICE, served.back_office))
            for service in services
        }
        options = [("grpc.max_send_message_length", -1)]
        self._channels = {
            service: grpc.aio.insecure_channel(target, options) for service, target in self.targets.items()
        }
        self.methods = [(service, method) for service in self._channels for method in service.methods]
        self.known: tuple[str, ...] = ("standard", "metered")
        self.codes: Counter[grpc.StatusCode] = Counter()

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def send(self, service: Any, method: Any, data: bytes) -> Answer:
        try:
            return grpc.StatusCode.OK, await first_answer(self._channels[service], method, data)
        except grpc.aio.AioRpcError as error:
            if error.code() in FAULTS:
                pytest.fail(f"{method.full_name} with {data[:1000]!r}: {error!r}")
            return error.code(), b""

    async def attack(self) -> grpc.StatusCode:
        """One hostile call to a random method."""
        service, method = self.random.choice(self.methods)
        if method.name in SLOW and self.random.random() < 0.99:
            return grpc.StatusCode.OK
        shape = self.random.random()
        message = random_message(self.random, GetMessageClass(method.input_type), self.known)
        data = message.SerializeToString()
        if shape < 0.2:
            data = flipped(self.random, data)
        elif shape < 0.25:
            data = self.random.randbytes(self.random.randrange(200))
        code, answer = await self.send(service, method, data)
        self.codes[code] += 1
        if code is grpc.StatusCode.OK:
            self._learn(GetMessageClass(method.output_type).FromString(answer))
        return code

    async def attack_often(self, calls: int) -> None:
        """So many hostile calls, some of them at once."""
        for _ in range(-(-calls // IN_FLIGHT)):
            await asyncio.gather(*(self.attack() for _ in range(IN_FLIGHT)))

    async def good(self, request: Message, size_bytes: int = 0) -> bytes:
        """A call in good faith, to the method that takes such a request; of a size, if one is asked for."""
        service, method = self.method_of(request)
        data = request.SerializeToString()
        if size_bytes:
            data += unknown_field(size_bytes - len(data))
        code, answer = await self.send(service, method, data)
        assert code is grpc.StatusCode.OK
        return answer

    def method_of(self, request: Message) -> tuple[Any, Any]:
        """The service and the method that take such a request."""
        return next(each for each in self.methods if each[1].input_type is request.DESCRIPTOR)

    def _learn(self, answer: Message) -> None:
        """Ids that the service gave out are worth sending again."""
        for _, value in answer.ListFields():
            if isinstance(value, Message):
                self._learn(value)
            elif isinstance(value, str) and value.startswith(("rsv_", "chg_", "grt_")):
                self.known = (*self.known[-200:], value)


@asynccontextmanager
async def attacking(served: Any, seed: int) -> AsyncIterator[Attacker]:
    """An attacker, and two customers with credits, so that some hostile calls get far.

    In the end the books have to hold, and the service works on as before.
    """
    attacker = Attacker(served, seed)
    for name in ("acme", "beta"):
        customer = admin.Customer(customer_id=name, plan="standard")
        await attacker.good(admin.CreateCustomerRequest(request_id="create", customer=customer))
        grant = admin.IssueGrantRequest(
            request_id="grant", customer_id=name, amount_micros=10**12, kind=wallet.GRANT_KIND_PAID
        )
        await attacker.good(grant)
        attacker.known = (*attacker.known, name, name, name)
    yield attacker
    verified = finance.VerifyJournalResponse.FromString(await attacker.good(finance.VerifyJournalRequest()))
    assert verified.holds, verified.violations
    await attacker.good(wallet.GetBalanceRequest(customer_id="acme"))
    await attacker.close()


async def memory_under_attack(served: Any, attacker: Attacker, calls: int) -> float:
    """Its memory while so many calls are made: the median, as one of them may need megabytes for a moment."""
    samples = []
    for _ in range(MEMORY_SAMPLES):
        await attacker.attack_often(calls // MEMORY_SAMPLES)
        samples.append(served.resident_bytes())
    return median(samples)


@asynccontextmanager
async def tables_of(url: str) -> AsyncIterator[Tables]:
    """The tables of a database."""
    connection = await asyncpg.connect(url)
    yield await Tables.of(connection)
    await connection.close()


@pytest.mark.timeout(300 + CALLS // 50)
async def test_nothing_that_is_sent_is_a_fault(served: Any) -> None:
    """No INTERNAL, no crash; the books hold; the service works on as before, in the same memory."""
    async with attacking(served, SEED) as attacker:
        await attacker.attack_often(CALLS // 2)
        third, last = [await memory_under_attack(served, attacker, CALLS // 4) for _ in range(2)]
        assert last <= third * GROWTH_MAX
        assert attacker.codes[grpc.StatusCode.OK] > CALLS // 100, "too few calls got far enough to prove much"


@pytest.mark.timeout(120 + WATCHED_CALLS)
async def test_a_refused_call_changes_nothing(served: Any, database_url: str) -> None:
    """Hostile calls one by one: what is refused leaves every table as it was."""
    async with attacking(served, SEED + 1) as attacker, tables_of(database_url) as tables:
        before, due = await tables.digest(), await tables.by_the_clock()
        unchanged = 0
        for _ in range(WATCHED_CALLS):
            code = await attacker.attack()
            after, due_after = await tables.digest(), await tables.by_the_clock()
            if code is not grpc.StatusCode.OK and due_after == due:
                assert after == before
                unchanged += 1
            before, due = after, due_after
    assert unchanged > WATCHED_CALLS // 3


@pytest.mark.timeout(120 + MALFORMED_CALLS)
async def test_a_call_against_the_rules_of_its_transport_changes_nothing(
    served: Any, database_url: str
) -> None:
    """Half-closed, cut, mislabelled, or no HTTP/2 at all: every table stays as it was.

    gRPC itself answers most of these, some as INTERNAL; what it lets through is no fault of the service's.
    """
    async with attacking(served, SEED + 2) as attacker, tables_of(database_url) as tables:
        before = await tables.digest()
        limit = asyncio.Semaphore(IN_FLIGHT)
        statuses: Counter[int | None] = Counter()

        async def send(target: str, data: bytes, *, hang_up: bool) -> None:
            async with limit:
                statuses[await exchange(target, data, hang_up=hang_up, wait_seconds=WAIT_SECONDS)] += 1

        sent = []
        for number in range(MALFORMED_CALLS):
            service, target = _target(attacker)
            data = connection(attacker.random, [*MALFORMED][number % len(MALFORMED)], target)
            hang_up = attacker.random.random() < 0.2
            sent.append(send(attacker.targets[service], data, hang_up=hang_up))
        await asyncio.gather(*sent)
        assert await tables.digest() == before
        assert statuses[OK] > MALFORMED_CALLS // 100, "too few calls got far enough to prove much"


async def test_an_oversize_message_is_refused_by_every_method(served: Any, database_url: str) -> None:
    """A byte more than is allowed: RESOURCE_EXHAUSTED, and nothing is written; the limit itself is taken."""
    async with attacking(served, SEED + 3) as attacker, tables_of(database_url) as tables:
        before = await tables.digest()
        too_large = unknown_field(MESSAGE_BYTES_MAX + 1)
        answers = await asyncio.gather(*(attacker.send(*method, too_large) for method in attacker.methods))
        assert {code for code, _ in answers} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await attacker.good(READS[0], WALLET_BYTES_MAX)
        await attacker.good(READS[1], MESSAGE_BYTES_MAX)
        assert await tables.digest() == before


def _target(attacker: Attacker) -> tuple[Any, Target]:
    """A read in good faith, or any request to any method."""
    if attacker.random.random() < 0.5:
        request: Message = attacker.random.choice(READS)
        service, method = attacker.method_of(request)
    else:
        service, method = attacker.random.choice(attacker.methods)
        request = random_message(attacker.random, GetMessageClass(method.input_type), attacker.known)
    path = f"/{service.full_name}/{method.name}"
    return service, Target(path, request.SerializeToString(), request in READS)
