"""The overrides follower: reports customers whose own fields of their plans this version cannot read.

A newer version has written them. Their new work is refused here: whoever keeps the servers running learns of
it, with the customers and the fields, before those do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from ledger.metrics.operations import OperationsMetrics
from ledger.prices.plan_overrides import unreadable_fields
from ledger.prices.reading import in_reader
from ledger.rounds import rounds
from ledger.store.prices.plans import customers_with, overrides_in_use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.store.postgres.database import Database

PERIOD_SECONDS: Final = 30.0
NAMED_MAX: Final = 20
"""Customers in one line of the log."""

_log = structlog.get_logger(__name__)


class OverridesFollower:
    """One per process."""

    def __init__(self, database: Database, cells: Sequence[str], metrics: OperationsMetrics) -> None:
        self._writer = database.writer
        self._cells = cells
        self._metrics = metrics
        self._reported: Mapping[str, tuple[str, ...]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        await rounds(self.look, PERIOD_SECONDS, "plan_overrides.not_looked_at")

    async def look(self) -> bool:
        """Counts the customers, and names them where others came to be among them."""
        in_use = await overrides_in_use(self._writer, self._cells)
        unreadable = await in_reader(_unreadable, {overrides for _, overrides in in_use})
        self._metrics.overrides_unreadable.set(
            sum(customers for (_, overrides), customers in in_use.items() if overrides in unreadable)
        )
        if unreadable != self._reported:
            self._reported = unreadable
            for overrides, fields in sorted(unreadable.items()):
                customers = await customers_with(self._writer, self._cells, overrides, NAMED_MAX)
                _log.error("plan_overrides.unreadable", fields=fields, customers=customers)
        return False


def _unreadable(written: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """What cannot be read, with the fields that are concerned."""
    fields = {overrides: unreadable_fields(overrides) for overrides in written}
    return {overrides: names for overrides, names in fields.items() if names}
