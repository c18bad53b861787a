"""Acts of the back office: who did what, with which key, and what it changed.

Each is a row of `ledger.audit`, written by the transaction that writes what it is about, so that neither is
there without the other. What a repeat finds done, and what is refused, is no act. Nobody may change a row or
remove one: the journal of customers is no safer. The pool to use is the writer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from ledger.books.commands import (
    OF_GRANT,
    ConfirmGrant,
    ExtendGrant,
    IssueGrant,
    RefundGrant,
    ResolveDispute,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.amounts import Dollars
from ledger.store.lists import page_of, sized_page
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.books.commands import Command, OfGrant
    from ledger.books.model.decisions import Decision, Facts
    from ledger.books.model.entries import Entry
    from ledger.books.model.lots import Lot
    from ledger.books.model.wallets import Wallet
    from ledger.store.postgres.database import Pool, PooledConnection

_SQL = statements_of(__name__)
NOTE = _SQL["note"]
LIST = sized_page(
    "number, at, key_id, name, method, resource, customer, sequence, request_id, before::text, after::text",
    "FROM ledger.audit WHERE {conditions}",
    bytes_="octet_length(concat(before, after))",
    order="at DESC, number DESC",
    limit="$3",
)

CUSTOMERS: Final = "customers/"
"""What an act on a customer concerns begins so, and ends with its id."""

Image = dict[str, Any]
"""What something was or is, by field; JSON in the row. Never a key, nor its hash."""


class Act(NamedTuple):
    """Who does something, and by which method."""

    key_id: str
    """Empty: with no key."""
    name: str
    method: str


class Audited(NamedTuple):
    """An act that made an entry of the journal."""

    act: Act
    entry: Entry
    before: Image | None
    after: Image


class AuditEvent(NamedTuple):
    """A row of the audit."""

    number: int
    at: datetime
    key_id: str
    name: str
    method: str
    resource: str
    customer: int | None
    sequence: int | None
    """Of the customer's entry in the journal."""
    request_id: str | None
    before: str | None
    """JSON; None: there was nothing."""
    after: str


class Wanted(NamedTuple):
    """Which acts are looked for; None: any."""

    method: str | None = None
    key_id: str | None = None
    resource: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""


_CONDITIONS: Final = ("method = {}", "key_id = {}", "resource = {}", "at >= {}", "at < {}")
"""Of what is wanted, in the same order."""


async def note(
    connection: PooledConnection,
    act: Act,
    resource: str,
    before: Image | None,
    after: Image,
    *,
    request_id: str | None = None,
) -> None:
    """Writes a row, in the transaction that the connection is in."""
    images = [orjson.dumps(image).decode() if image is not None else None for image in (before, after)]
    await connection.execute(NOTE, *act, resource, request_id, *images)


async def list_events(
    pool: Pool, wanted: Wanted, before: tuple[datetime, int], limit: int
) -> tuple[list[AuditEvent], bool]:
    """Acts, the newest first, those before an instant and a number; and whether there are more."""
    statement, values = listing(wanted, before, limit)
    return page_of(await pool.fetch(statement, *values), limit, AuditEvent._make)


def listing(wanted: Wanted, before: tuple[datetime, int], limit: int) -> tuple[str, list[Any]]:
    """The statement that lists acts, and what is bound to it.

    It has the conditions that are asked for alone, so that it can go by the index of one.
    """
    asked = [(sql, value) for sql, value in zip(_CONDITIONS, wanted, strict=True) if value is not None]
    conditions = ["(at, number) < ($1, $2)", *(sql.format(f"${n}") for n, (sql, _) in enumerate(asked, 4))]
    return LIST.format(conditions=" AND ".join(conditions)), [*before, limit, *(value for _, value in asked)]


def audited(act: Act, wallet: Wallet, command: Command, decision: Decision, facts: Facts | None) -> Audited:
    """What an act has made of a customer, whose wallet it met, and of what it names (`facts`)."""
    if isinstance(command, IssueGrant):
        return Audited(act, decision.entry, None, _grant_image(command, decision.entry))
    if isinstance(command, WriteOffDebt):
        given_up = {"amount_micros": -decision.entry.credits.issued, "reason": command.reason}
        return Audited(act, decision.entry, None, given_up)
    if isinstance(command, OF_GRANT):
        lots = (*wallet.lots, *(facts.lots if facts is not None else ()))
        before = next(lot for lot in lots if lot.key == command.lot)
        [after] = decision.lots
        stated: Image = {}
        if isinstance(command, ConfirmGrant) and facts is not None:
            stated["paid_total_nanousd"] = facts.record.paid_nanousd
        asked = _changes(command, decision)
        return Audited(act, decision.entry, _lot_image(before) | stated, _lot_image(after) | asked)
    return Audited(act, decision.entry, customer_image(wallet), customer_image(decision.wallet))


def customer_image(wallet: Wallet) -> Image:
    """A customer's names and policies."""
    return {
        "display_name": wallet.display_name,
        "plan": wallet.plan,
        "rate_card": wallet.card or "",
        "zone": wallet.zone,
        "multiplier_nanos": wallet.multiplier_nanos,
        "plan_overrides": wallet.plan_overrides or "",
    }


def _grant_image(command: IssueGrant, entry: Entry) -> Image:
    return {
        "kind": command.kind,
        "amount_micros": command.amount_micros,
        "paid_total_nanousd": command.paid_total_nanousd,
        "effective_at": (command.effective_at or entry.effective_at).isoformat(),
        "expires_at": instant(command.expires_at),
        "priority": command.priority,
        "scope": command.scope or "",
        "pending_payment": command.pending_payment,
        "external_reference": command.external_reference or "",
        "note": command.note or "",
    }


def _lot_image(lot: Lot) -> Image:
    """What may change of a grant, and by what its id is made."""
    return {
        "lot": [*lot.key],
        "status": lot.status,
        "remaining_micros": lot.remaining_micros,
        "expires_at": instant(lot.expires_at),
        "priority": lot.priority,
    }


def _changes(command: OfGrant, decision: Decision) -> Image:
    """What an act on a grant states beside what became of it."""
    dollars = decision.entry.money.dollars if decision.entry.money is not None else Dollars()
    said: Image = {} if isinstance(command, ConfirmGrant | ExtendGrant) else {"reason": command.reason}
    match command:
        case ConfirmGrant():
            said["paid_total_nanousd"] = decision.records[command.lot].paid_nanousd
        case VoidGrant():
            said["used"] = command.used
        case ResolveDispute():
            said |= {"is_won": True} if command.is_won else {"is_won": False, "used": command.used}
        case RefundGrant():
            said["refunded_micros"] = decision.entry.credits.refunded
            said["paid_back_nanousd"] = dollars.refund_payable
        case WriteOffGrant():
            said["written_off_nanousd"] = -dollars.write_off
    return said


def instant(value: datetime | None) -> str | None:
    """An instant in an image."""
    return value.isoformat() if value is not None else None
