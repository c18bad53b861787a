"""Pages of a customer's rows, newest first: few rows are looked at for each, whatever is asked of them.

A page ends where it is full, where its rows have grown large, or where enough rows were looked at; it tells
where the next one begins. So a filter that nothing fits is answered page by page, each of them empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ledger.store.statements import fill, statements_of
from ledger.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import asyncpg

    from ledger.store.postgres.database import PooledConnection

LOOKED_AT_MAX: Final = 20_000
"""Rows looked at for one page: some 50 ms."""

LINES_BYTES_MAX: Final = 4 * 1024 * 1024
"""Lines of the rows of one page, as JSON; the last row may go beyond it. An answer has no more."""

BYTES_AT_ONCE: Final = 128 * 1024
"""Of rows, read without a pause: some 10 ms."""
_ROW_BYTES: Final = 512
"""What a row is to read beside its lines."""

PAGE_BYTES_MAX: Final = 2**21
"""Of rows of the back office, past which a page takes no further one: clients take 4 MiB, and the last row
may have half a MiB, for a key names up to 1,000 customers."""

LINES_BYTES: Final = "coalesce(octet_length(e.lines::text), 0)"

_SQL = statements_of(
    __name__,
    looked_at_max=LOOKED_AT_MAX,
    lines_bytes_max=LINES_BYTES_MAX,
    page_bytes_max=PAGE_BYTES_MAX,
)

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Rows, and the sequence below which the next page begins; None: there is none."""

    rows: list[Row]
    next_before: int | None


def sized_page(columns: str, of: str, *, bytes_: str, order: str, limit: str) -> str:
    """A page of rows of the back office, which ends where it is full or where its rows have grown large.

    `of` is the FROM and WHERE of all that fits.
    """
    return fill(_SQL["sized_page"], columns=columns, of=of, bytes=bytes_, order=order, limit=limit)


def page_of(
    records: Sequence[asyncpg.Record], limit: int, row: Callable[[Iterable[Any]], Row]
) -> tuple[list[Row], bool]:
    """The rows of a `sized_page` of at most `limit`, and whether there are more."""
    rows = [row(record[:-3]) for record in records[:limit]]
    return rows, bool(records) and records[0]["looked_at"] > len(rows)


def page_statement(columns: str, of: str, *, bytes_: str, floor: str) -> str:
    """A page of rows of a customer.

    `of` is the FROM and WHERE of all that fits; `floor` selects the last sequence to be looked at.
    """
    return fill(_SQL["page"], columns=columns, of=of, bytes=bytes_, floor=floor)


BY_SEQUENCE: Final = _SQL["by_sequence"]
"""A floor for what stands on every entry: a customer's sequence has no gaps."""


def by_count(of: str, *, where: str) -> str:
    """A floor for rows with gaps between their sequences; without a filter (`where`) none is needed."""
    return fill(_SQL["by_count"], of=of, where=where)


async def fetch_page(
    connection: PooledConnection,
    statement: str,
    customer: int,
    before: int,
    size: int,
    *filters: object,
    row_of: Callable[[asyncpg.Record], Row],
) -> Page[Row]:
    """At most so many rows with a sequence below `before`."""
    records = await connection.fetch(statement, customer, before, size + 1, *filters)
    found = [record for record in records if record["n"] is not None]
    rows, turns, bytes_before = [], Turns(BYTES_AT_ONCE), 0
    for record in found[:size]:
        rows.append(row_of(record))
        await turns.after(_ROW_BYTES + record["bytes"] - bytes_before)
        bytes_before = record["bytes"]
    last = found[min(len(found), size) - 1] if found else None
    if last is not None and (len(found) > size or last["bytes"] >= LINES_BYTES_MAX):
        return Page(rows, last["sequence"])
    floor = records[0]["floor"] if records else 1
    return Page(rows, floor if floor > 1 else None)
