"""Long work in turns: how little of it there is in a round of the loop."""

from __future__ import annotations

import asyncio

from ledger.turns import Turns


async def test_a_round_has_a_part_of_one_long_work() -> None:
    """However many there are, whatever else is ready waits for one part at most; each has its share."""
    parts: list[str] = []
    in_rounds: list[int] = []

    async def work(name: str) -> None:
        turns = Turns(1)
        for _ in range(10):
            await turns.after(1)
            parts.append(name)

    works = [asyncio.create_task(work(name)) for name in "abcd"]
    while not all(each.done() for each in works):
        before = len(parts)
        await asyncio.sleep(0)
        in_rounds.append(len(parts) - before)
    assert max(in_rounds) == 1
    assert parts == list("abcd") * 10


async def test_work_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    """A caller that goes away holds nobody up."""

    async def work() -> None:
        turns = Turns(1)
        await turns.after(1)

    first, second, third = (asyncio.create_task(work()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait((first, third))
    assert second.cancelled()
    assert (first.result(), third.result()) == (None, None)
