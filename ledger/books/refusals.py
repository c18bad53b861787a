"""The refusals of the books, each with the variables that its reason carries."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ledger.books.limits import LINES_UNDONE_MAX, LOTS_MAX
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.lots import LotStatus
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.books.rounding import MAX_AMOUNT, BooksError

RESERVATION_NOT_FOUND = Refusal(RefusalReason.RESERVATION_NOT_FOUND)
CHARGE_NOT_FOUND = Refusal(RefusalReason.CHARGE_NOT_FOUND)
GRANT_NOT_FOUND = Refusal(RefusalReason.GRANT_NOT_FOUND)
RESERVATION_CLOSED = Refusal(RefusalReason.RESERVATION_CLOSED)
RESERVATION_EXPIRED = Refusal(RefusalReason.RESERVATION_EXPIRED)
RESERVATION_OPEN = Refusal(RefusalReason.RESERVATION_OPEN)
CHARGE_NOT_REVERSIBLE = Refusal(RefusalReason.CHARGE_NOT_REVERSIBLE)
TOO_MANY_GRANTS = Refusal(RefusalReason.TOO_MANY_GRANTS, {"grants_max": str(LOTS_MAX)})
REVERSAL_TOO_LARGE = Refusal(RefusalReason.REVERSAL_TOO_LARGE, {"lines_max": str(LINES_UNDONE_MAX)})
REVERSAL_NOT_EXACT = Refusal(RefusalReason.REVERSAL_NOT_EXACT)


def invalid(field: str, description: str) -> Refusal:
    """Refuses a field: which, what is wrong, what is allowed."""
    return Refusal(RefusalReason.INVALID_ARGUMENT, {"field": field, "description": description})


def do_not_verify(finding: str) -> Refusal:
    """Refuses what would be booked upon books that do not verify, by the id of what was found."""
    return Refusal(RefusalReason.BOOKS_DO_NOT_VERIFY, {"finding_id": finding})


def price_too_large(field: str) -> Refusal:
    """Refuses a price that the books cannot hold: quantities beyond any real use."""
    return invalid(field, f"the price amounts to more than {MAX_AMOUNT} micro-credits")


def overrides_unreadable(fields: Sequence[str]) -> Refusal:
    """Refuses what would go by a customer's own fields of its plan that cannot be read."""
    return Refusal(RefusalReason.PLAN_OVERRIDES_UNREADABLE, {"fields": ", ".join(fields)})


def grant_closed(status: LotStatus) -> Refusal:
    """Refuses to change a grant that has ended, or to take back what is used up."""
    return Refusal(RefusalReason.GRANT_CLOSED, {"status": status})


def not_pending_payment(status: LotStatus) -> Refusal:
    """Refuses to confirm a payment that nobody waits for."""
    return Refusal(RefusalReason.GRANT_NOT_PENDING_PAYMENT, {"status": status})


def not_disputed(status: LotStatus) -> Refusal:
    """Refuses to resolve a dispute that there is not."""
    return Refusal(RefusalReason.GRANT_NOT_DISPUTED, {"status": status})


def dollars(nanousd: int) -> str:
    """An amount, not below 0, as a decimal string of nine places."""
    return f"{nanousd // 10**9}.{nanousd % 10**9:09d}"


def refund_exceeds_grant(left_micros: int, left_nanousd: int) -> Refusal:
    """Refuses to take back more credits of a grant than nobody holds, or to pay back more than was paid."""
    return Refusal(
        RefusalReason.REFUND_EXCEEDS_GRANT,
        {"left_micros": str(left_micros), "left_usd": dollars(left_nanousd)},
    )


def write_off_exceeds_claim(owed_micros: int | None = None, owed_nanousd: int | None = None) -> Refusal:
    """Refuses to give up more than is owed: of a debt in credits, of a grant in money."""
    detail = {}
    if owed_micros is not None:
        detail["owed_micros"] = str(owed_micros)
    if owed_nanousd is not None:
        detail["owed_usd"] = dollars(owed_nanousd)
    return Refusal(RefusalReason.WRITE_OFF_EXCEEDS_CLAIM, detail)


def insufficient(available_micros: int, required_micros: int) -> Refusal:
    """Refuses for want of credits; `available_micros` is what this very command could have had."""
    return Refusal(
        RefusalReason.INSUFFICIENT_CREDITS,
        {
            "available_micros": str(available_micros),
            "required_micros": str(required_micros),
            "short_micros": str(required_micros - available_micros),
        },
    )


def budget_exceeded(
    counter: BudgetCounter, required_micros: int, *, values_max: int | None = None
) -> Refusal:
    """Refuses what a budget leaves too little for: which, in which window, for which labels (JSON).

    `values_max`: it counts for as many combinations of labels already, and for no more.
    """
    budget = counter.budget
    if budget is None:
        raise BooksError(f"{counter.key}: a budget that is no more refuses nothing")
    detail = {
        "budget": budget.name,
        "window": str(budget.window),
        "limit_micros": str(budget.limit_micros),
        "used_micros": str(counter.used_micros),
        "left_micros": str(counter.left_micros),
        "required_micros": str(required_micros),
    }
    if counter.labels:
        detail["labels"] = json.dumps({**counter.labels}, ensure_ascii=False, separators=(",", ":"))
    if counter.ends_at is not None:
        detail["window_ends_at"] = counter.ends_at.isoformat()
    if values_max is not None:
        detail["values_max"] = str(values_max)
    return Refusal(RefusalReason.BUDGET_EXCEEDED, detail)


def over_capture(held_micros: int, required_micros: int) -> Refusal:
    """Refuses a commit in credits above what its hold can pay."""
    return Refusal(
        RefusalReason.OVER_CAPTURE,
        {"held_micros": str(held_micros), "required_micros": str(required_micros)},
    )


def refund_exceeds_charge(left_micros: int) -> Refusal:
    """Refuses a refund of more than is left of what the charge collected."""
    return Refusal(RefusalReason.REFUND_EXCEEDS_CHARGE, {"left_micros": str(left_micros)})


def too_many_refunds(refunds_max: int, left_micros: int) -> Refusal:
    """Refuses one more refund of a part of a charge; all that is left may still go back in one."""
    return Refusal(
        RefusalReason.TOO_MANY_REFUNDS,
        {"refunds_max": str(refunds_max), "left_micros": str(left_micros)},
    )


def unpriced(item: int, kind: str, name: str) -> Refusal:
    """Refuses usage before the work: index, kind and name of the first item without a price."""
    return Refusal(RefusalReason.UNPRICED_USAGE, {"item": str(item), "kind": kind, "name": name})


def not_entitled(item: int, kind: str, name: str, of_list: str) -> Refusal:
    """Refuses usage before the work: index, kind and name of the first item that may not be begun."""
    return Refusal(
        RefusalReason.NOT_ENTITLED, {"item": str(item), "kind": kind, "name": name, "list": of_list}
    )
