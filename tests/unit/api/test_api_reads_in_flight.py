"""Reads that have no answer yet: how old they grow."""

from __future__ import annotations

from ledger.api.reads_in_flight import ReadsInFlight


def test_the_oldest_is_one_that_none_has_overtaken() -> None:
    """A report that takes long by itself makes no other read wait."""
    now = 0.0
    reads = ReadsInFlight(lambda: now)
    report = reads.enter(None)
    now = 5.0
    first, second = reads.enter(None), reads.enter(None)
    assert (reads.in_flight, reads.oldest_seconds()) == (3, 5.0)
    now = 5.5
    first.leave()
    assert (reads.in_flight, reads.oldest_seconds()) == (2, 0.5)
    second.leave()
    report.leave()
    assert (reads.in_flight, reads.oldest_seconds()) == (0, 0.0)
