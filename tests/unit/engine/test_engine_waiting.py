"""The rule of overload: what is refused first and last, by age and by number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ledger.books.commands import Charge, Commit, Extend, IssueGrant, Release, Reserve
from ledger.books.model.entries import Entry
from ledger.engine.command import Committed, Pending, UnavailableError
from ledger.engine.limits import BOUNDS, Bound, Urgency
from ledger.engine.waiting import Waiting, urgency_of
from ledger.metrics.operations import RefusedCollector

NEW, ANY, DONE = Urgency.NEW_WORK, Urgency.ANY_TIME, Urgency.DONE_WORK
ENTRY: Entry = None  # type: ignore[assignment] -- that there is one is all that counts here


@pytest.fixture
def clock() -> list[float]:
    """The seconds, to be set."""
    return [100.0]


@pytest.fixture
def at(clock: list[float]) -> Callable[[float], None]:
    """Sets the clock."""

    def set_clock(seconds: float) -> None:
        clock[0] = seconds

    return set_clock


@pytest.fixture
def line(clock: list[float]) -> Waiting:
    return Waiting(RefusedCollector(), seconds=lambda: clock[0])


def arrive(line: Waiting) -> Pending:
    return Pending(1, None, None, line.ask())


def refused(line: Waiting) -> list[Urgency]:
    return [urgency for urgency in Urgency if line.refusal(urgency) is not None]


def test_age_refuses_new_work_first_and_done_work_last(at: Callable[[float], None], line: Waiting) -> None:
    """Each bound by itself, in this order, while the oldest command waits."""
    oldest = arrive(line)
    for seconds, expected in ((1.0, []), (1.1, [NEW]), (1.3, [NEW, ANY]), (1.8, [NEW, ANY, DONE])):
        at(100 + seconds)
        arrive(line)
        assert refused(line) == expected
    oldest.fail(UnavailableError())
    assert refused(line) == []


def test_one_that_is_overtaken_is_not_the_lines(at: Callable[[float], None], line: Waiting) -> None:
    """A customer whose own load or lock takes long sheds nobody else's work."""
    stuck = arrive(line)
    at(101)
    later = arrive(line)
    at(105)
    assert refused(line) == [NEW, ANY, DONE]
    later.answer(Committed(ENTRY, replayed=False))
    assert not stuck.done
    assert (refused(line), line.oldest_seconds(), line.begun) == ([], 0.0, 1)


def test_answers_that_nothing_was_written_for_overtake_nobody(
    at: Callable[[float], None], line: Waiting
) -> None:
    """A repeat is answered while the writer stands: the line is as old as it was."""
    arrive(line)
    at(102)
    arrive(line).answer(Committed(ENTRY, replayed=True))
    assert line.oldest_seconds() == 2.0


def test_number_refuses_new_work_first() -> None:
    """What comes at once has no age yet."""
    line = Waiting(RefusedCollector(), {NEW: Bound(1.0, 2), ANY: Bound(1.0, 3), DONE: Bound(1.0, 4)})
    counts = []
    for _ in range(5):
        counts.append(refused(line))
        arrive(line)
    assert counts == [[], [], [NEW], [NEW, ANY], [NEW, ANY, DONE]]


def test_a_batch_is_judged_item_by_item(at: Callable[[float], None], line: Waiting) -> None:
    """Holds of a batch that has waited for too long are refused, its commits are taken."""
    with line.announced(4) as batch:
        assert line.commands == 4
        assert batch.refusal(NEW) is None
        at(101.1)
        assert batch.refusal(NEW) is not None
        assert batch.refusal(DONE) is None
        batch.begin(3)
        assert line.commands == 1
    assert line.commands == 0


def test_batches_that_have_not_begun_count() -> None:
    """What comes after a great deal that has not begun is refused; a batch is never too large by itself."""
    line = Waiting(RefusedCollector(), dict.fromkeys(Urgency, Bound(1.0, 10)))
    with line.announced(1_000) as batch:
        assert batch.refusal(NEW) is None
        assert refused(line) == list(Urgency)
        with line.announced(1) as later:
            assert later.refusal(DONE) is not None
    assert refused(line) == []


def test_done_work_is_what_records_what_has_happened() -> None:
    """A hold is new work; commits, releases, charges and paid grants come last; changes in between."""
    assert urgency_of(Reserve) is NEW
    assert urgency_of(Extend) is ANY
    assert {urgency_of(each) for each in (Commit, Release, Charge, IssueGrant)} == {DONE}


def test_bounds_are_in_the_order_of_urgency() -> None:
    """Whoever is refused later has more of both."""
    bounds = [BOUNDS[urgency] for urgency in Urgency]
    assert bounds == sorted(bounds)
    assert max(bound.age_seconds for bound in bounds) < 2


def borne(line: Waiting, urgency: Urgency) -> int:
    """How many may be in the line."""
    held = 0
    while line.refusal(urgency) is None:
        held += 125
        line.announce(125)
    line.announce(-held)
    return held


def batches(at: Callable[[float], None], line: Waiting, count: int, seconds: float) -> None:
    """So many have come, each with its answer after so long, at second 100."""
    for _ in range(count):
        at(100 - seconds)
        with line.announced(500) as batch:
            at(100)
            batch.answered()


def test_numbers_shrink_where_batches_take_long(at: Callable[[float], None], line: Waiting) -> None:
    """A slow machine bears fewer at once; when batches have their answers in time it bears as many again."""
    assert (borne(line, NEW), borne(line, DONE)) == (3_000, 6_000)
    batches(at, line, 20, seconds=1.5)
    assert (borne(line, NEW), borne(line, DONE)) == (500, 1_000)
    batches(at, line, 50, seconds=0.5)
    assert (borne(line, NEW), borne(line, DONE)) == (3_000, 6_000)


def test_numbers_grow_again_where_no_batch_comes(at: Callable[[float], None], line: Waiting) -> None:
    """Slow batches, of a day when the database was, hold back no single calls of the day after."""
    batches(at, line, 20, seconds=1.5)
    at(110)
    assert 500 < borne(line, NEW) < 3_000
    at(150)
    assert (borne(line, NEW), borne(line, DONE)) == (3_000, 6_000)


def test_what_is_begun_late_in_a_batch_has_its_answer_in_time(
    at: Callable[[float], None], line: Waiting
) -> None:
    """Where batches take half a second from there to their answer, holds are begun half a second earlier."""
    for _ in range(40):
        at(100)
        with line.announced(1) as batch:
            batch.begin(1)
            at(100.5)
            batch.answered()
    at(100)
    with line.announced(4) as batch:
        at(100.4)
        assert (batch.refusal(NEW), batch.refusal(DONE)) == (None, None)
        at(100.6)
        assert batch.refusal(NEW) is not None
        assert batch.refusal(DONE) is None


def test_a_batch_that_takes_for_ever_keeps_nobody_out(at: Callable[[float], None], line: Waiting) -> None:
    """What it teaches is bounded: the next that comes is begun."""
    for _ in range(40):
        at(40)
        with line.announced(1) as batch:
            batch.begin(1)
            at(100)
            batch.answered()
    with line.announced(2) as batch:
        assert (batch.refusal(NEW), batch.refusal(DONE)) == (None, None)


def test_a_batch_that_is_long_by_itself_shrinks_nothing(at: Callable[[float], None], line: Waiting) -> None:
    """Of a hundred thousand items of usage it is the first that tell how late the line is."""
    for _ in range(20):
        at(50)
        with line.announced(1_000) as batch:
            for second in range(50, 100):
                batch.begin(20)
                at(second + 0.5)
                batch.answered()
    assert borne(line, NEW) == 3_000


def test_a_batch_that_is_overtaken_shrinks_nothing(at: Callable[[float], None], line: Waiting) -> None:
    """A customer whose wallet somebody has locked holds up its own calls, not the line."""
    for _ in range(20):
        at(100)
        with line.announced(1) as batch:
            batch.begin(1)
            at(104.9)
            arrive(line).answer(Committed(ENTRY, replayed=False))
            at(105)
            batch.answered()
    assert borne(line, NEW) == 3_000
