"""How many items are read in vain where holds are refused."""

from __future__ import annotations

import pytest

from ledger.api.looks import AHEAD_SECONDS_MAX, Looks

ITEMS = 10
PER_SECOND = 1_000
AT_ONCE_SECONDS = 1.0


@pytest.fixture
def clock() -> list[float]:
    """The seconds, to be set."""
    return [100.0]


@pytest.fixture
def looks(clock: list[float]) -> Looks:
    return Looks(PER_SECOND, AT_ONCE_SECONDS, lambda: clock[0])


def read_in_vain(looks: Looks) -> int:
    """Items, of as many messages as are read."""
    items = 0
    while looks.may_look():
        looks.in_vain(ITEMS)
        items += ITEMS
    return items


def test_a_flood_of_holds_is_read_at_a_rate(looks: Looks, clock: list[float]) -> None:
    """A second's worth at once, then so many items a second, however many come."""
    assert read_in_vain(looks) == pytest.approx(AT_ONCE_SECONDS * PER_SECOND, abs=2 * ITEMS)
    items = 0
    for tick in range(1, 101):
        clock[0] = 100.0 + tick / 10
        items += read_in_vain(looks)
    assert items == pytest.approx(10 * PER_SECOND, abs=2 * ITEMS)


def test_after_a_quiet_day_a_flood_has_no_more(looks: Looks, clock: list[float]) -> None:
    """What is not used is not saved."""
    clock[0] += 86_400
    assert read_in_vain(looks) == pytest.approx(AT_ONCE_SECONDS * PER_SECOND, abs=2 * ITEMS)


def test_a_huge_message_keeps_others_out_for_a_moment(looks: Looks, clock: list[float]) -> None:
    """Commits are read again soon after a message of a million items."""
    for _ in range(32):
        looks.in_vain(1_000_000)
    assert not looks.may_look()
    clock[0] += AHEAD_SECONDS_MAX
    assert looks.may_look()
