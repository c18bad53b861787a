"""Which history of the database this process is on, and who has to forget when it is another.

After a failover or a restore the last transactions may be gone, and others stand where they stood. So each
connection asks, when it is made, for what is another number on every other history: system identifier,
timeline, database and start of the server, as one hash. Whoever knows something of the database is notified
before the connection is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import structlog

from ledger.errors import NotNowError
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_SQL = statements_of(__name__)
HISTORY = _SQL["history"]

_log = structlog.get_logger(__name__)


class StandbyError(NotNowError, ConnectionError):
    """The address leads to a standby: what it shows may be old, and it takes no write."""


class Session(Protocol):
    """A connection to the database, as far as it is asked here."""

    async def fetch(self, query: str, /) -> list[Any]:
        """The rows of a statement."""


class History:
    """The history that connections were last made to."""

    def __init__(self) -> None:
        self.turns = 0
        """How often it was another one than before: what was read before a turn may not be so after it."""
        self._known: int | None = None
        self._forgetful: list[Callable[[datetime], None]] = []

    def at_a_turn(self, forget: Callable[[datetime], None]) -> None:
        """Has `forget` called, with the database's time, before a connection to another history is used."""
        self._forgetful.append(forget)

    async def meet(self, connection: Session) -> None:
        """Looks where a new connection leads. Raises StandbyError, and the driver's errors."""
        [(history, now)] = await connection.fetch(HISTORY)
        if history is None:
            raise StandbyError("the database is a standby: the URL must lead to the primary")
        if history == self._known:
            return
        is_first = self._known is None
        self._known = history
        if not is_first:
            self.turn(now)

    def turn(self, now: datetime) -> None:
        """The database is on another history, whatever shows it; `now` is its time."""
        self.turns += 1
        _log.warning("database.other_history", turns=self.turns)
        for forget in self._forgetful:
            forget(now)
