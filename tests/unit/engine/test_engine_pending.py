"""Commands on their way, and those who wait for them."""

from __future__ import annotations

import asyncio

import pytest

from ledger.books.commands import Charge, Commit, Release, Reserve, Reverse
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.engine.command import Asked, Pending, Underway, all_done
from pricing import Compute

REFUSED = Refusal(RefusalReason.INSUFFICIENT_CREDITS)
SANDBOX = (Compute("sandbox", 60 * 10**9, run_id="run-1"), Compute("sandbox", 60 * 10**9))


def pending(command=None, usage=None):
    return Pending(1, command, usage, Asked(Underway()))


async def test_a_wait_ends_with_the_last_outcome():
    """Who waits for many goes on when all have an outcome, errors and tasks among them, and no sooner."""
    first, second, third = pending(), pending(), pending()
    third.answer(None)
    task = asyncio.ensure_future(asyncio.sleep(0))
    wait = asyncio.ensure_future(all_done([first, second, third, task]))
    first.answer(REFUSED)
    await task
    await asyncio.sleep(0)
    assert not wait.done()
    second.fail(RuntimeError("down"))
    await wait
    assert first.result() == REFUSED
    with pytest.raises(RuntimeError, match="down"):
        second.result()


async def test_nothing_to_wait_for():
    """A call of which no item was begun has its answer at once."""
    await all_done([])


async def test_who_goes_away_ends_its_own_wait_alone():
    """The command has its answer all the same, and so has who else waits for it."""
    command = pending()
    gone, stays = (asyncio.ensure_future(all_done([command])) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    command.answer(REFUSED)
    await stays
    assert gone.cancelled()
    assert command.result() == REFUSED


async def test_the_first_outcome_counts():
    """What was reported stays."""
    command = pending()
    command.answer(REFUSED)
    command.fail(RuntimeError("too late"))
    command.answer(None)
    assert command.result() == REFUSED


async def test_called_back_at_once():
    """An outcome is reported where it comes about, and at once to who asks after it."""
    command, reported = pending(), []
    command.add_done_callback(reported.append)
    command.answer(None)
    assert reported == [command]
    command.add_done_callback(reported.append)
    assert reported == [command, command]


@pytest.mark.parametrize(
    ("command", "usage", "reservation", "past"),
    [
        (Reserve("r", b"", None), SANDBOX, None, False),
        (Commit("c", b"", 7, None, final=True), SANDBOX, 7, True),
        (Release("e", b"", 8), None, 8, False),
        (Charge("h", b"", None), SANDBOX, None, True),
        (None, None, None, False),
        (Reverse("v", b"", 9, None, "by mistake"), None, None, True),
    ],
)
async def test_what_memory_must_have(command, usage, reservation, past):
    """The reservation that a command names; what prices remember, of usage that has happened or is undone."""
    asked = pending(command, usage)
    assert (asked.reservation, asked.past) == (reservation, past)
