"""Rounds of what goes on beside all calls, for as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

_log = structlog.get_logger(__name__)


async def rounds(step: Callable[[], Awaitable[bool]], period_seconds: float, failure: str) -> NoReturn:
    """Takes steps until it is cancelled, with a pause after each that says there is no more for now.

    One that fails ends nothing, whatever its error: the next is taken after a pause. `failure` is what the
    log calls it, once until a step succeeds again.
    """
    is_failing = False
    while True:
        there_is_more = False
        try:
            there_is_more = await step()
            is_failing = False
        except Exception as error:  # noqa: BLE001 -- no step that fails may end the steps
            if not is_failing:
                _log.warning(failure, exc_info=error)
            is_failing = True
        if not there_is_more:
            await asyncio.sleep(period_seconds)
