"""Bugs planted into the service, each of which a fault has to bring to light: who watches the harness.

A bug is a change of the program in its own process, of the schema, or of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from ledger.books import budgets
from ledger.books.model.entries import Entry
from ledger.clock import DatabaseClock
from ledger.engine.cell.connection import LinkDownError
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.cell.writer import Writer
from ledger.engine.command import Committed
from ledger.store.cells import write
from ledger.store.cells import write_statement as statement
from ledger.store.cells.write import Batch
from ledger.store.postgres.history import History
from ledger.webhooks.sender import Sender

HASTE_SECONDS = 0.1
"""From a reply to the commit that it did not wait for: a kill falls in between whatever the disk's speed."""

FORGOTTEN = "usage forgotten when its session ends"
"""A bug of clients: the fault plants it in its own."""


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug, and what finds it."""

    fault: str
    injections: int
    plant: Callable[[], None]
    sql: str = ""
    """Run when the database has been migrated."""


def _nothing() -> None:
    """The schema alone is changed."""


def _reply_before_commit() -> None:
    ship: Any = Writer._ship

    async def hasty(self: Writer, batch: OpenBatch) -> None:
        for part in batch.parts.values():
            for pending, answer in part.items:
                if isinstance(answer, Committed):
                    pending.answer(answer)
        await asyncio.sleep(HASTE_SECONDS)
        await ship(self, batch)

    _replace(Writer, "_ship", hasty)


def _no_look_at_the_sequence() -> None:
    _say_instead("AND w.sequence = x.before AND w.token = x.token", "")


def _nothing_is_forgotten() -> None:
    """The sequence alone is compared, and histories of the database are not told apart."""
    token, any_token = "AND w.token = x.token", "AND x.token IS NOT NULL"
    _say_instead(token, any_token)
    _replace(write, "CHECK", _instead(write.CHECK, token, any_token))
    _replace(History, "at_a_turn", lambda *_: None)
    _replace(Writer, "_recover", _only_renew)


async def _only_renew(writer: Writer, batch: OpenBatch, _: Exception) -> None:
    """As after a conflict: the customers of the batch alone are loaded again."""
    while True:
        try:
            await writer._link.renew()
            break
        except LinkDownError:
            await asyncio.sleep(HASTE_SECONDS)
    writer._settlement.retract(batch.parts, batch)


def _no_look_at_the_history() -> None:
    """Tokens are compared, and what is known stays for ever."""
    _replace(History, "at_a_turn", lambda *_: None)


def _no_look_up() -> None:
    async def found_nothing(*_: object) -> dict[tuple[int, str], Entry]:
        return {}

    _replace(Writer, "_repeats", found_nothing)


def _own_clock() -> None:
    _replace(DatabaseClock, "at", lambda *_: datetime.now(UTC))
    _say_instead(f"interval '{statement.FRESH_SECONDS} seconds'", "interval '1000 years'")


def _states_lost_at_times() -> None:
    rows: Any = OpenBatch.rows
    batches = count()

    def forgetful(self: OpenBatch) -> Batch:
        batch: Batch = rows(self)
        if next(batches) % 2 == 0:
            batch.states.clear()
        return batch

    _replace(OpenBatch, "rows", forgetful)


def _counts_not_written() -> None:
    """A server goes by what it has counted in budgets itself."""
    rows: Any = OpenBatch.rows

    def uncounted(self: OpenBatch) -> Batch:
        batch: Batch = rows(self)
        for key in [key for key in batch.states if key[1].startswith(budgets.KEY_PREFIX)]:
            del batch.states[key]
        return batch

    _replace(OpenBatch, "rows", uncounted)


def _renewals_not_written() -> None:
    """What was granted is written, and not that it was."""
    rows: Any = OpenBatch.rows

    def unrenewed(self: OpenBatch) -> Batch:
        batch: Batch = rows(self)
        batch.renewals.clear()
        return batch

    _replace(OpenBatch, "rows", unrenewed)


def _failures_forgotten() -> None:
    """What a receiver has not taken is noted as delivered."""

    async def forgetful(self: Any, event: Any, secrets: Any) -> str:
        await failure_of(self, event, secrets)
        return ""

    failure_of: Any = Sender.failure_of
    _replace(Sender, "failure_of", forgetful)


def _say_instead(text: str, other: str) -> None:
    """Changes what the batched write begins with: its locks and its verdict."""
    statement._SQL["head"] = _instead(statement._SQL["head"], text, other)


def _instead(sql: str, text: str, other: str) -> str:
    """Raises AssertionError where the service says no such thing any more."""
    if text not in sql:
        raise AssertionError(f"{text} stands no longer in {sql}")
    return sql.replace(text, other)


def _replace(where: object, name: str, new: object) -> None:
    """Raises AttributeError where the service has no such thing any more."""
    getattr(where, name)
    setattr(where, name, new)


BUGS = {
    "reply before commit": Bug("server_killed", 5, _reply_before_commit),
    "no check of the sequence": Bug(
        "races",
        20,
        _no_look_at_the_sequence,
        """
        ALTER TABLE cell_00.entries DROP CONSTRAINT entries_pkey;
        ALTER TABLE cell_00.money DROP CONSTRAINT money_pkey;
        ALTER TABLE cell_00.reservations DROP CONSTRAINT reservations_pkey;
        """,
    ),
    "no key on the request id": Bug("same_request", 5, _nothing, "DROP INDEX cell_00.entries_request_id"),
    "no look-up before a refusal": Bug("same_request", 5, _no_look_up),
    "wallets written without what prices remember": Bug("connection_cut", 3, _states_lost_at_times),
    "no history told from another": Bug("history_lost", 3, _nothing_is_forgotten),
    "nothing forgotten at a restore": Bug("restore", 1, _no_look_at_the_history),
    "the process's own clock": Bug("clock_apart", 2, _own_clock),
    "counts of budgets not written": Bug("budget_race", 5, _counts_not_written),
    "renewals not written": Bug("renewal_killed", 1, _renewals_not_written),
    "failed deliveries noted as taken": Bug("receiver_failing", 1, _failures_forgotten),
    FORGOTTEN: Bug("outage", 1, _nothing),
}
