"""Ten times as many calls as a server can answer, from clients that do not wait for it.

Calls start at random instants over some connections, each of which takes as many at a time as the server lets
it; a call that finds no room on any is given up by its client at once. Each is a commit if a hold waits for
one, and a `Reserve` otherwise.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from ledger.v1 import credit_service_pb2 as pb
from tests.benchmarks import workload
from tests.benchmarks.flood import Ended, FloodClient, flood_client
from tests.benchmarks.load import Window

CONNECTIONS = 5
TIMES_CAPACITY = 10
_RESERVE = "/ledger.v1.CreditService/Reserve"
_COMMIT = "/ledger.v1.CreditService/CommitReservation"
_TURN_SECONDS = 0.001
_CALLS_A_TURN = 200
_LAST_ANSWERS_SECONDS = 5.0


@dataclass(slots=True)
class Outcome:
    """What came of the calls of a window."""

    offered: int = 0
    answered: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    """From sending a call to its answer, of those that were answered."""


class Flood:
    """Calls at a rate, whatever becomes of them."""

    def __init__(self, clients: list[FloodClient], whose: Iterator[str], window: Window) -> None:
        self._clients = clients
        self._whose = whose
        self._window = window
        self._holds: list[tuple[str, str]] = []
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
        if self._holds:
            customer, reservation_id = self._holds.pop()
            request = workload.commit(customer, reservation_id).SerializeToString()
            client.call(_COMMIT, request, self._committed(customer, reservation_id, counts=counts))
        else:
            customer = next(self._whose)
            request = workload.reserve(customer).SerializeToString()
            client.call(_RESERVE, request, self._reserved(customer, counts=counts))

    def _reserved(self, customer: str, *, counts: bool) -> Ended:
        def ended(answer: bytes | None, seconds: float) -> None:
            self._note(answer, seconds, counts=counts)
            if answer is not None:
                held = pb.ReserveResponse.FromString(answer).reservation
                self._holds.append((customer, held.reservation_id))

        return ended

    def _committed(self, customer: str, reservation_id: str, *, counts: bool) -> Ended:
        def ended(answer: bytes | None, seconds: float) -> None:
            self._note(answer, seconds, counts=counts)
            if answer is None:
                self._holds.append((customer, reservation_id))

        return ended

    def _note(self, answer: bytes | None, seconds: float, *, counts: bool) -> None:
        if answer is not None:
            self._window.count(1)
        if counts and answer is not None:
            self.outcome.answered += 1
            self.outcome.seconds.append(seconds)
        elif counts:
            self.outcome.refused += 1


async def flood(target: str, calls_per_second: float, whose: Iterator[str], window: Window) -> Outcome:
    """Offers so many calls a second to a public port. The window counts the answers."""
    clients = [await flood_client(target) for _ in range(CONNECTIONS)]
    try:
        load = Flood(clients, whose, window)
        await load.run(calls_per_second)
    finally:
        for client in clients:
            client.close()
    return load.outcome
