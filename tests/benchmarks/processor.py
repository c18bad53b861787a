"""What a load costs in processor's time, by the clock of whichever processes one asks for."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks import load
from tests.benchmarks.load import BATCH_IN_FLIGHT, UNARY_IN_FLIGHT, Window
from tests.benchmarks.stage import Service

Clock = Callable[[], float]
"""Seconds that processes have had of processors, until now."""
MICROSECONDS = 1_000_000


async def call_us(where: Service, whose: range, seconds: float) -> float:
    """Microseconds of the server's processor for a call of the unary load."""
    window, before = Window(0.0, seconds), where.server.cpu_seconds()
    await load.unary_rate(where.credits, load.customers(whose), UNARY_IN_FLIGHT, window)
    return (where.server.cpu_seconds() - before) / window.done * MICROSECONDS


async def pair_us(
    where: Service, whose: range, pairs: int, *clocks: Clock, in_flight: int = BATCH_IN_FLIGHT
) -> list[float]:
    """Microseconds by each of the clocks for a pair in batches of 500."""
    before = [clock() for clock in clocks]
    await load.write_pairs(where.credits, load.customers(whose), pairs, each=1, in_flight=in_flight)
    return [(clock() - began) / pairs * MICROSECONDS for clock, began in zip(clocks, before, strict=True)]
