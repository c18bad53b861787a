"""Customers: their first entry, and changes of their names and policies."""

from __future__ import annotations

from datetime import datetime

from ledger.books.commands import CreateCustomer, UpdateCustomer
from ledger.books.model import UNSCALED, Credits, Decision, EntryKind, Plan, Wallet
from ledger.books.posting import Draft


def create(
    customer: int,
    display_name: str,
    plan: str,
    card: str | None,
    zone: str,
    request_id: str,
    fingerprint: bytes,
    now: datetime,
    multiplier_nanos: int = UNSCALED,
) -> Decision:
    """Makes a customer: entry 1, with an empty wallet. `plan` is the name of one."""
    wallet = Wallet(
        customer=customer,
        sequence=0,
        display_name=display_name,
        plan=plan,
        card=card,
        zone=zone,
        multiplier_nanos=multiplier_nanos,
        balances=Credits(),
        lots=(),
        unbilled_nanousd=0,
        next_due_at=None,
        last_instant=now,
    )
    return Draft(wallet, now).finish(
        EntryKind.CUSTOMER_CREATED, plan, command=CreateCustomer(request_id, fingerprint)
    )


def update(wallet: Wallet, command: UpdateCustomer, *, now: datetime, plan: Plan) -> Decision:
    """Changes what the command names; an empty card removes the customer's own. The names are valid."""
    changed = wallet._replace(
        display_name=wallet.display_name if command.display_name is None else command.display_name,
        plan=wallet.plan if command.plan is None else command.plan,
        card=wallet.card if command.card is None else command.card or None,
        zone=wallet.zone if command.zone is None else command.zone,
        multiplier_nanos=wallet.multiplier_nanos
        if command.multiplier_nanos is None
        else command.multiplier_nanos,
    )
    return Draft(changed, now).finish(EntryKind.CUSTOMER_UPDATED, plan.name, command=command)
