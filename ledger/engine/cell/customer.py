"""A customer in memory, and the deciding of its commands.

Memory decides; it never answers a read. It holds the wallet as the last decided entry left it, the
reservations and the states of prices in use, and the commands that wait for something that is not in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pricing
from ledger.books import budgets, decide, refusals
from ledger.books.budgets import CounterPlace
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    Extend,
    Refund,
    Release,
    Reserve,
    Reverse,
    UpdateCustomer,
    needs_whole_plan,
)
from ledger.books.model.budgets import Budget
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.plans import Plan
from ledger.books.model.priced import STATELESS, Effect, Priced, State, Terms
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.books.model.reservations import Reservation, ReservationState
from ledger.books.model.wallets import Wallet
from ledger.books.returns.credit_return import is_refunded
from ledger.engine.cell.open_batch import CustomerPart, OpenBatch
from ledger.engine.command import Pending
from ledger.prices.plan_entitlements import refuse_denied
from ledger.prices.price_book import PriceBook, estimated_of, freed, priced_of, texts_of, unwound

UNDISTURBED_ROUNDS = 3
"""After so many a customer that another process wrote too is decided in memory again."""

_NO_FACTS = Facts()
_NO_KEYS: frozenset[str] = frozenset()
_OPEN = ReservationState.OPEN


@dataclass(frozen=True, slots=True)
class LockedRound:
    """A round under the lock: its batch, and the request ids that were looked for in the journal."""

    batch: OpenBatch
    request_ids: frozenset[str]

    work_max: int
    """Lines that it takes, but for a command that has more by itself."""

    def excludes(self, pending: Pending) -> bool:
        """Whether a command is for the next round: this one is full, or it came too late.

        Then it may be a repeat that nobody has looked for.
        """
        if pending.command is None:
            return False
        is_full = 0 < self.batch.work > self.work_max - pending.work
        return is_full or pending.command.request_id not in self.request_ids


@dataclass(slots=True, eq=False)
class Member:
    customer: int
    room: int
    """How many of `reservations` and `states` may be there."""
    wallet: Wallet | None = None
    token: int = 0
    """Of the write that left, or will leave, the wallet so."""
    reservations: dict[int, Reservation] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    """Named by commands, and not there when last looked for."""
    states: dict[str, State | None] = field(default_factory=dict)
    """What prices remember, by key; None: nothing under that key."""
    in_flight: dict[str, Pending] = field(default_factory=dict)
    """Its commands that have no answer yet, by their request ids."""
    waiting: deque[Pending] = field(default_factory=deque)
    """Those of them, and the looks at the clock, that are not decided, in order."""
    in_line: bool = False
    """It waits for a load or a round."""
    parts: int = 0
    """Batches, open or in flight, that hold a part of this customer."""
    loading: bool = False
    stopped: bool = False
    """It took no writes when last looked for: nothing of it is in memory."""
    contended: int = 0
    """Undisturbed rounds under the lock that it still needs before it is decided in memory again."""
    last_sequence: int = 0
    """As the last round under the lock left it."""
    round: LockedRound | None = None
    """The round under the lock that decides for it right now."""

    def forget(self) -> None:
        """Drops all that was read or decided; what waits stays."""
        self.wallet = None
        self.reservations.clear()
        self.absent.clear()
        self.states.clear()

    def is_full(self) -> bool:
        """Whether more is in memory than one customer may have there."""
        return len(self.reservations) + len(self.states) > self.room

    def forget_swept(self, now: datetime) -> None:
        """Drops budgets' counters of windows that ended long ago. Nothing of it may be on its way."""
        swept = [key for key, state in self.states.items() if budgets.is_swept(key, state, now)]
        for key in swept:
            del self.states[key]

    def make_room(self, in_use_max: int) -> None:
        """All that is there has just been loaded, as it is needed: there must be room for it."""
        self.room = max(in_use_max, 2 * (len(self.reservations) + len(self.states)))

    def is_idle(self) -> bool:
        return not self.parts and not self.waiting and not self.loading

    def keys_in_memory(self, pending: Pending, prices: PriceBook, now: datetime) -> frozenset[str] | None:
        """The keys of the states of prices that a command needs; also finds where it counts in budgets.

        None: something that it needs is not in memory, or it must wait for what is due.
        """
        wallet = self.wallet
        if wallet is None or len(self.reservations) + len(self.states) > self.room:
            return None
        if wallet.next_due_at is not None and wallet.next_due_at <= now:
            return None
        named = pending.reservation
        if named is not None and named not in self.reservations and named not in self.absent:
            return None
        if pending.facts is None and pending.needs_facts:
            return None
        pending.places = places_of(pending, wallet, self.reservations, prices, now)
        keys = keys_of(pending, wallet, self.reservations, prices, now) if pending.past else _NO_KEYS
        has_all = not keys or self.states.keys() >= keys
        if has_all and pending.places:
            has_all = self._knows(pending.places)
        return keys if has_all else None

    def _knows(self, places: Iterable[CounterPlace]) -> bool:
        """Whether what stands at budgets' counters is in memory."""
        states = self.states
        for place in places:
            if place.key not in states or (place.values_key and place.values_key not in states):
                return False
        return True

    def keep(self, decision: Decision) -> None:
        """Memory as the decision leaves it."""
        self.wallet = decision.wallet
        if decision.reservation is not None:
            self.reservations[decision.reservation.sequence] = decision.reservation
        if decision.states:
            self.states.update(decision.states)

    def settle(self, part: CustomerPart) -> None:
        """Lets go of the reservations that a committed part has closed."""
        for sequence, (image, _) in part.reservations.items():
            if image.state is not _OPEN and self.reservations.get(sequence) is image:
                del self.reservations[sequence]


def decide_in_memory(
    member: Member, pending: Pending, prices: PriceBook, now: datetime
) -> Decision | Refusal:
    """What a command amounts to, against its customer's wallet as all earlier commands left it."""
    wallet, asked = member.wallet, pending.command
    if wallet is None or asked is None:
        raise AssertionError("a command is decided against a wallet in memory")
    named = pending.reservation
    reservation = member.reservations.get(named) if named is not None else None
    plan = prices.plan_for(wallet.plan, wallet.plan_overrides, now)
    command = _under(plan, asked, wallet, prices, now)
    if isinstance(command, Refusal):
        return command
    terms: Terms | None = None
    priced: Priced | None = None
    if isinstance(command, (Reserve, Charge)):
        found = _terms_of_now(wallet, command, pending.usage, plan, prices, now)
        if isinstance(found, Refusal):
            return found
        terms = found
        if pending.usage is not None:
            priced = _price_anew(member, pending, pending.usage, command, prices, plan, terms, now)
    elif isinstance(command, Commit) and reservation is not None and pending.usage is not None:
        priced = _price_part(member, pending, pending.usage, reservation, prices, plan, now)
    facts = _facts(member, pending, reservation)
    if pending.keys and isinstance(command, Reverse):
        facts = unwound(facts, effects_of(facts), _known(member, pending), now)
    elif isinstance(command, Refund):
        facts = facts._replace(states=_known(member, pending), freed=freed(effects_of(facts)))
    return decide(
        wallet,
        command,
        now=now,
        plan=plan or Plan(wallet.plan, None),
        priced=priced,
        terms=terms,
        facts=facts,
    )


def _facts(member: Member, pending: Pending, reservation: Reservation | None) -> Facts:
    """What it is decided with beside the wallet, but for what prices remember."""
    if not pending.places:
        return pending.facts or (Facts(reservation) if reservation is not None else _NO_FACTS)
    counters = budgets.read(pending.places, member.states)
    if pending.facts is not None:
        return pending.facts._replace(counters=counters)
    return Facts(reservation, counters=counters)


def _under(
    plan: Plan | None, command: Command, wallet: Wallet, prices: PriceBook, now: datetime
) -> Command | Refusal:
    """A command with what the plan adds to it. Refuses what would go by a plan that is known in part."""
    if plan is not None and plan.unreadable and needs_whole_plan(command):
        return refusals.overrides_unreadable(plan.unreadable)
    if isinstance(command, UpdateCustomer):
        return command._replace(is_granted=_is_granted(wallet, command, plan, prices, now))
    return command


def _is_granted(
    wallet: Wallet, command: UpdateCustomer, plan: Plan | None, prices: PriceBook, now: datetime
) -> bool:
    """Whether what recurs begins: the customer comes to a plan, or has others of its own from now on."""
    own = wallet.plan_overrides if command.plan_overrides is None else command.plan_overrides or None
    after = prices.plan_for(command.plan or wallet.plan, own, now)
    if after is None or not after.grants:
        return False
    return command.plan is not None or plan is None or after.grants != plan.grants


def _terms_of_now(
    wallet: Wallet,
    command: Reserve | Charge,
    usage: tuple[pricing.Item, ...] | None,
    plan: Plan | None,
    prices: PriceBook,
    now: datetime,
) -> Terms | Refusal:
    """What new work rests on: the customer's card of now. Refuses where there is no plan or card.

    And what these do not allow, unless it has been done.
    """
    if plan is None:
        return Refusal(RefusalReason.PLAN_NOT_FOUND, {"plan": wallet.plan})
    card = prices.card_for(plan, wallet.card, now)
    if card is None:
        return Refusal(RefusalReason.RATE_CARD_NOT_FOUND, {"rate_card": wallet.card or plan.card or ""})
    if usage is not None and not (isinstance(command, Charge) and command.already_used):
        refusal = refuse_denied(plan, card.content, usage)
        if refusal is not None:
            return refusal
    return prices.pin(card, now, wallet.multiplier_nanos)


def _price_anew(
    member: Member,
    pending: Pending,
    usage: tuple[pricing.Item, ...],
    command: Reserve | Charge,
    prices: PriceBook,
    plan: Plan | None,
    terms: Terms,
    now: datetime,
) -> Priced:
    """What the usage of new work amounts to."""
    if isinstance(command, Reserve):
        return estimated_of(prices.estimate(usage, command.labels, terms, now))
    known = _known(member, pending)
    memory = pricing.Memory(texts_of(known))
    quote = prices.price(usage, command.labels, terms, memory, now, plan)
    return priced_of(quote, known, terms, now)


def _price_part(
    member: Member,
    pending: Pending,
    usage: tuple[pricing.Item, ...],
    reservation: Reservation,
    prices: PriceBook,
    plan: Plan | None,
    now: datetime,
) -> Priced:
    """What the usage of a part amounts to, under the terms that its reservation pins."""
    known, terms = _known(member, pending), reservation.terms
    memory = pricing.Memory(texts_of(known), reservation.own_run)
    quote = prices.price(usage, reservation.labels, terms, memory, now, plan)
    return priced_of(quote, known, terms, now)


def keys_of(
    pending: Pending,
    wallet: Wallet,
    reservations: Mapping[int, Reservation],
    prices: PriceBook,
    now: datetime,
) -> frozenset[str]:
    """The states that a command needs: of its usage's prices, or of the lines that it undoes.

    None are needed where the command will be refused before it has a price.
    """
    command, usage = pending.command, pending.usage
    match command:
        case Commit() if usage is not None:
            reservation = reservations.get(command.reservation)
            if reservation is not None:
                return prices.memory_keys(usage, reservation.labels, reservation.terms, now)
        case Charge() if usage is not None:
            plan = prices.plan_for(wallet.plan, wallet.plan_overrides, now)
            card = prices.card_for(plan, wallet.card, now)
            if card is not None:
                terms = prices.pin(card, now, wallet.multiplier_nanos)
                return prices.memory_keys(usage, command.labels, terms, now)
        case Reverse() | Refund() if pending.facts is not None:
            return frozenset(effect.key for effect in effects_of(pending.facts))
    return _NO_KEYS


def places_of(
    pending: Pending,
    wallet: Wallet,
    reservations: Mapping[int, Reservation],
    prices: PriceBook,
    now: datetime,
) -> tuple[CounterPlace, ...]:
    """Where a command counts in budgets: new work in those of the plan, what has begun where it began."""
    command = pending.command
    match command:
        case Reserve() | Charge():
            stated = _stated_budgets(wallet, prices, now)
            return budgets.places_of_new(stated, command.labels, now, wallet.zone) if stated else ()
        case Commit() | Extend() | Release():
            reservation = reservations.get(command.reservation)
            if reservation is not None and reservation.counters:
                return budgets.places_of_reservation(reservation, _stated_budgets(wallet, prices, now))
        case Reverse() if pending.facts is not None:
            stated = _stated_budgets(wallet, prices, now)
            return budgets.places_undone(pending.facts, stated, is_charge=command.charge is not None)
    return ()


def _stated_budgets(wallet: Wallet, prices: PriceBook, now: datetime) -> tuple[Budget, ...]:
    plan = prices.plan_for(wallet.plan, wallet.plan_overrides, now)
    return plan.budgets if plan is not None else ()


def effects_of(facts: Facts) -> list[Effect]:
    """What the lines that are given back have added to states, but for what a full refund has taken away."""
    effects: list[Effect] = []
    for entry in facts.charges:
        added = [effect for line in entry.money.lines for effect in line.effects] if entry.money else []
        if is_refunded(entry, facts.refunds):
            gone = freed(added)
            added = [effect for effect in added if effect.key not in gone]
        effects += added
    return effects


def _known(member: Member, pending: Pending) -> Mapping[str, State]:
    if not pending.keys:
        return STATELESS
    return {key: state for key in pending.keys if (state := member.states.get(key)) is not None}
