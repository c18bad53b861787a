"""`make bench COMPARE=<commit>`: what a pair and a call cost here, over what they cost at a commit.

Each side is an `acu-ledger serve` of its own checkout on a PostgreSQL of its own, under the load of this
checkout's client: the protos have to be compatible. What is timed is taken in turns, and medians are
compared. It is the time of processors, so a machine may do other work; a turn in which something is refused
for overload is taken again.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc.aio

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.v1 import wallet_service_pb2 as wallet
from tests.benchmarks import load, processor, workload
from tests.benchmarks.checkouts import DIRECTORY, Checkout, of_commit, this
from tests.benchmarks.code_lines import code_lines
from tests.benchmarks.counts import counts_of_pair
from tests.benchmarks.load import SPREAD
from tests.benchmarks.processes import postgres_cpu_seconds
from tests.benchmarks.ratios import Turns
from tests.benchmarks.report import Say
from tests.benchmarks.sizes import Size
from tests.benchmarks.stage import Service, service

_IN_FLIGHT = 2
"""Calls of 500: they cost a pair what four do, and little is refused on a busy machine."""
_GRANT_MICROS = 10**13
_WARM_PAIRS = 2_000
_TIMED = ("pair_cpu_us", "call_cpu_us", "pair_postgres_cpu_us")


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, and what was seen of it."""

    name: str
    checkout: Checkout
    turns: Turns = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """Of its PostgreSQL, new with each run."""
        return DIRECTORY / f"data-{self.name}"

    def log(self, name: str) -> Path:
        return DIRECTORY / f"{self.name}-{name}.log"

    def note(self, key: str, value: float) -> None:
        self.turns.setdefault(key, []).append(value)


async def compare(commit: str, size: Size, say: Say) -> list[Side]:
    """Both sides, first the commit's, with their figures."""
    sides = [Side("before", of_commit(commit, say)), Side("now", this())]
    for side in sides:
        side.note("code_lines", code_lines(side.checkout.directory))
        say(f"Counting the calls of {side.checkout.commit}")
        await _count(side, say)
    await _take_turns(sides, size, say)
    return sides


async def _count(side: Side, say: Say) -> None:
    """In a server for that alone: what is counted runs several times slower."""
    async with _blamed(side, "counted"), _data(side) as settings:
        found = await counts_of_pair(
            settings, side.log("counted"), side.checkout.python, side.checkout.directory, say, _make_customers
        )
    side.note("pair_python_calls", found.python_calls)
    side.note("pair_c_calls", found.c_calls)
    side.note("pair_text_bytes", found.text_bytes)


async def _take_turns(sides: list[Side], size: Size, say: Say) -> None:
    async with AsyncExitStack() as life:
        served = []
        for side in sides:
            await life.enter_async_context(_blamed(side, "server"))
            settings = await life.enter_async_context(_data(side))
            where = await life.enter_async_context(
                service(settings, side.log("server"), program=side.checkout.serve)
            )
            await _make_customers(where)
            await load.write_pairs(where.credits, load.customers(SPREAD), _WARM_PAIRS, each=1)
            served.append((side, where))
        for turn in range(size.compare_rounds):
            for side, where in served:
                async with _blamed(side, "server"):
                    await _take_turn(side, where, size, [each for _, each in served], say)
                timed = ", ".join(f"{key} {side.turns[key][-1]:,.0f}" for key in _TIMED)
                say(f"Turn {turn + 1} of {size.compare_rounds}, {side.checkout.commit}: {timed}")


async def _take_turn(side: Side, where: Service, size: Size, servers: list[Service], say: Say) -> None:
    """A turn of each load."""
    clocks = (where.server.cpu_seconds, partial(postgres_cpu_seconds, side.data))
    calls = partial(processor.call_us, where, SPREAD, size.seconds)
    pairs = partial(processor.pair_us, where, SPREAD, size.cpu_pairs, *clocks, in_flight=_IN_FLIGHT)

    async def rest() -> None:
        for each in servers:
            await each.server.settle()

    call = await load.carried_out(rest, calls, say)
    pair, postgres = await load.carried_out(rest, pairs, say)
    for key, value in zip(_TIMED, (pair, call, postgres), strict=True):
        side.note(key, value)


@asynccontextmanager
async def _data(side: Side) -> AsyncIterator[dict[str, str]]:
    """Settings of a server on an empty directory, which goes with it."""
    shutil.rmtree(side.data, ignore_errors=True)
    try:
        yield {"ACU_LEDGER_DATA_DIR": str(side.data)}
    finally:
        shutil.rmtree(side.data, ignore_errors=True)


@asynccontextmanager
async def _blamed(side: Side, log: str) -> AsyncIterator[None]:
    """Says of which side it is what a load could not do there."""
    try:
        yield
    except Exception as error:
        first = load.first_of(error)
        if isinstance(first, grpc.aio.AioRpcError):
            why = f"does not answer as this client calls it: {first.code().name} {first.details()}"
        elif isinstance(first, load.WorkError):
            why = f"does not carry out the load: {first}"
        elif isinstance(first, AssertionError):
            why = f"does not serve as this one does ({first})"
        else:
            raise
        raise SystemExit(f"{side.checkout.commit} {why}; see {side.log(log)}") from error


async def _make_customers(where: Service) -> None:
    """Those of the loads, by the back office: each with two grants, one of which will expire."""
    async with load.channel(where.server.back_office_target) as channel:
        office = AdminServiceStub(channel)
        for number_ in SPREAD:
            name = workload.customer_id(number_)
            customer = admin.Customer(customer_id=name, plan=workload.PLAN)
            await office.CreateCustomer(
                admin.CreateCustomerRequest(request_id=workload.request_id(), customer=customer)
            )
            for expires_at in (workload.in_a_year(), None):
                await office.IssueGrant(
                    admin.IssueGrantRequest(
                        request_id=workload.request_id(),
                        customer_id=name,
                        amount_micros=_GRANT_MICROS,
                        kind=wallet.GRANT_KIND_PAID,
                        paid_total_usd="100000",
                        expires_at=expires_at,
                    )
                )
