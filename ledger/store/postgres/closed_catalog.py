"""Which functions and catalogs the reader's role may use: none that tells of rows that it cannot select.

PostgreSQL lets every role call what tells the position of the log, the sizes of relations and statistics. A
few bytes of a secret row show in each, and a cost can be found so. What PUBLIC may execute is therefore an
allow-list by class, so that a function of a later version is closed until somebody has looked at it:

- what always gives the same for the same arguments, and what SQL cannot call (of types `internal`, handlers);
- conversions from and to text (of type `cstring`), and whatever is stable and none of the catalog's own
  (`pg_…`), of transaction ids, of network addresses, or a table as XML;
- the few by name in `ALLOWED`.

The others go on for the owners of the database and of the schemas, the writer, finance and PostgreSQL's own
`pg_monitor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from ledger.store.postgres.database import FINANCE, READER, WRITER
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.store.postgres.database import Connection

_log = structlog.get_logger()

ALLOWED: Final = (
    "clock_timestamp",  # the instant of a read
    "set_config",  # the driver's look at a type that it does not know
    "pg_backend_pid",
    "pg_has_role",
    "pg_typeof",
)
HIDDEN_COLUMNS: Final = ("relpages", "reltuples", "relallvisible", "relallfrozen")
"""Of pg_class: sizes of relations."""
NAMED_MAX: Final = 5
"""Functions that a warning names; it says how many there are."""

_SQL = statements_of(__name__)
NOT_ALLOWED = _SQL["not_allowed"]

_TO_MEND = _SQL["to_mend"]
_RELATION_SIZES = _SQL["relation_sizes"]
_OWNERS = _SQL["owners"]


async def close_catalog(connection: Connection, schemas: Sequence[str]) -> None:
    """Closes to PUBLIC what is not on the allow-list; what cannot be closed is reported, with what to do.

    Has to be in a transaction. Only a superuser can close PostgreSQL's own functions: where there is none
    (as a provider may have it) the reader's role keeps them.
    """
    owners = [record[0] for record in await connection.fetch(_OWNERS, schemas)]
    keepers = [WRITER, FINANCE, "pg_monitor", *owners]
    to_keepers = ", ".join(f'"{role}"' for role in keepers)
    found = await connection.fetch(_TO_MEND, ALLOWED, schemas, keepers, READER)
    closable = [row["signature"] for row in found if row["can"] and row["open"]]
    if closable:
        await connection.execute(f"REVOKE EXECUTE ON ROUTINE {', '.join(closable)} FROM PUBLIC, {READER}")
    owed = [row["signature"] for row in found if row["can"] and row["was_open"]]
    if owed:
        await connection.execute(f"GRANT EXECUTE ON ROUTINE {', '.join(owed)} TO {to_keepers}")
    left = [row["signature"] for row in found if row["open"] and not row["can"]]
    sizes = await connection.fetchrow(_RELATION_SIZES, READER, HIDDEN_COLUMNS)
    if sizes is not None and sizes["can"]:
        await connection.execute(f"""
            REVOKE SELECT ON pg_catalog.pg_class FROM PUBLIC, {READER};
            GRANT SELECT ({sizes["columns"]}) ON pg_catalog.pg_class TO PUBLIC;
            GRANT SELECT ON pg_catalog.pg_class TO {to_keepers};
        """)
    elif sizes is not None:
        left.append("SELECT on pg_class")
    if left:
        _log.warning(
            "privileges.callable",
            role=READER,
            count=len(left),
            some=left[:NAMED_MAX],
            why="they tell sizes of rows that the role cannot select",
            mend="run acu-ledger migrate once with a superuser's DATABASE_URL",
        )
