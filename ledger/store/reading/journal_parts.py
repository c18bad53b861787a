"""Parts of a customer's journal: as many entries as are added up for one page of a report.

What is reported of is a range of the customer's sequence, which has no gaps, and entries never change: the
range is the same for ever. A part of it ends where enough entries were looked at, or added up.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import RequestError
from ledger.store.lists import LINES_BYTES, LOOKED_AT_MAX
from ledger.store.reading.milestones import first_after, last_before
from ledger.store.statements import fill, statements_of

ADDED_UP_MAX: Final = 4_000
"""Entries added up for one page: some 150 ms."""

ADDED_UP_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of their lines, as JSON, for the same reason: an entry may have a thousand."""

STRIDE: Final = 8
"""Entries looked at together: a part is longer by at most so many than it may be."""

_SQL = statements_of(
    __name__,
    before_first=last_before("$2"),
    after_first=first_after("$2"),
    before_end=last_before("$3"),
    after_end=first_after("$3"),
    lines_bytes=LINES_BYTES,
    looked_at_max=LOOKED_AT_MAX,
    added_up_max=ADDED_UP_MAX,
    added_up_bytes_max=ADDED_UP_BYTES_MAX,
    stride=STRIDE,
)
SPAN: Final = _SQL["span"]
"""The first and the last entry of what takes effect from $2 to before $3; of no entry: the last before it."""

PART: Final = _SQL["part"]
"""The last entry of the part that begins with $3 (and has the labels $2), of entries up to $4."""


class ReportOutdatedError(RequestError):
    """The customer's time zone has changed since the report's first page: its days are others now."""


def added_up(*, entry_key: str, line_key: str, line_parts: int) -> str:
    """A WITH of rows `added_up`: what the entries $3 to $4 (with the labels $2) add up to by label (keys $5).

    A row is of one `entry_key`, an SQL expression of an entry `e`, and one `line_key`: an array of so many
    texts (`line_parts`), of a line `l.line` as JSON. The entries themselves, by key and label, are `booked`.
    """
    no_line = f"array_fill(''::text, ARRAY[{line_parts}])"
    return fill(_SQL["added_up"], entry_key=entry_key, line_key=line_key, no_line=no_line)
