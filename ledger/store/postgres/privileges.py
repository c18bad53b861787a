"""Who may do what in the database: one declared state, compared with what is there and mended at each start.

A role or a grant that is missing (a restored dump brings none) is made, one too many is taken back and
logged. What stands here is all that the three roles may do; PUBLIC may do nothing in the ledger's schemas.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg
import structlog

from ledger.store.postgres.database import FINANCE, READER, ROLES, WRITER
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ledger.store.postgres.database import Connection

_log = structlog.get_logger()

PUBLIC: Final = "PUBLIC"
_APPEND: Final = frozenset({"SELECT", "INSERT"})
_CHANGE: Final = frozenset({"SELECT", "INSERT", "UPDATE"})
_ADVANCE: Final = frozenset({"SELECT", "UPDATE"})
_RENEW: Final = frozenset({"SELECT", "INSERT", "DELETE"})
_ALL: Final = _CHANGE | _RENEW


class Relation(NamedTuple):
    """What the roles may do with a table or a view."""

    writer: frozenset[str] = frozenset()
    reader: str = ""
    """The columns that the reader may select, or ALL."""
    is_of_books: bool = True
    """Finance may read it."""


ALL: Final = "ALL"
"""Columns: all there are."""

CELL: Final[Mapping[str, Relation]] = {
    "wallets": Relation(
        _CHANGE,
        "customer sequence display_name plan card zone multiplier_nanos issued pending"
        " available held consumed expired voided refunded debt next_due_at last_instant created_at",
    ),
    # Of `plan_overrides` what tells no dollar.
    "own_fields": Relation(reader=ALL),
    # The journal takes inserts and nothing else, from nobody.
    "entries": Relation(_APPEND, ALL),
    "money": Relation(_APPEND),
    "debts": Relation(_CHANGE),
    "reservations": Relation(_CHANGE, ALL),
    "reservation_costs": Relation(_CHANGE),
    "lots": Relation(_CHANGE, ALL),
    "lot_values": Relation(_CHANGE),
    "grants": Relation(
        _CHANGE, "customer sequence n external_reference note ended refunded rolled_over recurring"
    ),
    "renewals": Relation(_CHANGE, ALL),
    "states": Relation(_ALL),
    "budgeted": Relation(_APPEND, ALL),
    "rollup_lines": Relation(_CHANGE),
    "rollup_accounts": Relation(_CHANGE),
    "tailer": Relation(_ADVANCE),
    "event_cursor": Relation(_ADVANCE),
    "top_ups": Relation(_CHANGE),
    "top_up_needs": Relation(_ALL),
    "expiry_notices": Relation(_ALL),
    "findings": Relation(_CHANGE),
    "watch": Relation(_ADVANCE),
    "journal": Relation(reader=ALL),
    "dollar_journal": Relation(),
}
SHARED: Final[Mapping[str, Relation]] = {
    "customers": Relation(_APPEND, ALL),
    "price_versions": Relation(_APPEND),
    "plan_versions": Relation(_APPEND),
    "price_generation": Relation(_ADVANCE),
    # Hashes of keys: whoever answers reads has no use for them.
    "keys": Relation(_CHANGE, is_of_books=False),
    "key_generation": Relation(_ADVANCE, is_of_books=False),
    "signing_keys": Relation(_RENEW, is_of_books=False),
    # As the journal.
    "audit": Relation(_APPEND),
    "events": Relation(_APPEND, ALL),
    "event_log": Relation(_ADVANCE),
    # Secrets that sign, and where to.
    "webhook_endpoints": Relation(_ALL, is_of_books=False),
    "webhook_queue": Relation(_ALL, is_of_books=False),
    # The owner's, who verifies before a port opens.
    "verified": Relation(is_of_books=False),
}


class Grant(NamedTuple):
    """One right of one role."""

    object: str
    """As GRANT names it: "TABLE cell_00.lots", "SCHEMA ledger", "DATABASE books"."""
    role: str
    privilege: str
    column: str = ""
    """Empty: the whole of it."""


_SQL = statements_of(__name__)
_MAKE_ROLE = _SQL["make_role"]
_LET_OWNER_SET_ROLE = _SQL["let_owner_set_role"]
_TOO_STRONG = _SQL["too_strong"]
_WEAKEN = _SQL["weaken"]
_MEMBERSHIPS = _SQL["memberships"]
_OWNS_DATABASE = _SQL["owns_database"]
_ROUTINES = _SQL["routines"]
_GRANTED = _SQL["granted"]


async def make_roles(connection: Connection) -> None:
    """Makes the roles that are missing, and takes from the others what opens more than is declared.

    Roles belong to the cluster: servers of two databases may make them at the same instant. They may log in,
    but have no password: with `scram` or `md5` in pg_hba.conf nobody can until one is set.
    """
    for role in ROLES:
        await connection.execute(_MAKE_ROLE.format(role=role))
        await connection.execute(_LET_OWNER_SET_ROLE.format(role=role))
    for record in await connection.fetch(_TOO_STRONG, ROLES):
        await _take_back(connection, _WEAKEN.format(role=record["rolname"]))
    for record in await connection.fetch(_MEMBERSHIPS, ROLES):
        statement = f"REVOKE {record['of']} FROM {record['role']}"
        if connection.get_server_version().major >= 16:  # before it only the grantor's own could be named
            statement += f" GRANTED BY {record['grantor']}"
        await _take_back(connection, statement)


async def mend_grants(connection: Connection, shared: str, cells: Sequence[str]) -> None:
    """Brings every grant in the ledger's schemas, and on the database, to what is declared.

    Has to be in a transaction. Raises asyncpg.InsufficientPrivilegeError where the schemas are not the
    session's own.
    """
    database = await connection.fetchval("SELECT format('DATABASE %I', current_database())")
    schemas = [shared, *cells]
    routines = [record[0] for record in await connection.fetch(_ROUTINES, schemas)]
    wanted = frozenset(_wanted(database, routines, shared, cells))
    too_many = await _granted(connection, schemas, database) - wanted
    is_owner = await connection.fetchval(_OWNS_DATABASE)
    for grants in _together(too_many):
        statement = "REVOKE {} ON {} FROM {}".format(*grants)
        if is_owner or grants[1] != database:
            await _take_back(connection, statement)
        else:  # PostgreSQL would say no more than a warning, and change nothing
            _log.warning("privileges.too_many", mend=f"the database's owner runs: {statement}")
    # Read anew: what is taken back from a table is taken from its columns, too.
    for grants in _together(wanted - await _granted(connection, schemas, database)):
        await connection.execute("GRANT {} ON {} TO {}".format(*grants))


def _wanted(database: str, routines: Sequence[str], shared: str, cells: Sequence[str]) -> Iterable[Grant]:
    yield from (Grant(database, role, "CONNECT") for role in ROLES)
    yield from (Grant(routine, role, "EXECUTE") for routine in routines for role in ROLES)
    for schema, relations in ((shared, SHARED), *((cell, CELL) for cell in cells)):
        yield from (Grant(f"SCHEMA {schema}", role, "USAGE") for role in ROLES)
        for name, relation in relations.items():
            table = f"TABLE {schema}.{name}"
            if relation.is_of_books:
                yield Grant(table, FINANCE, "SELECT")
            yield from (Grant(table, WRITER, privilege) for privilege in relation.writer)
            if relation.reader == ALL:
                yield Grant(table, READER, "SELECT")
            else:
                yield from (Grant(table, READER, "SELECT", column) for column in relation.reader.split())


async def _granted(connection: Connection, schemas: Sequence[str], database: str) -> frozenset[Grant]:
    found = {Grant(*record) for record in await connection.fetch(_GRANTED, schemas, ROLES)}
    # Who else may connect is the administrator's choice.
    return frozenset(found - {Grant(database, PUBLIC, "CONNECT")})


def _together(grants: Iterable[Grant]) -> Iterable[tuple[str, str, str]]:
    """Privileges, object and role of each statement: all that one role has of one object."""
    together: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for grant in sorted(grants):
        column = f" ({grant.column})" if grant.column else ""
        together[grant.object, grant.role].append(grant.privilege + column)
    for (name, role), privileges in together.items():
        yield ", ".join(privileges), name, role


async def _take_back(connection: Connection, statement: str) -> None:
    """Runs what takes a right away, and logs it: somebody had granted it."""
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        _log.warning("privileges.too_many", mend=f"a superuser runs: {statement}", error=str(error))
    else:
        # What every new database gives to PUBLIC is no find.
        tell = _log.info if statement.endswith(f"FROM {PUBLIC}") else _log.warning
        tell("privileges.taken_back", statement=statement)
