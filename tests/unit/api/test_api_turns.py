"""Long work leaves others their turn."""

from __future__ import annotations

import asyncio

from ledger.api.turns import ITEMS_AT_ONCE, turn_after


async def test_two_that_go_through_items_take_turns() -> None:
    """Each has some items at once, then the other has; all come, in their order."""
    seen: list[tuple[str, int]] = []

    async def go_through(name: str) -> None:
        for number in range(1, 2 * ITEMS_AT_ONCE + 2):
            seen.append((name, number))
            await turn_after(number)

    await asyncio.gather(go_through("a"), go_through("b"))
    first, second = range(1, ITEMS_AT_ONCE + 1), range(ITEMS_AT_ONCE + 1, 2 * ITEMS_AT_ONCE + 1)
    turns = (first, second, [2 * ITEMS_AT_ONCE + 1])
    assert seen == [(name, number) for turn in turns for name in "ab" for number in turn]
