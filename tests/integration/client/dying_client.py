"""A process that uses sessions, and kills itself at a step of its own: between any two, and within a write.

A parent imports all there is to import, and forks a child for each life, one after the other. Each child
recovers what the ones before it left, and works until it has come to as many steps as it may. What it adds
it notes in a file of the test's, before and after: what it is to be charged follows from the notes alone.

    python dying_client.py TARGET DIRECTORY LIVES CUSTOMER...
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

from ledger.client import NotNow, Session
from ledger.client.credits import Credits
from ledger.client.limits import ClientLimits
from ledger.v1.credit_service_pb2 import BatchItem
from ledger.v1.usage_pb2 import UnitUsage, UsageItem

ITEMS = 6
"""Of each session."""
SESSIONS = 8
"""Of each life: with what is stored and sent for them, and for their items, they are more than 200 steps."""
JOURNAL = "journal"
NOTES = "notes"
WASTES_NOTHING = ClientLimits(waste_bytes_min=0)
"""What is settled is written away at once: that is a step too."""


class Steps:
    """The steps of one life, of which one is its last."""

    def __init__(self, last: int, notes: int) -> None:
        self._left = last
        self._notes = notes

    def note(self, said: str) -> None:
        """Writes a line that outlives the process."""
        os.write(self._notes, f"{said}\n".encode())

    def step(self, name: str) -> None:
        """A step that may be the last one."""
        self._left -= 1
        if not self._left:
            self.note(f"killed {name}")
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """A step before something, and one after it."""
        self.step(f"before {name}")
        yield
        self.step(f"after {name}")


def watch(steps: Steps) -> None:
    """Counts what the client does to its journal, and what it sends."""
    pwrite, ftruncate, rename, unlink = os.pwrite, os.ftruncate, Path.rename, Path.unlink
    write = Credits.write

    def whole_or_torn(descriptor: int, content: Any, at: int) -> int:
        # What is written anew begins at the beginning.
        name = "append" if at else "rewrite"
        steps.step(f"before {name}")
        half = pwrite(descriptor, content[: len(content) // 2], at)
        steps.step(f"within {name}")
        written = half + pwrite(descriptor, content[half:], at + half)
        steps.step(f"after {name}")
        return written

    async def sent(credits: Credits, item: BatchItem, **how: Any) -> Any:
        with steps.around("send"):
            return await write(credits, item, **how)

    os.pwrite = whole_or_torn
    os.ftruncate = _stepped(steps, "truncate", ftruncate)
    Path.rename = _stepped(steps, "rename", rename)
    Path.unlink = _stepped(steps, "unlink", unlink)
    Credits.write = sent


def _stepped(steps: Steps, name: str, function: Callable[..., Any]) -> Any:
    def stepped(*given: Any, **named: Any) -> Any:
        with steps.around(name):
            return function(*given, **named)

    return stepped


async def live(credits: Credits, customer_id: str, numbers: Iterable[int], steps: Steps) -> None:
    """Recovers what was left, and works, whether somebody answers or not: in a session for each number."""
    async with credits:
        await credits.recover()
        for number in numbers:
            with suppress(NotNow):
                async with credits.session(customer_id, estimate=1) as session:
                    for item in range(ITEMS):
                        await use(session, number * ITEMS + item + 1, steps)


async def use(session: Session, quantity: int, steps: Steps) -> None:
    """Adds so many searches, which are taken where nobody answers too."""
    steps.note(f"adds {session.customer_id} {quantity}")
    with suppress(NotNow):
        session.add(UsageItem(units=UnitUsage(meter="web_search", quantity=str(quantity))))
    steps.note("added")
    if quantity % 3 == 2:
        with suppress(NotNow):
            await session.flush()


def main() -> None:
    """Lives as often as it is told to, each time a step longer."""
    target, directory, lives, *customers = sys.argv[1:]
    notes = os.open(Path(directory, NOTES), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for life in range(int(lives)):
        child = os.fork()
        if not child:
            steps = Steps(life + 1, notes)
            watch(steps)
            credits = Credits(target, timeout_seconds=120, journal=Path(directory, JOURNAL))
            credits._limits = WASTES_NOTHING
            numbers = range(life * SESSIONS, (life + 1) * SESSIONS)
            asyncio.run(live(credits, customers[life % len(customers)], numbers, steps))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status not in (0, signal.SIGKILL):
            sys.exit(f"life {life} ended with {status}")


if __name__ == "__main__":
    main()
