"""Long work leaves others their turn."""

from __future__ import annotations

import asyncio

from ledger.turns import CALLS_FIRST, CALM_ROUNDS, WORK_AT_ONCE, Intake, Turns, _Queue


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


async def test_calls_that_come_in_one_after_the_other_come_first() -> None:
    """A part begins when none has come in for some rounds: whoever has not been seen is not even refused."""
    intake, seen = Intake(), list[str]()
    queue = _Queue(intake)

    async def calls() -> None:
        for _ in range(CALLS_FIRST - 1):
            intake.calls += 1
            seen.append("call")
            for _ in range(CALM_ROUNDS):
                await asyncio.sleep(0)

    async def part() -> None:
        await queue.turn()
        seen.append("part")

    await asyncio.gather(calls(), part())
    assert seen == ["call"] * (CALLS_FIRST - 1) + ["part"]


async def test_a_flood_of_calls_does_not_keep_long_work_from_its_end() -> None:
    """So many come in between two parts, and no more."""
    intake, seen, is_over = Intake(), list[str](), asyncio.Event()
    queue = _Queue(intake)

    async def calls() -> None:
        while not is_over.is_set():
            intake.calls += 1
            seen.append("call")
            await asyncio.sleep(0)

    async def work() -> None:
        for _ in range(3):
            await queue.turn()
            seen.append("part")
        is_over.set()

    await asyncio.gather(calls(), work())
    between = "".join(each[0] for each in seen).split("p")[1:3]
    assert all(len(each) <= CALLS_FIRST + 1 for each in between)


async def test_long_work_goes_on_in_every_round_where_no_call_comes() -> None:
    """Nobody pays for calls that are not there."""
    queue, rounds = _Queue(Intake()), 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    for _ in range(50):
        await queue.turn()
    counting.cancel()
    assert rounds <= 3 * 50
