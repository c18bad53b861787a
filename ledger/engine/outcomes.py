"""What becomes of a command: an entry, a refusal (a value of the books), or a fault of the service."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ledger.books.model import Entry
from ledger.errors import LedgerError, NotNowError


class Committed(NamedTuple):
    """The entry is in the journal. `replayed`: it was there before this attempt of the request."""

    entry: Entry
    replayed: bool


class WriteOutcome(Enum):
    """What the write of a batch came to; some of its customers may have to be decided again all the same."""

    WRITTEN = "written"
    OUTDATED = "outdated"
    """It was not sent: the database is on another history than it was decided on."""
    REFUSED = "refused"
    UNKNOWN = "unknown"
    FAULT = "fault"


class UnavailableError(NotNowError):
    """The database is away, or the outcome of the write is unknown. A retry with the same id is safe."""


class OverloadedError(NotNowError):
    """The process cannot keep up with what it is asked; nothing was decided or written for this request."""

    def __init__(self, limit: str, bound: float) -> None:
        """Which limit it is, and what that is."""
        super().__init__(f"{limit} is above {bound:g}")
        self.limit = limit
        self.bound = bound


class AbandonedError(NotNowError):
    """Whoever asked for this command has gone, and nothing was decided for it."""


class FaultError(LedgerError):
    """The write of this command was refused by the database: a bug, whose cause is in the log."""
