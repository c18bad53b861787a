"""Recovery: what earlier processes, and ended sessions, left without an answer is sent as it was.

Each file of the journal's directory that no process has open is taken over, its writes are sent under their
own request ids, and it is removed when all have their answers. So nothing is lost, and nothing is charged
twice, however often a process dies at it. A commit after its reservation has expired is taken as a late
one; where the reservation is closed, a charge takes its place (`already_used`), which the journal says
before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from ledger.client.amounts import credits_of
from ledger.client.delivery import Delivery
from ledger.client.errors import CreditsError, Refused
from ledger.client.journal import Journal, left_in
from ledger.client.outbox import Outbox, Settling
from ledger.v1.usage_pb2 import UsageItem

TURNS_MAX: Final = 64
"""Reservations whose writes are sent at once: they travel together."""


class RefusedUsage(NamedTuple):
    """Usage that the ledger does not take: it stays in the journal until it is taken, or given up."""

    request_id: str
    customer_id: str
    usage: tuple[UsageItem, ...]
    error: Refused


class Recovery(NamedTuple):
    """What became of what was left."""

    charged: Decimal
    """Credits that were collected, by this process or by one before it that did not get the answer."""
    items: int
    """Items of usage that are charged."""
    refused: tuple[RefusedUsage, ...]
    given_up: tuple[str, ...]
    """Request ids of what was dropped as the caller said."""


class _Recovered:
    """What has become of what was left, so far."""

    def __init__(self, give_up: Collection[str]) -> None:
        self.give_up = give_up
        self.charged_micros = 0
        self.items = 0
        self.refused: list[RefusedUsage] = []
        self.given_up: list[str] = []

    def count(self, settling: Settling, outbox: Outbox) -> None:
        """Counts what became of a write."""
        for write, answer in settling.answers:
            charge = answer.charge.charge if answer.HasField("charge") else answer.commit.charge
            self.charged_micros += charge.charged_micros
            self.items += len(write.items)
        for write, error in settling.refused:
            if write.request_id in self.give_up:
                outbox.drop(write)
                self.given_up.append(write.request_id)
            else:
                left = RefusedUsage(write.request_id, write.customer_id, tuple(write.items), error)
                self.refused.append(left)


async def recover(delivery: Delivery, directory: Path | None, give_up: Collection[str]) -> Recovery:
    """Sends what was left. Raises CreditsError where something has no answer yet: all that has none stays."""
    recovered = _Recovered(give_up)
    troubles: list[CreditsError] = []
    await _recover_sessions(delivery, recovered, troubles)
    for path in left_in(directory) if directory is not None else ():
        await _recover_file(path, delivery, recovered, troubles)
    if troubles:
        raise troubles[0]
    return Recovery(
        credits_of(recovered.charged_micros),
        recovered.items,
        tuple(recovered.refused),
        tuple(recovered.given_up),
    )


async def _recover_sessions(delivery: Delivery, recovered: _Recovered, troubles: list[CreditsError]) -> None:
    """Sends what sessions of this process have left."""
    turns = delivery.take_left()
    await _in_turns(turns, delivery, delivery.outbox, recovered, troubles)
    for turn in turns:
        delivery.leave([settling for settling in turn if settling.waiting])
        for settling in turn:
            settling.refused = [
                each for each in settling.refused if each[0].request_id not in recovered.give_up
            ]
            delivery.refuse(settling)


async def _recover_file(
    path: Path, delivery: Delivery, recovered: _Recovered, troubles: list[CreditsError]
) -> None:
    """Sends what a process has left in its file, which goes when nothing of it is left."""
    try:
        journal = Journal.adopt(path)
    except CreditsError as error:
        troubles.insert(0, error)
        return
    if journal is None:
        return
    outbox = Outbox(journal)
    try:
        turns = [[Settling(outbox, write) for write in turn] for turn in outbox.in_turns()]
        await _in_turns(turns, delivery, outbox, recovered, troubles)
    finally:
        outbox.close()


async def _in_turns(
    turns: Iterable[Sequence[Settling]],
    delivery: Delivery,
    outbox: Outbox,
    recovered: _Recovered,
    troubles: list[CreditsError],
) -> None:
    """Sends the writes of each turn after each other, those of some turns at once."""
    room = asyncio.Semaphore(TURNS_MAX)

    async def send(turn: Sequence[Settling]) -> None:
        async with room:
            try:
                for settling in turn:
                    await settling.run(delivery.send)
            except CreditsError as error:
                troubles.append(error)
            for settling in turn:
                recovered.count(settling, outbox)

    await asyncio.gather(*(send(turn) for turn in turns))
