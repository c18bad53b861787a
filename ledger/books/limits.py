"""Limits of the books: what one command may have to look at, and a customer may have at a time.

Whatever one command takes is decided without a pause, and holds up the customers who come after it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

LINES_UNDONE_MAX: Final = 2_000
"""Lines of a reservation's parts and of their refunds that one reversal undoes; an entry without lines counts
as one. More than a part a minute for the longest life of a hold."""

REFUNDS_MAX: Final = 100
"""Refunds of a part of one charge: each looks at all that came before it."""

REFUND_LINES_MAX: Final = 5_000
"""Lines of all refunds of one charge: each has as many as the charge."""

DUE_ENTRIES_MAX: Final = 1_000
"""Entries due by the clock that are decided without a pause, or a renewal more; the next follow at once."""

BUDGET_VALUES_MAX: Final = 100_000
"""Combinations of labels that one budget counts in one window: each is a row, and whoever may name
labels at will would make them without end, and be limited by none. More than the sessions of a busy month."""

COUNTERS_STORED: Final = timedelta(days=2)
"""After the window of a budget has ended its counter is stored for so long, and swept then. Until a day after
the window a reservation that was made in it may go on, and is limited; another day is for what comes late, or
is undone. Budgets of an hour would leave 8,800 rows a year for each customer and combination of labels."""

LOTS_MAX: Final = 500
"""Lots with credits in them, past which a customer is granted no more: each of its commands goes through
them all. More than a grant a day for a year."""
