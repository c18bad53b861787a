"""A customer in memory, and the deciding of its commands.

Memory decides; it never answers a read. It holds the wallet as the last decided entry left it, the
reservations and runs in use, and the commands that wait for something that is not in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pricing
from ledger.books import decide
from ledger.books.commands import Charge, Commit, Reserve, Reverse
from ledger.books.model import (
    Decision,
    Facts,
    Plan,
    Priced,
    Refusal,
    RefusalReason,
    Reservation,
    ReservationState,
    Terms,
    Wallet,
)
from ledger.engine.batch import OpenBatch, Part
from ledger.engine.pending import Pending
from ledger.engine.prices import PriceBook, estimated_of, priced_of

IN_USE_MAX = 20_000
"""Reservations and runs of one customer in memory; past it they go, and those in use are loaded again."""

_NO_FACTS = Facts()
_OPEN = ReservationState.OPEN


@dataclass(frozen=True, slots=True)
class Round:
    """A round under the lock: its batch, and the request ids that were looked for in the journal."""

    batch: OpenBatch
    request_ids: frozenset[str]

    def excludes(self, pending: Pending) -> bool:
        """Whether a command came too late for the round: it may be a repeat that nobody has looked for."""
        return pending.command is not None and pending.command.request_id not in self.request_ids


@dataclass(slots=True, eq=False)
class Member:
    customer: int
    wallet: Wallet | None = None
    reservations: dict[int, Reservation] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    """Named by commands, and not there when last looked for."""
    runs: dict[str, str | None] = field(default_factory=dict)
    waiting: deque[Pending] = field(default_factory=deque)
    parts: int = 0
    """Batches, open or in flight, that hold a part of this customer."""
    loading: bool = False
    contended: int = 0
    """Undisturbed rounds under the lock that it still needs before it is decided in memory again."""
    last_sequence: int = 0
    """As the last round under the lock left it."""
    round: Round | None = None
    """The round under the lock that decides for it right now."""

    def forget(self) -> None:
        """Drops all that was read or decided; what waits stays."""
        self.wallet = None
        self.reservations.clear()
        self.absent.clear()
        self.runs.clear()

    def is_idle(self) -> bool:
        return not self.parts and not self.waiting and not self.loading

    def lacks(self, pending: Pending, now: datetime) -> bool:
        """Whether the command needs something that is not in memory, or must wait for what is due."""
        wallet = self.wallet
        if wallet is None or len(self.reservations) + len(self.runs) > IN_USE_MAX:
            return True
        if wallet.next_due_at is not None and wallet.next_due_at <= now:
            return True
        command = pending.command
        if isinstance(command, Reverse):
            return pending.facts is None
        named = pending.reservation
        if named is not None and named not in self.reservations and named not in self.absent:
            return True
        return not self.runs.keys() >= pending.runs

    def keep(self, decision: Decision) -> None:
        """Memory as the decision leaves it."""
        self.wallet = decision.wallet
        if decision.reservation is not None:
            self.reservations[decision.reservation.sequence] = decision.reservation
        if decision.runs:
            self.runs.update(decision.runs)

    def settle(self, part: Part) -> None:
        """Lets go of the reservations that a committed part has closed."""
        for sequence, (image, _) in part.reservations.items():
            if image.state is not _OPEN and self.reservations.get(sequence) is image:
                del self.reservations[sequence]


def decide_in_memory(
    member: Member, pending: Pending, prices: PriceBook, now: datetime
) -> Decision | Refusal:
    """What a command comes to, against its customer's wallet as all earlier commands left it."""
    wallet, command = member.wallet, pending.command
    if wallet is None or command is None:
        raise AssertionError("a command is decided against a wallet in memory")
    named = pending.reservation
    reservation = member.reservations.get(named) if named is not None else None
    plan = prices.plans.get(wallet.plan)
    terms, priced, refusal = _price(member, pending, reservation, prices, plan, now)
    if refusal is not None:
        return refusal
    facts = pending.facts or (Facts(reservation) if reservation is not None else _NO_FACTS)
    return decide(
        wallet,
        command,
        now=now,
        plan=plan or Plan(wallet.plan, None),
        priced=priced,
        terms=terms,
        facts=facts,
    )


Pricing = tuple[Terms | None, Priced | None, Refusal | None]


def _price(
    member: Member,
    pending: Pending,
    reservation: Reservation | None,
    prices: PriceBook,
    plan: Plan | None,
    now: datetime,
) -> Pricing:
    command = pending.command
    match command:
        case Reserve() | Charge():
            return _price_anew(member, pending, prices, plan, now)
        case Commit() if reservation is not None and pending.usage is not None:
            memory = pricing.Memory(runs=_known(member, pending), own_run=reservation.own_run)
            quote = prices.price(pending.usage, reservation.labels, reservation.terms, memory, now)
            rounding = prices.rounding_of(reservation.terms)
            return reservation.terms, priced_of(quote, rounding, pending.usage), None
        case _:
            return None, None, None


def _price_anew(
    member: Member, pending: Pending, prices: PriceBook, plan: Plan | None, now: datetime
) -> Pricing:
    """Prices what rests on the customer's card of now; no plan or card, no price."""
    command, wallet = pending.command, member.wallet
    if wallet is None or not isinstance(command, (Reserve, Charge)):
        raise AssertionError("only new work takes the card of now")
    if plan is None:
        return None, None, Refusal(RefusalReason.PLAN_NOT_FOUND, {"plan": wallet.plan})
    card = prices.card_for(wallet.plan, wallet.card, now)
    if card is None:
        name = wallet.card or plan.card or ""
        return None, None, Refusal(RefusalReason.RATE_CARD_NOT_FOUND, {"rate_card": name})
    terms = prices.pin(card, now)
    if pending.usage is None:
        return terms, None, None
    if isinstance(command, Reserve):
        quote = prices.estimate(pending.usage, command.labels, terms, now)
        return terms, estimated_of(quote, card.rounding), None
    memory = pricing.Memory(runs=_known(member, pending), own_run=None)
    quote = prices.price(pending.usage, command.labels, terms, memory, now)
    return terms, priced_of(quote, card.rounding, pending.usage), None


def _known(member: Member, pending: Pending) -> Mapping[str, str]:
    return {run_id: state for run_id in pending.runs if (state := member.runs.get(run_id)) is not None}
