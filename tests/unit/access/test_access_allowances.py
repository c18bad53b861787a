"""What a key may ask: a rate with a burst, calls in flight, and room for what records work that is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.access.allowances import IN_FLIGHT, Allowances, KeyLimitError
from ledger.engine.limits import Urgency

NEW, DONE = Urgency.NEW_WORK, Urgency.DONE_WORK


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def admitted(allowances: Allowances, urgency: Urgency, tries: int, key_id: str = "k") -> int:
    """How many of so many calls come in."""
    count = 0
    for _ in range(tries):
        try:
            allowances.enter(key_id, urgency).leave()
        except KeyLimitError:
            continue
        count += 1
    return count


def test_a_burst_and_then_the_rate() -> None:
    """A second's worth at once, then as many as the time that has passed; another key has its own."""
    clock = Clock()
    allowances = Allowances(10, None, clock)
    assert admitted(allowances, NEW, 50) == 10
    assert admitted(allowances, NEW, 50, "other") == 10
    clock.now += 0.3
    assert admitted(allowances, NEW, 50) == 3
    clock.now += 60
    assert admitted(allowances, NEW, 50) == 10


def test_new_work_leaves_room_for_what_is_done() -> None:
    """A key that has begun all that it may can still commit, and charges what it commits to the same rate."""
    clock = Clock()
    allowances = Allowances(10, None, clock)
    assert admitted(allowances, NEW, 50) == 10
    assert admitted(allowances, Urgency.ANY_TIME, 50) == 5
    assert admitted(allowances, DONE, 50) == 5
    clock.now += 1
    assert admitted(allowances, NEW, 50) == 0
    assert admitted(allowances, DONE, 50) == 10


def test_a_batch_counts_its_items() -> None:
    """It is never too large, and what comes after it waits for all of it."""
    clock = Clock()
    allowances = Allowances(100, None, clock)
    allowances.enter("k", NEW, 1_000)
    with pytest.raises(KeyLimitError) as refused:
        allowances.enter("k", NEW)
    assert refused.value.retry_seconds == pytest.approx(9.01)
    clock.now += 9
    assert admitted(allowances, NEW, 5) == 0
    clock.now += 0.0101
    assert admitted(allowances, NEW, 5) == 1


def test_calls_in_flight() -> None:
    """One that ends makes room for one; commits have as many more as new work has."""
    allowances = Allowances(None, 2)
    first, _ = allowances.enter("k", NEW), allowances.enter("k", NEW)
    with pytest.raises(KeyLimitError) as refused:
        allowances.enter("k", NEW)
    assert (refused.value.limit, refused.value.bound, refused.value.retry_seconds) == (IN_FLIGHT, 2, None)
    allowances.enter("k", DONE)
    allowances.enter("k", DONE)
    with pytest.raises(KeyLimitError):
        allowances.enter("k", DONE)
    allowances.enter("other", NEW)
    for _ in range(3):
        first.leave()
    allowances.enter("k", NEW)


@given(
    st.integers(1, 1_000),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50), st.sampled_from(Urgency)), max_size=60),
)
def test_no_more_than_the_rate_over_any_time(rate: int, steps: list[tuple[float, int, Urgency]]) -> None:
    """Whatever is asked for when: the rate, two bursts, and the one batch that came when there was room."""
    clock = Clock()
    allowances = Allowances(rate, None, clock)
    began, got = clock.now, 0
    for seconds, calls, urgency in steps:
        clock.now += seconds
        try:
            allowances.enter("k", urgency, calls)
        except KeyLimitError as error:
            clock.now += (error.retry_seconds or 0) + 1e-6
            allowances.enter("k", urgency, calls)
        got += calls
        assert got - 50 <= rate * (clock.now - began + 2) + 1
