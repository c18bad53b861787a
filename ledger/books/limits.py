"""Limits of the books: what one command may have to look at, and a customer may have at a time.

Whatever one command takes is decided without a pause, and holds up the customers who come after it.
"""

from __future__ import annotations

from typing import Final

LINES_UNDONE_MAX: Final = 5_000
"""Lines of charges and of their refunds that one reversal looks at; an entry without lines counts as one. A
part each 20 s for all the life of a hold, and less than a tenth of a second to decide."""

REFUNDS_MAX: Final = 100
"""Refunds of a part of one charge: each reads all that came before it."""
