"""Long work leaves others their turn."""

from __future__ import annotations

import asyncio

from ledger.turns import WORK_AT_ONCE, Turns


async def test_two_that_go_through_items_take_turns() -> None:
    """Each has some items at once, then the other has; all come, in their order."""
    seen: list[tuple[str, int]] = []

    async def go_through(name: str) -> None:
        turns = Turns()
        for number in range(1, 2 * WORK_AT_ONCE + 2):
            seen.append((name, number))
            await turns.after(1)

    await asyncio.gather(go_through("a"), go_through("b"))
    first, second = range(1, WORK_AT_ONCE + 1), range(WORK_AT_ONCE + 1, 2 * WORK_AT_ONCE + 1)
    turns = (first, second, [2 * WORK_AT_ONCE + 1])
    assert seen == [(name, number) for turn in turns for name in "ab" for number in turn]


async def test_a_large_part_is_a_turn_of_its_own() -> None:
    """Turns go by the size of the parts, not by their number."""
    seen: list[str] = []

    async def go_through(name: str) -> None:
        turns = Turns()
        for _ in range(2):
            seen.append(name)
            await turns.after(WORK_AT_ONCE)

    await asyncio.gather(go_through("a"), go_through("b"))
    assert seen == ["a", "b", "a", "b"]
