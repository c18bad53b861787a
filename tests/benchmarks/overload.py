"""Ten times as many calls as a server can answer, from clients that do not wait for it.

Calls start at random instants over some connections, each of which takes as many at a time as the server lets
it; a call that finds no room on any is given up by its client at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import perf_counter
from typing import NamedTuple

from ledger.client.channel import Access
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.benchmarks import workload
from tests.benchmarks.flood import FloodClient, flood_client
from tests.benchmarks.load import Window

CONNECTIONS = 5
BATCH_CONNECTIONS = 4
TIMES_CAPACITY = 10
_RESERVE = "/ledger.v1.CreditService/Reserve"
_COMMIT = "/ledger.v1.CreditService/CommitReservation"
_BATCH = "/ledger.v1.CreditService/Batch"
_BALANCE = "/ledger.v1.WalletService/GetBalance"
_TURN_SECONDS = 0.001
_CALLS_A_TURN = 200
_LAST_ANSWERS_SECONDS = 5.0
_OPEN = Access()


class Call(NamedTuple):
    """A call to be sent."""

    path: str
    message: bytes
    came: Callable[[bytes | None], int]
    """Takes its answer (None: it was refused); how much was carried out."""


@dataclass(slots=True)
class Outcome:
    """What came of the calls of a window."""

    offered: int = 0
    answered: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    """From sending a call to its answer, of those of which something was carried out."""


def pairs(whose: Iterator[str]) -> Iterator[Call]:
    """A commit if a hold waits for one, and a `Reserve` otherwise."""
    holds: list[tuple[str, str]] = []

    def reserved(customer: str, answer: bytes | None) -> int:
        if answer is None:
            return 0
        holds.append((customer, pb.ReserveResponse.FromString(answer).reservation.reservation_id))
        return 1

    def committed(hold: tuple[str, str], answer: bytes | None) -> int:
        if answer is None:
            holds.append(hold)
        return int(answer is not None)

    while True:
        if holds:
            hold = holds.pop()
            request = workload.commit(*hold).SerializeToString()
            yield Call(_COMMIT, request, partial(committed, hold))
        else:
            customer = next(whose)
            request = workload.reserve(customer).SerializeToString()
            yield Call(_RESERVE, request, partial(reserved, customer))


def batches(whose: Iterator[str], items: int) -> Iterator[Call]:
    """As many commits as a call takes if so many holds wait for one, and holds otherwise.

    A call that is refused is sent again as it was, as a client does: making each anew would take this process
    a third of a processor.
    """
    holds: list[tuple[str, str]] = []
    commits: list[Call] = []
    reserves: list[Call] = []

    def reserve() -> Call:
        customers = tuple(islice(whose, items))
        message = _message([pb.BatchItem(reserve=workload.reserve(each)) for each in customers])

        def came(answer: bytes | None) -> int:
            if answer is None:
                reserves.append(call)
                return 0
            made = [
                (customer, result.reserve.reservation.reservation_id)
                for customer, result in zip(customers, _results(answer), strict=True)
                if result.HasField("reserve")
            ]
            holds.extend(made)
            return len(made)

        call = Call(_BATCH, message, came)
        return call

    def commit() -> Call:
        of, holds[:items] = tuple(holds[:items]), ()
        message = _message([pb.BatchItem(commit=workload.commit(*hold)) for hold in of])

        def came(answer: bytes | None) -> int:
            if answer is None:
                commits.append(call)
                return 0
            is_done = [result.HasField("commit") for result in _results(answer)]
            holds.extend(hold for hold, done in zip(of, is_done, strict=True) if not done)
            return sum(is_done)

        call = Call(_BATCH, message, came)
        return call

    while True:
        if commits:
            yield commits.pop(0)
        elif len(holds) >= items:
            yield commit()
        else:
            yield reserves.pop(0) if reserves else reserve()


def _message(items: Sequence[pb.BatchItem]) -> bytes:
    return pb.BatchRequest(items=items).SerializeToString()


def _results(answer: bytes) -> Sequence[pb.BatchResult]:
    return pb.BatchResponse.FromString(answer).results


def balances(whose: Iterator[str]) -> Iterator[Call]:
    """Reads."""
    for customer in whose:
        request = wallet.GetBalanceRequest(customer_id=customer).SerializeToString()
        yield Call(_BALANCE, request, lambda answer: int(answer is not None))


class Flood:
    """Calls at a rate, whatever becomes of them."""

    def __init__(self, clients: list[FloodClient], calls: Iterator[Call], window: Window) -> None:
        self._clients = clients
        self._calls = calls
        self._window = window
        self._turn = 0
        self.outcome = Outcome()

    async def run(self, calls_per_second: float) -> None:
        """Until the window closes and the last answers are there."""
        chance = random.Random(1)  # noqa: S311 -- a schedule, not a secret
        intended = perf_counter()
        while self._window.is_open():
            for _ in range(_CALLS_A_TURN):
                if intended > perf_counter():
                    break
                self._offer()
                intended += chance.expovariate(calls_per_second)
            await asyncio.sleep(_TURN_SECONDS)
        await asyncio.sleep(_LAST_ANSWERS_SECONDS)

    def _offer(self) -> None:
        counts = perf_counter() >= self._window.start
        self.outcome.offered += counts
        self._turn += 1
        turns = (self._clients[(self._turn + n) % len(self._clients)] for n in range(len(self._clients)))
        client = next((each for each in turns if each.has_room), None)
        if client is None:
            return
        call = next(self._calls)

        def ended(answer: bytes | None, seconds: float) -> None:
            self._note(call.came(answer), seconds, counts=counts)

        client.call(call.path, call.message, ended)

    def _note(self, work: int, seconds: float, *, counts: bool) -> None:
        if work:
            self._window.count(work)
        if counts and work:
            self.outcome.answered += 1
            self.outcome.seconds.append(seconds)
        elif counts:
            self.outcome.refused += 1


async def flood(
    target: str,
    calls_per_second: float,
    calls: Iterator[Call],
    window: Window,
    *,
    connections: int = CONNECTIONS,
    access: Access = _OPEN,
) -> Outcome:
    """Offers so many calls a second to a public port. The window counts what is carried out."""
    clients = [await flood_client(target, access) for _ in range(connections)]
    try:
        load = Flood(clients, calls, window)
        await load.run(calls_per_second)
    finally:
        for client in clients:
            client.close()
    return load.outcome
