"""Statements that wait for batches which are being begun."""

from __future__ import annotations

import asyncio

import pytest

from ledger.engine.gathering import Gathering


async def test_nothing_to_wait_for() -> None:
    """Where no batch is being begun a statement is sent at once, with no turn of the loop in between."""
    wait = Gathering().over()
    with pytest.raises(StopIteration):
        wait.send(None)


async def test_it_waits_for_those_that_are_being_begun_and_for_no_later_one() -> None:
    """Batch after batch may be begun: a statement waits for those that had some part in it."""
    batches = Gathering(60.0)
    with batches.more():
        wait = asyncio.ensure_future(batches.over())
        await asyncio.sleep(0)
        later = batches.more()
        later.__enter__()
        assert not wait.done()
    await wait
    later.__exit__(None, None, None)


async def test_one_that_fails_is_over() -> None:
    """A call that is cancelled in the middle holds up nothing."""
    batches = Gathering(60.0)
    with pytest.raises(RuntimeError, match="gone"), batches.more():
        raise RuntimeError("gone")
    await batches.over()


async def test_it_waits_no_longer_than_is_bearable() -> None:
    """One that takes long does not keep what was decided with it from the journal."""
    batches = Gathering(0.001)
    with batches.more():
        await batches.over()
