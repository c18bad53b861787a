"""A process that forks while its clients are open, says what its child may do with them, and is killed.

    python forking_client.py TARGET DIRECTORY CUSTOMER

It prints what each call of the child raised. The child outlives it, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.client import Credits, CreditsError, Session, SyncCredits, SyncSession
from ledger.v1.usage_pb2 import UnitUsage, UsageItem


def searches(quantity: int) -> UsageItem:
    """So many web searches."""
    return UsageItem(units=UnitUsage(meter="web_search", quantity=str(quantity)))


def said_by(name: str, call: Callable[[], Any]) -> None:
    """Prints what a call raises, or that it does not."""
    try:
        call()
    except CreditsError as error:
        outcome = type(error).__name__
    else:
        outcome = "returned"
    sys.stdout.write(f"{name} {outcome}\n")
    sys.stdout.flush()


def be_child(credits: Credits, session: Session, sync: SyncCredits, sync_session: SyncSession) -> None:
    """Tries all that there is."""
    said_by("balance", lambda: asyncio.run(credits.balance("nobody")))
    said_by("recover", lambda: asyncio.run(credits.recover()))
    said_by("session", lambda: credits.session("nobody", estimate=1))
    said_by("add", lambda: session.add(searches(7)))
    said_by("flush", lambda: asyncio.run(session.flush()))
    said_by("leave", lambda: asyncio.run(session.__aexit__(None, None, None)))
    said_by("close", lambda: asyncio.run(credits.close()))
    said_by("sync balance", lambda: sync.balance("nobody"))
    said_by("sync add", lambda: sync_session.add(searches(7)))
    said_by("sync leave", lambda: sync_session.__exit__(None, None, None))
    said_by("sync close", sync.close)
    said_by("another", SyncCredits("127.0.0.1:1").open)


async def main() -> None:
    """Forks, goes on with its own work, and dies in the middle of it."""
    target, directory, customer_id = sys.argv[1:]
    credits = await Credits(target, journal=Path(directory), timeout_seconds=120).open()
    session = await credits.session(customer_id, estimate=1).__aenter__()
    session.add(searches(1))
    sync = SyncCredits(target, journal=Path(directory), timeout_seconds=120).open()
    sync_session = sync.session(customer_id, estimate=1)
    await asyncio.to_thread(sync_session.__enter__)
    has_tried, tells = os.pipe()
    if not os.fork():
        be_child(credits, session, sync, sync_session)
        os.write(tells, b".")
        sys.stdin.read()
        # As a worker that ends: the interpreter closes what it has of its parent's.
        sys.exit(0)
    session.add(searches(2))
    await session.flush()
    await asyncio.to_thread(os.read, has_tried, 1)
    session.add(searches(3))
    await asyncio.to_thread(sync_session.add, searches(4))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
