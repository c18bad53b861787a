"""Customers: their first entry, and changes of their names and policies."""

from __future__ import annotations

from datetime import datetime

from ledger.books.commands import CreateCustomer, UpdateCustomer
from ledger.books.model.amounts import Credits
from ledger.books.model.decisions import Decision
from ledger.books.model.entries import EntryKind
from ledger.books.model.plans import Plan
from ledger.books.model.priced import UNSCALED
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft
from ledger.books.renewals import comes_to


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
    plan_overrides: str | None = None,
    *,
    is_granted: bool = False,
) -> Decision:
    """Makes a customer: entry 1, with an empty wallet. `plan` is the name of one.

    `is_granted`: the plan has recurring grants, which begin by the clock, at once.
    """
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
        plan_overrides=plan_overrides,
    )
    command = CreateCustomer(request_id, fingerprint)
    return _come_to(
        Draft(wallet, now), EntryKind.CUSTOMER_CREATED, plan, command, plan if is_granted else None
    )


def update(wallet: Wallet, command: UpdateCustomer, *, now: datetime, plan: Plan) -> Decision:
    """Changes what the command names; an empty card, or empty overrides, remove the customer's own.

    The names are valid.
    """
    changed = wallet._replace(
        display_name=wallet.display_name if command.display_name is None else command.display_name,
        plan=wallet.plan if command.plan is None else command.plan,
        card=wallet.card if command.card is None else command.card or None,
        zone=wallet.zone if command.zone is None else command.zone,
        multiplier_nanos=wallet.multiplier_nanos
        if command.multiplier_nanos is None
        else command.multiplier_nanos,
        plan_overrides=wallet.plan_overrides
        if command.plan_overrides is None
        else command.plan_overrides or None,
    )
    new_plan = changed.plan if command.is_granted else None
    return _come_to(Draft(changed, now), EntryKind.CUSTOMER_UPDATED, plan.name, command, new_plan)


def _come_to(
    draft: Draft, kind: EntryKind, plan: str, command: CreateCustomer | UpdateCustomer, granting: str | None
) -> Decision:
    """The entry; with it the customer comes to the plan that is `granting`, if there is one."""
    if granting is None:
        return draft.finish(kind, plan, command=command)
    draft.due(draft.effective_at)
    decision = draft.finish(kind, plan, command=command)
    return decision._replace(renewals=comes_to(granting, draft.effective_at))
