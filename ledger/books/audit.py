"""What must hold of a customer's books at any time, as pure functions over what was stored.

The invariants are the same in tests, after a crash and in production: each takes values as they were
decided or as they were read back from a store, and gives the violations that it finds, none where the
books are right. A `Books` is one customer's whole state: every entry from the first on, every lot ever
made, every reservation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from operator import add

from ledger.books.burn_down import burn_order
from ledger.books.model.amounts import ZERO, Credits, Dollars
from ledger.books.model.entries import Entry, EntryKind
from ledger.books.model.lots import Lot, LotKey, LotStatus
from ledger.books.model.priced import STATELESS, State
from ledger.books.model.reservations import Reservation, ReservationState
from ledger.books.model.wallets import NO_TALLY, Wallet
from ledger.books.tallies import MAX_TALLIES


class Invariant(StrEnum):
    """What can be violated."""

    BALANCED = "BALANCED"
    """The postings of an entry sum to 0 in each commodity."""
    CONSERVED = "CONSERVED"
    """pending + available + held + consumed + expired + voided + refunded = -(issued + debt), no account on
    the wrong side of 0; per lot what it has given is what it lacks; no lot below 0."""
    HELD = "HELD"
    """Held credits are the sum of open reservations' pins: of the customer and of each lot."""
    DEFERRED = "DEFERRED"
    """Deferred revenue is the value of the lots; the price of the debt is what `unbilled` says."""
    REPLAYED = "REPLAYED"
    """The balances stored are those that the journal replays to, after each entry and now."""
    COSTED = "COSTED"
    """A charge posts the cost that was priced, collected or not; its lines add up to it."""
    RETURNED = "RETURNED"
    """What has come back of a charge is no more than it collected, and all of it once it is reversed (but for
    what a period gave back at its close)."""
    SEQUENCED = "SEQUENCED"
    """Sequences without gaps, one effect a request id, instants that never go back."""
    REMEMBERED = "REMEMBERED"
    """What prices remember has sums that can be, and what is to be charged is due at some instant."""
    CARRIED = "CARRIED"
    """What rounding has left over is the sum of what the entries say of it."""
    LIVE = "LIVE"
    """The wallet holds exactly the lots with credits in them, in burn order, each in its right status."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold of a customer, and how."""

    invariant: Invariant
    customer: int
    description: str


@dataclass(frozen=True, slots=True)
class Books:
    """All that was stored of one customer."""

    wallet: Wallet
    lots: Sequence[Lot]
    reservations: Sequence[Reservation]
    entries: Sequence[Entry]
    """Oldest first, with their money."""
    states: Mapping[str, State]
    """What prices remember, by key."""


Found = Iterator[tuple[Invariant, str]]
_CHARGES = (EntryKind.COMMIT, EntryKind.CHARGE)
_RETURNS = (EntryKind.REVERSAL, EntryKind.REFUND)
_MOVE_CREDITS = (*_RETURNS, EntryKind.PERIOD_CLOSED, EntryKind.ROLLOVER)
"""Entries that may make lots of credits that come back, or move on."""


def audit(
    wallet: Wallet,
    lots: Sequence[Lot],
    reservations: Sequence[Reservation],
    entries: Sequence[Entry],
    states: Mapping[str, State] = STATELESS,
) -> list[Violation]:
    """Checks all invariants of one customer; see `Books` for what is needed."""
    history = Books(wallet, lots, reservations, entries, states)
    return [
        Violation(invariant, wallet.customer, description)
        for check in CHECKS
        for invariant, description in check(history)
    ]


def balanced(history: Books) -> Found:
    """Checks that every entry's postings sum to 0."""
    for entry in history.entries:
        credits_sum = sum(entry.credits)
        dollars_sum = sum(entry.money.dollars) if entry.money is not None else 0
        if credits_sum or dollars_sum:
            yield (
                Invariant.BALANCED,
                f"entry {entry.sequence}: {credits_sum} micro-credits, {dollars_sum} nano-dollars",
            )


def conserved(history: Books) -> Found:
    """Checks the accounts' signs, and that each lot lacks what it gave."""
    balances = history.wallet.balances
    for name, micros in balances._asdict().items():
        if (micros > 0) if name in ("issued", "debt") else (micros < 0):
            yield Invariant.CONSERVED, f"{name} is {micros}"
    if sum(balances):
        yield Invariant.CONSERVED, f"the balances sum to {sum(balances)}"
    yield from _lots_conserved(history)


def _lots_conserved(history: Books) -> Found:
    """Checks each lot: what it got, less what it gave, is what it has, but for what ended with it."""
    issued_lots = _subjects(history.entries, EntryKind.GRANT)
    stated_lots = _subjects(history.entries, EntryKind.GRANT_PENDING_PAYMENT)
    moving = {entry.sequence for entry in history.entries if entry.kind in _MOVE_CREDITS}
    drawn, refunded = _drawn(history.entries), _refunded(history.entries)
    granted = ended = 0
    for lot in history.lots:
        if not 0 <= lot.held_micros <= lot.remaining_micros <= lot.amount_micros:
            yield (
                Invariant.CONSERVED,
                f"lot {lot.key}: {lot.held_micros} held of {lot.remaining_micros} of {lot.amount_micros}",
            )
        if not (lot.key in issued_lots or lot.key in stated_lots or lot.key.sequence in moving):
            yield Invariant.CONSERVED, f"lot {lot.key}: no entry has made it"
        # A lot that credits came back to, or moved to, was granted nothing: they came from other lots.
        issued = lot.amount_micros if lot.key in issued_lots else 0
        gone = issued - drawn[lot.key] - refunded[lot.key] - lot.remaining_micros
        if gone < 0 or (gone and lot.status not in (LotStatus.EXPIRED, LotStatus.VOIDED)):
            yield Invariant.CONSERVED, f"lot {lot.key}: {gone} is gone, and it is {lot.status}"
        granted += issued
        ended += gone + refunded[lot.key]
    balances = history.wallet.balances
    if granted != -balances.issued:
        yield Invariant.CONSERVED, f"lots of {granted} were granted, {-balances.issued} was issued"
    if ended != balances.expired + balances.voided + balances.refunded:
        yield Invariant.CONSERVED, f"{ended} ended with its lots, the balances say otherwise: {balances}"


def _subjects(entries: Iterable[Entry], kind: EntryKind) -> set[tuple[int | None, int | None]]:
    """The lots that entries of a kind are about."""
    return {(entry.subject, entry.subject_n) for entry in entries if entry.kind is kind}


def held(history: Books) -> Found:
    """Checks pins against the lots and the balances."""
    pinned: Counter[LotKey] = Counter()
    for reservation in history.reservations:
        if reservation.pins and reservation.state is not ReservationState.OPEN:
            yield Invariant.HELD, f"reservation {reservation.sequence} is {reservation.state} and holds"
        if any(pin.micros <= 0 for pin in reservation.pins):
            yield Invariant.HELD, f"reservation {reservation.sequence} has an empty pin"
        for pin in reservation.pins:
            pinned[pin.lot] += pin.micros
    for lot in history.lots:
        if lot.held_micros != pinned[lot.key]:
            yield Invariant.HELD, f"lot {lot.key}: {lot.held_micros} held, {pinned[lot.key]} pinned"
    if history.wallet.balances.held != pinned.total():
        yield Invariant.HELD, f"{history.wallet.balances.held} held, {pinned.total()} pinned"


def deferred(history: Books) -> Found:
    """Checks deferred revenue and the price of the debt against the journal."""
    dollars = _dollars(history.entries)
    value = sum(lot.value_nanousd for lot in history.lots)
    if dollars.deferred != value:
        yield Invariant.DEFERRED, f"deferred is {dollars.deferred}, the lots are worth {value}"
    unbilled = history.wallet.unbilled_nanousd
    if dollars.unbilled != unbilled:
        yield Invariant.DEFERRED, f"unbilled is {dollars.unbilled}, the debt is priced {unbilled}"
    if unbilled > 0 or (unbilled and not history.wallet.balances.debt):
        yield Invariant.DEFERRED, f"debt of {history.wallet.balances.debt} is priced {unbilled}"
    for lot in history.lots:
        if lot.value_nanousd < 0 or (lot.value_nanousd and not lot.remaining_micros):
            yield Invariant.DEFERRED, f"lot {lot.key}: {lot.remaining_micros} worth {lot.value_nanousd}"


def replayed(history: Books) -> Found:
    """Checks that the journal replays to the balances stored, and the reservations' sums to their parts."""
    balances = Credits()
    for entry in history.entries:
        balances = Credits._make(map(add, balances, entry.credits))
        if entry.after != balances:
            yield Invariant.REPLAYED, f"entry {entry.sequence}: {entry.after} after it, {balances} replayed"
    if history.wallet.balances != balances:
        yield Invariant.REPLAYED, f"{history.wallet.balances} is stored, {balances} replayed"
    consumed = sum(entry.charged_micros for entry in history.entries)
    if balances.consumed != consumed:
        yield Invariant.REPLAYED, f"{balances.consumed} consumed, {consumed} charged"
    for reservation in history.reservations:
        yield from _reservation_replayed(reservation, history.entries)


def _reservation_replayed(reservation: Reservation, entries: Iterable[Entry]) -> Found:
    name = f"reservation {reservation.sequence}"
    own = [e for e in entries if e.reservation is not None and e.reservation.sequence == reservation.sequence]
    if reservation.state is ReservationState.REVERSED:
        parts = {entry.sequence for entry in own}
        own = [*(e for e in entries if e.kind is EntryKind.REFUND and e.subject in parts), *own]
    priced = sum(entry.priced_micros for entry in own)
    charged = sum(entry.charged_micros for entry in own)
    if (reservation.priced_micros, reservation.charged_micros) != (priced, charged):
        stored = (reservation.priced_micros, reservation.charged_micros)
        yield Invariant.REPLAYED, f"{name}: {stored} priced and charged stored, {(priced, charged)} replayed"
    newest = own[-1].reservation if own else None
    if newest is None or (newest.state, newest.held_micros, newest.charged_micros, newest.expires_at) != (
        reservation.state,
        reservation.held_micros,
        reservation.charged_micros,
        reservation.expires_at,
    ):
        yield Invariant.REPLAYED, f"{name}: stored otherwise than its newest entry says"


def costed(history: Books) -> Found:
    """Checks each charge's lines against its postings, and absorbed cost against cost."""
    for entry in history.entries:
        if entry.kind in _CHARGES:
            yield from _charge_costed(entry)
        elif entry.money is not None and entry.kind is not EntryKind.REVERSAL and entry.money.dollars.cost:
            yield Invariant.COSTED, f"entry {entry.sequence}: {entry.kind} posts a cost"
    for reservation in history.reservations:
        own = [
            entry.money
            for entry in history.entries
            if entry.money and entry.reservation and entry.reservation.sequence == reservation.sequence
        ]
        cost = -sum(money.dollars.cost for money in own)
        absorbed = [
            sum(money.absorbed_failed_outcome_nanousd for money in own),
            sum(money.absorbed_uncollected_nanousd for money in own),
            sum(money.absorbed_unpriced_nanousd for money in own),
        ]
        if min(absorbed) < 0 or sum(absorbed) > cost:
            yield Invariant.COSTED, f"reservation {reservation.sequence}: {absorbed} absorbed of {cost}"


def _charge_costed(entry: Entry) -> Found:
    name = f"entry {entry.sequence}"
    if not 0 <= entry.uncollected_micros <= entry.priced_micros:
        yield Invariant.COSTED, f"{name}: {entry.uncollected_micros} uncollected of {entry.priced_micros}"
    if entry.credits.consumed != entry.charged_micros:
        yield Invariant.COSTED, f"{name}: {entry.credits.consumed} consumed, {entry.charged_micros} charged"
    lines = entry.money.lines if entry.money else ()
    if [line.credits_micros for line in lines] != [line.credits_micros for line in entry.lines]:
        yield Invariant.COSTED, f"{name}: its two sides have other lines"
    dollars = entry.money.dollars if entry.money else Dollars()
    if not lines:
        if dollars.cost:
            yield Invariant.COSTED, f"{name}: without usage, costs {-dollars.cost}"
        return
    sums = [
        ("credits", sum(line.credits_micros for line in lines), entry.priced_micros),
        ("revenue", sum(line.revenue_nanousd for line in lines), dollars.revenue),
        ("cost", sum(line.cost_nanousd for line in lines), -dollars.cost),
    ]
    for what, of_lines, of_entry in sums:
        if of_lines != of_entry:
            yield Invariant.COSTED, f"{name}: {what} of the lines {of_lines}, of the entry {of_entry}"


def returned(history: Books) -> Found:
    """Checks what refunds and reversals gave back against what their charges collected."""
    left = {e.sequence: e.charged_micros for e in history.entries if e.kind in _CHARGES}
    has_closed = any(e.kind is EntryKind.PERIOD_CLOSED and e.charged_micros for e in history.entries)
    for entry in history.entries:
        if entry.kind not in _RETURNS:
            continue
        subject = entry.subject or 0
        undone = [subject]
        if entry.reservation is not None:
            undone = [e.sequence for e in history.entries if e.kind in _CHARGES and _is_part(e, subject)]
        given_back = -entry.charged_micros
        if entry.kind is EntryKind.REVERSAL:
            due = sum(left.get(sequence, 0) for sequence in undone)
            left.update(dict.fromkeys(undone, 0))
        else:
            due = left.get(subject, 0)
            left[subject] = due - given_back
        is_whole = entry.kind is EntryKind.REVERSAL and not has_closed
        if given_back > due or (is_whole and given_back != due):
            yield Invariant.RETURNED, f"entry {entry.sequence}: gives back {given_back}, {due} was left"


def _is_part(entry: Entry, reservation: int) -> bool:
    return entry.reservation is not None and entry.reservation.sequence == reservation


def sequenced(history: Books) -> Found:
    """Checks sequences, request ids and instants."""
    sequences = [entry.sequence for entry in history.entries]
    if sequences != list(range(1, history.wallet.sequence + 1)):
        yield Invariant.SEQUENCED, f"entries {sequences} of a wallet at {history.wallet.sequence}"
    ids = Counter(entry.request_id for entry in history.entries if entry.request_id is not None)
    for request_id, times in ids.items():
        if times > 1:
            yield Invariant.SEQUENCED, f"request id {request_id} took effect {times} times"
    for before, after in pairwise(history.entries):
        if after.booked_at < before.booked_at or after.effective_at < before.effective_at:
            yield Invariant.SEQUENCED, f"entry {after.sequence} is before entry {before.sequence}"
        if after.effective_at > after.booked_at:
            yield Invariant.SEQUENCED, f"entry {after.sequence} takes effect after it was booked"


def live(history: Books) -> Found:
    """Checks the wallet's lots: which, in what order, in what status, and when the clock is due."""
    wallet = history.wallet
    alive = sorted((lot for lot in history.lots if lot.remaining_micros), key=burn_order)
    if list(wallet.lots) != alive:
        keys = [lot.key for lot in wallet.lots], [lot.key for lot in alive]
        yield Invariant.LIVE, f"the wallet holds lots {keys[0]}, {keys[1]} have credits, in this order"
    by_status = {status: [lot for lot in history.lots if lot.status is status] for status in LotStatus}
    pending = sum(lot.remaining_micros for lot in by_status[LotStatus.PENDING_START])
    pending += sum(lot.remaining_micros - lot.held_micros for lot in by_status[LotStatus.DISPUTED])
    free = sum(lot.remaining_micros - lot.held_micros for lot in by_status[LotStatus.ACTIVE])
    if (pending, free) != (wallet.balances.pending, wallet.balances.available):
        yield Invariant.LIVE, f"lots have {pending} pending and {free} available: {wallet.balances}"
    for lot in by_status[LotStatus.DEPLETED]:
        if lot.remaining_micros:
            yield Invariant.LIVE, f"lot {lot.key} is depleted and has {lot.remaining_micros}"
    for lot in [*by_status[LotStatus.EXPIRED], *by_status[LotStatus.VOIDED]]:
        if lot.remaining_micros != lot.held_micros:
            yield Invariant.LIVE, f"lot {lot.key} is {lot.status} and has credits that nobody holds"
    instants = [lot.effective_at for lot in by_status[LotStatus.PENDING_START]]
    instants += [lot.expires_at for lot in by_status[LotStatus.ACTIVE] if lot.expires_at]
    instants += [r.expires_at for r in history.reservations if r.state is ReservationState.OPEN]
    instants += [
        state.closes_at for state in history.states.values() if state.surplus_micros and state.closes_at
    ]
    earliest = min(instants, default=None)
    if earliest and (wallet.next_due_at is None or wallet.next_due_at > earliest):
        yield Invariant.LIVE, f"{earliest} is due before {wallet.next_due_at}"


def remembered(history: Books) -> Found:
    """Checks what prices remember: what is due has an instant, and no sum is below 0.

    A surplus has one too, unless nothing is left of which it could go back.

    Of a period's lines no more revenue and credits are stored than the books have of all charges.
    """
    for key, state in history.states.items():
        sums = (state.collected_micros, state.uncollected_micros, state.revenue_nanousd)
        if min(sums) < 0:
            yield Invariant.REMEMBERED, f"state {key}: {sums}"
        is_settled = state.surplus_micros >= 0 and not (state.collected_micros or state.uncollected_micros)
        if state.surplus_micros and state.closes_at is None and not is_settled:
            yield Invariant.REMEMBERED, f"state {key}: a surplus of {state.surplus_micros}, and no close"
        if state.collected_micros > history.wallet.balances.consumed:
            consumed = history.wallet.balances.consumed
            yield (
                Invariant.REMEMBERED,
                f"state {key}: {state.collected_micros} collected of {consumed} consumed",
            )


def carried(history: Books) -> Found:
    """Checks the wallet's tallies against the entries; a wallet that is full of them has forgotten some."""
    tallies = history.wallet.tallies
    if len(tallies) >= MAX_TALLIES:
        return
    noted: dict[str, Fraction] = {}
    for money in (entry.money for entry in history.entries if entry.money):
        for key, more in money.remainders.items():
            noted[key] = noted.get(key, ZERO) + Fraction(*more)
    for key in {**noted, **tallies}:
        tally = tallies.get(key, NO_TALLY)
        carried = tally.exact_micros - tally.billed_micros
        if carried != noted.get(key, ZERO):
            yield Invariant.CARRIED, f"{key}: {carried} is carried, the entries say {noted.get(key, ZERO)}"


CHECKS: tuple[Callable[[Books], Found], ...] = (
    balanced,
    conserved,
    held,
    deferred,
    replayed,
    costed,
    returned,
    sequenced,
    live,
    remembered,
    carried,
)


def _drawn(entries: Iterable[Entry]) -> Counter[LotKey]:
    """Adds up what each lot gave to charges and debts, less what came back."""
    drawn: Counter[LotKey] = Counter()
    for entry in entries:
        for draw in entry.money.draws if entry.money else ():
            drawn[draw.lot] += draw.micros
    return drawn


def _refunded(entries: Iterable[Entry]) -> Counter[LotKey]:
    """Adds up what was taken back of each lot for money."""
    refunded: Counter[LotKey] = Counter()
    for entry in entries:
        if entry.kind is EntryKind.GRANT_REFUNDED:
            refunded[LotKey(entry.subject or 0, entry.subject_n or 0)] += entry.credits.refunded
    return refunded


def _dollars(entries: Iterable[Entry]) -> Dollars:
    total = Dollars()
    for entry in entries:
        if entry.money is not None:
            total = Dollars._make(map(add, total, entry.money.dollars))
    return total
