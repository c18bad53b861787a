"""A process whose journal's disk is full again and again, in the middle of a record too; then it is killed.

What it adds, and what of it was taken, it notes in a file of the test's.

    python full_disk_client.py TARGET DIRECTORY NOTES CUSTOMER quota|disk

`quota`: no file of the process may grow past a limit (RLIMIT_FSIZE). `disk`: DIRECTORY is a small file system
of its own, and something else fills it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.client import Credits, JournalFull, Session
from ledger.client.journal import left_in
from ledger.v1.usage_pb2 import UnitUsage, UsageItem

TIMES = 12
"""The disk is full as often."""
STEP_BYTES = 17
"""The room that is left for records differs by so much from time to time: most are cut in their middle."""
FILLER_BYTES = 1 << 16


@contextmanager
def no_more_than(bytes_left: int, directory: Path) -> Iterator[None]:
    """The journal has so much room left, until the block ends."""
    (path,) = left_in(directory)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """There is no block left on the disk, until the block ends; the journal's last may have room."""
    filler = directory / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(FILLER_BYTES)):
                pass
    except OSError:
        yield
    finally:
        filler.unlink()


class Notes:
    """What was added, and what of it was taken."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._number = 0

    def add(self, session: Session) -> bool:
        """Adds searches, as many as nobody has added; whether they were taken."""
        self._number += 1
        try:
            session.add(UsageItem(units=UnitUsage(meter="web_search", quantity=str(self._number))))
        except JournalFull:
            return False
        os.write(self._descriptor, f"{self._number}\n".encode())
        return True


async def main() -> None:
    """Works, on a disk that is full at times."""
    target, directory, notes, customer_id, kind = sys.argv[1:]
    said = Notes(Path(notes))
    async with Credits(target, timeout_seconds=120, journal=Path(directory)) as credits:
        session = await credits.session(customer_id, estimate=1).__aenter__()
        for time in range(TIMES):
            full = (
                filled(Path(directory))
                if kind == "disk"
                else no_more_than(time * STEP_BYTES, Path(directory))
            )
            taken = said.add(session)
            with full:
                while said.add(session):
                    pass
                if time == TIMES // 2:
                    await begin_without_room(credits, customer_id)
                    # What was stored before is charged while the disk is full.
                    await session.flush()
            if not (taken and said.add(session)):
                raise AssertionError("there was room")
        os.kill(os.getpid(), signal.SIGKILL)


async def begin_without_room(credits: Credits, customer_id: str) -> None:
    """A session that cannot store its hold gives it back, and says why it does not begin."""
    try:
        await credits.session(customer_id, estimate=1).__aenter__()
    except JournalFull:
        return
    raise AssertionError("a session began")


if __name__ == "__main__":
    asyncio.run(main())
