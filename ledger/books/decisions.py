"""The one door of the books: a command and a wallet in, a decision or a refusal out.

Refusals are looked for in the order of `RefusalReason`: the shape of the command, what it names, the
state of that, the price of its usage, the budgets, the credits.
"""

from __future__ import annotations

from datetime import datetime

from ledger.books import charges, customers, disputes, grants, money_back, reservations
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    DisputeGrant,
    Extend,
    ExtendGrant,
    IssueGrant,
    OfGrant,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    UpdateCustomer,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.plans import Plan
from ledger.books.model.priced import Priced, Terms
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import Wallet
from ledger.books.returns import refunds, reversals
from ledger.books.rounding import BooksError


def decide(
    wallet: Wallet,
    command: Command,
    *,
    now: datetime,
    plan: Plan,
    priced: Priced | None,
    terms: Terms | None,
    facts: Facts,
) -> Decision | Refusal:
    """Decides a command on a wallet as all earlier entries left it.

    `now` is the entry's instant, not before the wallet's last one; what is due by the clock up to `now` has
    been written (`due`), so that no command uses an expired lot or hold. `plan` is the customer's plan as it
    is now; `priced` what the usage of the command costs, None where it has none; `terms` what a `Reserve`
    pins or a `Charge` rests on (a commit goes by its reservation's); `facts` what the command names.

    Raises `BooksError` where the caller breaks these rules: a fault, never a customer's doing.
    """
    if wallet.next_due_at is not None and wallet.next_due_at <= now:
        raise BooksError(f"customer {wallet.customer}: {wallet.next_due_at} is due and not written")
    decision: Decision | Refusal
    match command:
        case Reserve():
            decision = reservations.reserve(
                wallet, command, now=now, plan=plan, priced=priced, terms=terms, facts=facts
            )
        case Commit():
            decision = charges.commit(wallet, command, now=now, plan=plan, priced=priced, facts=facts)
        case Release():
            decision = reservations.release(wallet, command, now=now, plan=plan, facts=facts)
        case Extend():
            decision = reservations.extend(wallet, command, now=now, plan=plan, facts=facts)
        case Charge():
            decision = charges.charge(
                wallet, command, now=now, plan=plan, priced=priced, terms=terms, facts=facts
            )
        case Reverse() | Refund():
            decision = _give_back(wallet, command, now=now, plan=plan, facts=facts)
        case (
            IssueGrant()
            | ConfirmGrant()
            | VoidGrant()
            | ExtendGrant()
            | DisputeGrant()
            | ResolveDispute()
            | RefundGrant()
            | WriteOffGrant()
            | WriteOffDebt()
        ):
            decision = _grant(wallet, command, now=now, plan=plan, facts=facts)
        case UpdateCustomer():
            decision = customers.update(wallet, command, now=now, plan=plan)
        case _:
            raise BooksError(f"no such command: {type(command).__name__}")
    return decision


def _give_back(
    wallet: Wallet, command: Reverse | Refund, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    if isinstance(command, Reverse):
        return reversals.reverse(wallet, command, now=now, plan=plan, facts=facts)
    return refunds.refund(wallet, command, now=now, plan=plan, facts=facts)


def _grant(
    wallet: Wallet,
    command: IssueGrant | OfGrant | WriteOffDebt,
    *,
    now: datetime,
    plan: Plan,
    facts: Facts,
) -> Decision | Refusal:
    match command:
        case IssueGrant():
            return grants.issue(wallet, command, now=now, plan=plan)
        case ConfirmGrant():
            return grants.confirm(wallet, command, now=now, plan=plan, facts=facts)
        case VoidGrant():
            return grants.void(wallet, command, now=now, plan=plan, facts=facts)
        case ExtendGrant():
            return grants.extend(wallet, command, now=now, plan=plan, facts=facts)
        case DisputeGrant():
            return disputes.dispute(wallet, command, now=now, plan=plan, facts=facts)
        case _:
            return _money_back(wallet, command, now=now, plan=plan, facts=facts)


def _money_back(
    wallet: Wallet,
    command: ResolveDispute | RefundGrant | WriteOffGrant | WriteOffDebt,
    *,
    now: datetime,
    plan: Plan,
    facts: Facts,
) -> Decision | Refusal:
    match command:
        case ResolveDispute():
            return disputes.resolve(wallet, command, now=now, plan=plan, facts=facts)
        case RefundGrant():
            return money_back.refund(wallet, command, now=now, plan=plan, facts=facts)
        case WriteOffGrant():
            return money_back.write_off(wallet, command, now=now, plan=plan, facts=facts)
        case WriteOffDebt():
            return money_back.write_off_debt(wallet, command, now=now, plan=plan)
