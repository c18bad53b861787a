"""Transaction ids of a journal that was restored into another cluster, made ids of this one.

Rollups follow the journal by transaction ids, and a dump (`pg_dump`) brings those of the cluster that it was
taken from. A new cluster counts from the beginning: what it books would stand below the tailer's cursor, and
never be in finance's figures. Base backups keep the count, and have nothing to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from ledger.store.postgres.database import Connection

_log = structlog.get_logger()

# What a snapshot shows has ids below its end, and the cursor stands at its end at most.
_IS_FOREIGN = """
SELECT coalesce(t.cursor > s.ends OR t.mark >= s.ends OR
                (SELECT e.xid FROM {cell}.entries e ORDER BY e.xid DESC LIMIT 1) >= s.ends, false)
FROM {cell}.tailer t, (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS ends) s
"""
# What was in the rollups stays below the cursor (3: the first id of any cluster), the rest comes with this
# transaction.
_RENUMBER = """
UPDATE {cell}.{table} e SET xid = CASE WHEN e.xid < t.cursor THEN '3'::xid8 ELSE pg_current_xact_id() END
FROM {cell}.tailer t WHERE e.xid >= t.cursor OR e.xid >= pg_current_xact_id()
"""
_TABLES = ("entries", "money")
_START_HERE = "UPDATE {cell}.tailer SET cursor = pg_current_xact_id(), mark = NULL, marked_at = NULL"


async def adopt_transactions(connection: Connection, cell: str) -> None:
    """Renumbers the transactions of a cell's journal if they are another cluster's. In a transaction."""
    if not await connection.fetchval(_IS_FOREIGN.format(cell=cell)):
        return
    for table in _TABLES:
        await connection.execute(_RENUMBER.format(cell=cell, table=table))
    await connection.execute(_START_HERE.format(cell=cell))
    _log.info("journal.adopted", cell=cell)
