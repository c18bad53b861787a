"""Transaction ids of a journal that was restored into another cluster, made ids of this one.

Rollups follow the journal by transaction ids, and a dump (`pg_dump`) brings those of the cluster that it was
taken from. A new cluster counts from the beginning: what it books would stand below the tailer's cursor, and
never be in finance's figures. Base backups keep the count, and have nothing to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Connection

_log = structlog.get_logger()

_SQL = statements_of(__name__)
_IS_FOREIGN = _SQL["is_foreign"]
_RENUMBER = _SQL["renumber"]
_TABLES = ("entries", "money")
_START_HERE = _SQL["start_here"]


async def adopt_transactions(connection: Connection, cell: str) -> None:
    """Renumbers the transactions of a cell's journal if they are another cluster's. In a transaction."""
    if not await connection.fetchval(_IS_FOREIGN.format(cell=cell)):
        return
    for table in _TABLES:
        await connection.execute(_RENUMBER.format(cell=cell, table=table))
    await connection.execute(_START_HERE.format(cell=cell))
    _log.info("journal.adopted", cell=cell)
