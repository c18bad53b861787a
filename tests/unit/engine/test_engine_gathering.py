"""Statements that wait for batches which are being begun."""

from __future__ import annotations

import asyncio

import pytest

from ledger.engine import gathering
from ledger.engine.gathering import Gathering


async def test_nothing_to_wait_for() -> None:
    """Where no batch is being begun a statement is sent at once, with no turn of the loop in between."""
    wait = Gathering().over()
    with pytest.raises(StopIteration):
        wait.send(None)


async def test_it_waits_for_those_that_are_being_begun_and_for_no_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch after batch may be begun: a statement waits for those that had some part in it."""
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 60.0)
    batches = Gathering()
    with batches.more():
        wait = asyncio.ensure_future(batches.over())
        await asyncio.sleep(0)
        later = batches.more()
        later.__enter__()
        assert not wait.done()
    await wait
    later.__exit__(None, None, None)


async def test_one_that_fails_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cancelled in the middle holds up nothing."""
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 60.0)
    batches = Gathering()
    with pytest.raises(RuntimeError, match="gone"), batches.more():
        raise RuntimeError("gone")
    await batches.over()


async def test_it_waits_no_longer_than_is_bearable(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes long does not keep what was decided with it from the journal."""
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 0.001)
    batches = Gathering()
    with batches.more():
        await batches.over()
