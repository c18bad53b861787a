"""Whatever fails, and whenever the process dies, each item is charged once, or is refused and stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from ledger.client.errors import CreditsError, FieldViolation, InvalidArgument, ReservationClosed, Unavailable
from ledger.client.journal import Journal, left_in
from ledger.client.outbox import Outbox, Settling
from ledger.client.outstanding import Write, commit_of, release_of
from ledger.v1.credit_service_pb2 import (
    BatchItem,
    BatchResult,
    ChargeResponse,
    CommitReservationResponse,
    Labels,
    ReleaseReservationResponse,
)
from ledger.v1.usage_pb2 import UnitUsage, UsageItem

WRONG = 1_000
"""From here on quantities are wrong."""


class DiedError(Exception):
    """The process has ended."""


class Ledger:
    """A ledger of one reservation: one effect for each request id, and answers that may not arrive."""

    def __init__(self, luck: Iterator[str]) -> None:
        self._luck = luck
        self._effects: dict[str, bytes] = {}
        self.charged: Counter[int] = Counter()
        self.is_closed = False

    async def send(self, item: BatchItem) -> BatchResult:
        fate = next(self._luck, "well")
        if fate == "closed":
            self.is_closed = True
        if fate in ("lost", "died before"):
            raise DiedError if fate == "died before" else Unavailable("it did not arrive")
        answer = self._carry_out(item)
        if fate in ("no answer", "died after"):
            raise DiedError if fate == "died after" else Unavailable("its answer did not arrive")
        return answer

    def _carry_out(self, item: BatchItem) -> BatchResult:
        kind = item.WhichOneof("write")
        assert kind is not None
        request = getattr(item, kind)
        if kind == "release":
            if self.is_closed:
                raise ReservationClosed("closed")
            self.is_closed = True
            return BatchResult(release=ReleaseReservationResponse())
        quantities = [int(each.units.quantity) for each in request.usage.items]
        assert quantities
        if any(quantity >= WRONG for quantity in quantities):
            raise InvalidArgument("wrong", fields=(FieldViolation("usage.items[0].units.quantity", "wrong"),))
        known = self._effects.get(request.request_id)
        if known is not None:
            # Under one request id is one request.
            assert known == item.SerializeToString(deterministic=True)
        else:
            if kind == "commit" and self.is_closed:
                raise ReservationClosed("closed")
            self._effects[request.request_id] = item.SerializeToString(deterministic=True)
            self.charged.update(quantities)
            self.is_closed |= kind == "commit" and request.final
        if kind == "commit":
            return BatchResult(commit=CommitReservationResponse())
        assert request.already_used
        return BatchResult(charge=ChargeResponse())


FATES = st.sampled_from(["well", "lost", "no answer", "died before", "died after", "closed"])
PARTS = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@given(parts=PARTS, fates=st.lists(FATES, max_size=25), wrong=st.sets(st.integers(0, 24)))
def test_each_item_is_charged_once(parts: list[int], fates: list[str], wrong: set[int]) -> None:
    """Of a session whose process may die at any call, and of all who recover it and may die at it too."""
    ledger = Ledger(iter(fates))
    numbers = iter(range(1, 100))
    added: list[int] = []
    with TemporaryDirectory() as name:
        directory = Path(name)
        journal = Journal.create(directory)
        outbox = Outbox(journal)
        release = release_of("acme", "rsv_1")
        outbox.take([release], [])
        writes = []
        for number, size in enumerate(parts):
            write = commit_of(f"part.{number}", "acme", "rsv_1", Labels())
            quantities = [
                quantity + WRONG if quantity in wrong else quantity
                for quantity in (next(numbers) for _ in range(size))
            ]
            outbox.take([write], [(write, _searches(quantity)) for quantity in quantities])
            added += quantities
            writes.append(write)
        outbox.end(writes[-1])
        asyncio.run(_work(outbox, [*writes, release], ledger))
        journal.close()
        for _ in range(len(fates) + 2):
            asyncio.run(_recover(directory, ledger))
        left = list(left_in(directory))
        stays = [quantity for path in left for quantity in _quantities(path)]
    assert ledger.charged == Counter(quantity for quantity in added if quantity < WRONG)
    assert sorted(stays) == sorted(quantity for quantity in added if quantity >= WRONG)
    assert ledger.is_closed


async def _work(outbox: Outbox, writes: list[Write], ledger: Ledger) -> None:
    """Sends all, in their order, until one has no answer, or the process dies."""
    for write in writes:
        try:
            await Settling(outbox, write).run(ledger.send)
        except (CreditsError, DiedError):
            return


async def _recover(directory: Path, ledger: Ledger) -> None:
    for path in left_in(directory):
        journal = Journal.adopt(path)
        assert journal is not None
        outbox = Outbox(journal)
        for turn in outbox.in_turns():
            await _work(outbox, turn, ledger)
        if outbox.is_empty:
            outbox.close()
        else:
            journal.close()


def _quantities(path: Path) -> list[int]:
    journal = Journal.adopt(path)
    assert journal is not None
    turns = Outbox(journal).in_turns()
    journal.close()
    return [int(item.units.quantity) for turn in turns for write in turn for item in write.items]


def _searches(quantity: int) -> UsageItem:
    return UsageItem(units=UnitUsage(meter="web_search", quantity=str(quantity)))
