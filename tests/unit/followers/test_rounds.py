"""Rounds of what goes on beside all calls."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from ledger.rounds import rounds


async def test_a_step_that_fails_ends_nothing_and_is_logged_once() -> None:
    """Until one succeeds: what fails anew after that is logged anew."""
    outcomes = iter([OSError("away"), OSError("away"), False, ValueError("wrong"), asyncio.CancelledError()])

    async def step() -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await rounds(step, 0, "work.not_done")
    assert [(line["event"], repr(line["exc_info"])) for line in logs] == [
        ("work.not_done", "OSError('away')"),
        ("work.not_done", "ValueError('wrong')"),
    ]


async def test_there_is_no_pause_while_there_is_more() -> None:
    """With a pause of an hour the third step is taken all the same, and after it none."""
    taken = 0
    is_idle = asyncio.Event()

    async def step() -> bool:
        nonlocal taken
        taken += 1
        if taken == 3:
            is_idle.set()
        return taken < 3

    running = asyncio.create_task(rounds(step, 3_600, "work.not_done"))
    await is_idle.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert taken == 3
