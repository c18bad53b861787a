"""What a reserve would be refused for, found out without a wallet: by what is free of it, scope by scope.

As much is covered of a need as any order of lots could cover (`burn_down`): one lot a scope stands for all.
What rounding has left over of earlier usage is not known here; it is no more than a quantum of the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ledger.books.burn_down import burn_order
from ledger.books.commands import Reserve
from ledger.books.model.amounts import Credits
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.decisions import Facts
from ledger.books.model.lots import GrantKind, Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.priced import UNSCALED, Priced, Terms
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import Wallet
from ledger.books.reservations import reserve


def foresee_refusal(
    free_micros: Mapping[str | None, int],
    amount_micros: int | None,
    *,
    labels: Mapping[str, str],
    now: datetime,
    plan: Plan,
    priced: Priced | None,
    terms: Terms,
    counters: tuple[BudgetCounter, ...] = (),
) -> Refusal | None:
    """Refuses what a reserve of the whole amount, or of the usage, would be refused for by the books.

    `free_micros` is what is available in lots of each scope; None stands for those without; `counters`
    are those of the budgets that the reserve would count in.
    """
    command = Reserve("", b"", amount_micros, labels=labels)
    wallet = _wallet(free_micros, plan, now)
    outcome = reserve(
        wallet, command, now=now, plan=plan, priced=priced, terms=terms, facts=Facts(counters=counters)
    )
    return outcome if isinstance(outcome, Refusal) else None


def _wallet(free_micros: Mapping[str | None, int], plan: Plan, now: datetime) -> Wallet:
    """A wallet of one lot a scope, worth nothing."""
    lots = [
        Lot(
            key=LotKey(n, 0),
            kind=GrantKind.ADJUSTMENT,
            amount_micros=micros,
            remaining_micros=micros,
            held_micros=0,
            value_nanousd=0,
            priority=0,
            scope=scope,
            effective_at=now,
            expires_at=None,
            status=LotStatus.ACTIVE,
        )
        for n, (scope, micros) in enumerate(free_micros.items())
    ]
    total_micros = sum(free_micros.values())
    return Wallet(
        customer=0,
        sequence=len(lots),
        display_name="",
        plan=plan.name,
        card=None,
        zone="UTC",
        multiplier_nanos=UNSCALED,
        balances=Credits(issued=-total_micros, available=total_micros),
        lots=tuple(sorted(lots, key=burn_order)),
        unbilled_nanousd=0,
        next_due_at=None,
        last_instant=now,
    )
