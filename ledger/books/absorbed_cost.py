"""What a reservation has cost, and the part of it that nobody pays for.

Absorbed cost is decided when a reservation closes, and for a charge without one at once. In this order:

- failed_outcome: on a card that prices outcomes, included usage for which no outcome was charged, whole
  (one charged outcome pays for all included usage of its reservation);
- unpriced: the cost of items that could not be priced, part by part what of it exceeds the list price of the
  credits that these were charged instead (a fallback's price, what they took of the hold);
- uncollected: of the rest of the cost the share uncollected / priced.

Each is rounded half even to nano-dollars; together they never exceed the cost posted. A late commit
decides anew over all parts, and its entry carries the signed difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger.books.making import make
from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.priced import PricedLine, Treatment
from ledger.books.model.reservations import ReservationCosts
from ledger.books.rounding import MAX_AMOUNT, exact_sum, round_ratio


class Absorbed(NamedTuple):
    """Nano-dollars absorbed, by reason."""

    failed_outcome: int = 0
    uncollected: int = 0
    unpriced: int = 0


NOTHING_ABSORBED = Absorbed()

_CHARGED = Treatment.CHARGED  # To look a member up in its enumeration costs as much as a call.


def accrue(
    costs: ReservationCosts, lines: Sequence[PricedLine], unpriced_paid_nanousd: Ratio = NO_AMOUNT
) -> ReservationCosts:
    """Adds what one part has cost; the cost to post is the growth of `posted_nanousd`.

    `unpriced_paid_nanousd` is what its items without a price were charged, at the list price of credits.
    """
    if not lines:
        return costs
    total, included, unpriced, _, failed_outcome, uncollected, absorbed_unpriced, saved, own_key = costs
    added, uncharged = [], []
    for line in lines:
        added.append(line.cost_exact_nanousd)
        if line.treatment is not _CHARGED:
            uncharged.append(line)
        if line.saved_exact_nanousd[0]:
            saved = exact_sum((line.saved_exact_nanousd,), saved)
        if line.own_key_exact_nanousd[0]:
            own_key = exact_sum((line.own_key_exact_nanousd,), own_key)
    total = exact_sum(added, total)
    if uncharged:
        included = exact_sum(_costs_of(Treatment.INCLUDED, uncharged), included)
        paid, of_paid = unpriced_paid_nanousd
        unpaid = exact_sum(_costs_of(Treatment.UNPRICED, uncharged), (-paid, of_paid))
        if unpaid[0] > 0:
            unpriced = exact_sum((unpaid,), unpriced)
    return make(
        ReservationCosts,
        (
            total,
            included,
            unpriced,
            round_ratio(total),
            failed_outcome,
            uncollected,
            absorbed_unpriced,
            saved,
            own_key,
        ),
    )


def fits(costs: ReservationCosts, lines: Sequence[PricedLine]) -> bool:
    """Whether the books can hold so much: the cost, and the memos, which may be larger.

    Each line's memos too: what one line saves, another may lose, so that their sum tells nothing of them.
    """
    if costs.posted_nanousd > MAX_AMOUNT:
        return False
    memos = [costs.saved_exact, costs.own_key_exact]
    for line in lines:
        memos += (line.saved_exact_nanousd, line.own_key_exact_nanousd)
    for numerator, denominator in memos:
        if numerator and not -MAX_AMOUNT * denominator <= numerator <= MAX_AMOUNT * denominator:
            return False
    return True


def _costs_of(treatment: Treatment, lines: Iterable[PricedLine]) -> list[Ratio]:
    return [line.cost_exact_nanousd for line in lines if line.treatment is treatment]


def settle(
    costs: ReservationCosts, priced_micros: int, charged_micros: int, *, outcome_missing: bool
) -> tuple[ReservationCosts, Absorbed]:
    """Decides what is absorbed: the costs with it, and the difference to what was absorbed before."""
    after = NOTHING_ABSORBED
    if outcome_missing or costs.unpriced_exact[0] or priced_micros != charged_micros:
        after = _decide(costs, priced_micros, charged_micros, outcome_missing=outcome_missing)
    before = (
        costs.absorbed_failed_outcome_nanousd,
        costs.absorbed_uncollected_nanousd,
        costs.absorbed_unpriced_nanousd,
    )
    if after == before:
        return costs, NOTHING_ABSORBED
    settled = ReservationCosts(
        costs.cost_exact,
        costs.included_exact,
        costs.unpriced_exact,
        costs.posted_nanousd,
        *after,
        costs.saved_exact,
        costs.own_key_exact,
    )
    return settled, Absorbed(*(new - old for new, old in zip(after, before, strict=True)))


def _decide(
    costs: ReservationCosts, priced_micros: int, charged_micros: int, *, outcome_missing: bool
) -> Absorbed:
    uncollected_micros = priced_micros - charged_micros
    failed_exact = costs.included_exact if outcome_missing else NO_AMOUNT
    left = costs.posted_nanousd
    failed = min(round_ratio(failed_exact), left)
    left -= failed
    unpriced = min(round_ratio(costs.unpriced_exact), left)
    left -= unpriced
    if uncollected_micros == 0:
        return Absorbed(failed, 0, unpriced)
    failed_or_unpriced, of_them = exact_sum((failed_exact, costs.unpriced_exact))
    rest, of_rest = exact_sum((costs.cost_exact, (-failed_or_unpriced, of_them)))
    share = round_ratio((rest * uncollected_micros, of_rest * priced_micros))
    return Absorbed(failed, min(share, left), unpriced)
