"""What is divided adds up, and what is covered is as much as could be."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from books_world import World
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.books import (
    Charge,
    Commit,
    Decision,
    Fill,
    GrantKind,
    IssueGrant,
    OverCapture,
    Plan,
    PricedLine,
    Reserve,
    Rounding,
    Treatment,
    Unpriced,
    apportion,
    round_exact,
)
from ledger.books.billing import make_bill
from ledger.books.burn_down import Source, cover
from ledger.books.model.amounts import Ratio
from ledger.books.rounding import apportion_ratios, exact_sum, nearest, over_one, round_ratio
from tests.amounts import CREDIT
from tests.build import decided, line, lot, priced

EXACT = st.fractions(0, 10**7, max_denominator=10**6)
SAVED = st.one_of(st.just(Fraction(0)), st.fractions(-(10**7), 10**7, max_denominator=10**6))
KINDS = ("tokens", "compute", "units")
ROUNDINGS = st.builds(
    Rounding, st.sampled_from([1, 7, 10_000]), st.sampled_from(["half_even", "half_up", "up", "down"])
)
TREATMENTS = st.sampled_from([Treatment.CHARGED, Treatment.INCLUDED, Treatment.UNPRICED])


@st.composite
def any_line(draw: st.DrawFn) -> PricedLine:
    """Draw a line; only charged ones have a price."""
    treatment = draw(TREATMENTS)
    exact = draw(EXACT) if treatment is Treatment.CHARGED else Fraction(0)
    cost, saved, own_key = draw(EXACT), draw(SAVED), draw(st.one_of(st.just(Fraction(0)), EXACT))
    return line(
        exact,
        cost,
        kind=draw(st.sampled_from(KINDS)),
        treatment=treatment,
        saved_nanousd=saved,
        own_key_nanousd=own_key,
    )


@given(st.integers(-(10**12), 10**12), st.lists(EXACT, min_size=1).filter(any))
@settings(deadline=None)
def test_shares_add_up_and_are_near_their_weight(total: int, weights: list[Fraction]) -> None:
    """Largest remainder: no share is off its exact value by one or more."""
    numerators, _ = over_one([weight.as_integer_ratio() for weight in weights])
    shares = apportion(total, numerators)
    assert sum(shares) == total
    whole = sum(weights)
    assert all(abs(share - total * weight / whole) < 1 for share, weight in zip(shares, weights, strict=True))


@given(st.lists(SAVED), st.sampled_from([-1, 0, 1]))
@settings(deadline=None)
def test_memos_add_up_and_are_near_what_they_are_exactly(amounts: list[Fraction], off: int) -> None:
    """Of either sign; what is 0 stays 0, and no part is off by more than the carry and one."""
    total = round_exact(sum(amounts, Fraction(0))) + (off if any(amounts) else 0)
    parts = nearest(total, [amount.as_integer_ratio() for amount in amounts])
    assert sum(parts) == total
    assert all(part == 0 for part, amount in zip(parts, amounts, strict=True) if not amount)
    assert all(abs(part - amount) <= 1 + abs(off) for part, amount in zip(parts, amounts, strict=True))


RATIOS = st.tuples(st.integers(-(10**15), 10**15), st.integers(1, 10**9))
"""Exact amounts, not reduced."""


@given(st.lists(RATIOS, max_size=5), RATIOS, ROUNDINGS)
@settings(deadline=None)
def test_pairs_of_integers_are_what_fractions_are(
    amounts: list[Ratio], start: Ratio, rounding: Rounding
) -> None:
    """Sums, reduced and over one denominator, and what they round to: to the last digit, of either sign.

    Nor is the one denominator of many larger than theirs: it would grow with each of a thousand lines.
    """
    total = sum((Fraction(*amount) for amount in amounts), Fraction(*start))
    assert exact_sum(amounts, start) == total.as_integer_ratio()
    numerators, denominator = over_one(amounts)
    assert [Fraction(each, denominator) for each in numerators] == [Fraction(*each) for each in amounts]
    if len({denominator for _, denominator in amounts}) > 1:
        assert denominator == lcm(*[Fraction(*each).denominator for each in amounts])
    assert round_ratio(start, rounding) == round_exact(Fraction(*start), rounding)


@given(st.integers(0, 10**12), st.lists(EXACT, min_size=1).filter(any))
@settings(deadline=None)
def test_exact_weights_divide_as_whole_ones_in_the_same_proportion(
    total: int, weights: list[Fraction]
) -> None:
    """However the weights are written, the shares are the same."""
    common = lcm(*[weight.denominator for weight in weights])
    doubled = [(2 * weight.numerator, 2 * weight.denominator) for weight in weights]
    assert apportion_ratios(total, doubled) == apportion(total, [int(weight * common) for weight in weights])


@given(EXACT, ROUNDINGS)
@settings(deadline=None)
def test_a_rounded_amount_is_the_nearest_that_its_mode_allows(amount: Fraction, rounding: Rounding) -> None:
    """Always a whole number of quanta, off by less than one, and by at most a half where halves decide."""
    rounded = round_exact(amount, rounding)
    assert rounded % rounding.quantum_micros == 0
    off = Fraction(rounded - amount, rounding.quantum_micros)
    if rounding.mode == "up":
        assert 0 <= off < 1
    elif rounding.mode == "down":
        assert -1 < off <= 0
    else:
        assert abs(off) <= Fraction(1, 2)


@given(st.lists(st.lists(any_line(), max_size=4), min_size=1, max_size=6), ROUNDINGS, st.booleans())
@example(
    parts=[[line(Fraction(6169993834, 617))], [line(Fraction(2217, 317))]],
    rounding=Rounding(7, "down"),
    outcomes=False,
)
@settings(deadline=None)
def test_a_session_in_parts_costs_what_it_costs_in_one(
    parts: list[list[PricedLine]], rounding: Rounding, outcomes: bool
) -> None:
    """Price, cost, absorbed cost and savings are the same, however the work is cut into commits.

    But for a quantum that credits do not cover, which waits for the customer's next usage.
    """
    in_parts, in_one = (
        commit_parts(parts, rounding, outcomes=outcomes),
        commit_parts([[line for part in parts for line in part]], rounding, outcomes=outcomes),
    )
    assert in_one.waiting_micros == 0
    assert in_parts.waiting_micros in (0, rounding.quantum_micros)
    if in_parts.waiting_micros:
        assert in_parts.uncollected_micros + in_parts.waiting_micros == in_one.uncollected_micros
        in_parts = in_parts._replace(
            priced_micros=in_parts.priced_micros + in_parts.waiting_micros,
            uncollected_micros=in_one.uncollected_micros,
            absorbed_uncollected_nanousd=in_one.absorbed_uncollected_nanousd,
            waiting_micros=0,
        )
    assert in_parts == in_one


class Booked(NamedTuple):
    """What all commits of a session have booked, and what of their price waits for the next usage."""

    saved_nanousd: int
    own_key_nanousd: int
    priced_micros: int
    uncollected_micros: int
    cost_nanousd: int
    absorbed_failed_outcome_nanousd: int
    absorbed_uncollected_nanousd: int
    absorbed_unpriced_nanousd: int
    waiting_micros: int


def commit_parts(parts: list[list[PricedLine]], rounding: Rounding, *, outcomes: bool) -> Booked:
    """Commit parts against a small hold and few credits; give what is booked of them all."""
    world = World()
    world.run(IssueGrant("g", b"", 5 * 10**6, GrantKind.PAID, 10**9))
    world.run(Reserve("r", b"", 10**6))
    first = len(world.entries)
    for number, lines in enumerate(parts):
        final = number == len(parts) - 1
        usage = priced(*lines, rounding=rounding, has_outcome_rule=outcomes)
        decided(world.run(Commit(f"c{number}", b"", 3, None, final), usage))
    booked = world.entries[first:]
    money = [entry.money for entry in booked if entry.money]
    cost = sum(m.dollars.cost for m in money)
    absorbed = sum(
        m.absorbed_failed_outcome_nanousd + m.absorbed_uncollected_nanousd + m.absorbed_unpriced_nanousd
        for m in money
    )
    assert 0 <= absorbed <= -cost
    for entry in booked:
        sources = parts[int(entry.request_id[1:])] if entry.request_id else []
        for source, booked_line in zip(sources, entry.money.lines if entry.money else (), strict=False):
            assert bool(source.saved_exact_nanousd[0]) or booked_line.saved_nanousd == 0
    carried = world.wallet.tallies.values()
    even = (
        2 * rounding.quantum_micros
    )  # What is carried may be negative, where halves are rounded another way.
    return Booked(
        sum(each.saved_nanousd for m in money for each in m.lines),
        sum(each.own_key_nanousd for m in money for each in m.lines),
        sum(entry.priced_micros for entry in booked),
        sum(entry.uncollected_micros for entry in booked),
        cost,
        sum(m.absorbed_failed_outcome_nanousd for m in money),
        sum(m.absorbed_uncollected_nanousd for m in money),
        sum(m.absorbed_unpriced_nanousd for m in money),
        sum(
            round_exact(tally.exact_micros + even, rounding) - even - tally.billed_micros for tally in carried
        ),
    )


@given(st.lists(any_line(), min_size=1, max_size=5), ROUNDINGS, st.booleans())
@settings(deadline=None)
def test_a_charge_absorbs_what_a_final_commit_absorbs(
    lines: list[PricedLine], rounding: Rounding, outcomes: bool
) -> None:
    """A charge of work already done and a late final commit book the same."""
    world = World()
    world.run(IssueGrant("g", b"", 5 * 10**6, GrantKind.PAID, 10**9))
    usage = priced(*lines, rounding=rounding, has_outcome_rule=outcomes)
    charge = world.run(Charge("c", b"", None, already_used=True), usage)
    world = World()
    world.run(IssueGrant("g", b"", 5 * 10**6, GrantKind.PAID, 10**9))
    world.run(Reserve("r", b"", 1))
    world.pass_time(timedelta(hours=1))
    commit = world.run(Commit("c", b"", 3, None, final=True), usage)
    assert isinstance(charge, Decision)
    assert isinstance(commit, Decision)
    assert (charge.entry.credits, charge.entry.money) == (commit.entry.credits, commit.entry.money)


@given(
    st.dictionaries(st.sampled_from(KINDS), st.integers(0, 30), min_size=1),
    st.lists(st.tuples(st.sampled_from([None, *KINDS]), st.integers(1, 20)), max_size=8),
)
@settings(deadline=None)
def test_as_much_is_covered_as_any_order_could_cover(
    needs: dict[str, int], lots: list[tuple[str | None, int]]
) -> None:
    """Scoped credits cover their kind, the others what is left, whatever the burn order is."""
    sources: list[Source] = [(lot(n, micros, scope), micros, False) for n, (scope, micros) in enumerate(lots)]
    asked = make_bill(None, priced(*[line(need, kind=kind) for kind, need in needs.items()]))
    taken, uncovered = cover(asked, iter(sources))
    scoped = {kind: sum(micros for scope, micros in lots if scope == kind) for kind in KINDS}
    free = sum(micros for scope, micros in lots if scope is None)
    missing = sum(max(0, need - scoped[kind]) for kind, need in needs.items())
    assert uncovered == max(0, missing - free)
    assert sum(micros for _, micros, _ in taken) == sum(needs.values()) - uncovered
    keys = [source.key for source, _, _ in taken]
    assert keys == sorted(set(keys))
    for source, micros, _ in taken:
        assert 0 < micros <= source.remaining_micros
    for kind in KINDS:
        paid = sum(micros for source, micros, _ in taken if source.scope == kind)
        assert paid <= needs.get(kind, 0)


@given(st.lists(any_line(), min_size=1, max_size=4), st.lists(st.sampled_from([*KINDS, None]), max_size=4))
@settings(deadline=None)
def test_a_part_without_a_price_leaves_nothing_of_the_hold(
    lines: list[PricedLine], scopes: list[str | None]
) -> None:
    """All is taken that lots of its lines' kinds hold, and all of that collected: no more is left unpaid."""
    uncollected = []
    for policy in (Unpriced.BOOK, Unpriced.CHARGE_HOLD):
        world = World(Plan("capped", None, OverCapture.CAP, unpriced=policy))
        for number, scope in enumerate([None, *scopes]):
            world.run(IssueGrant(f"g{number}", b"", 10**6, GrantKind.PAID, 10**9, scope=scope))
        asked = [line(CREDIT, kind=kind) for kind in KINDS]
        reserved = decided(world.run(Reserve("r", b"", None, Fill.UP_TO), priced(*asked)))
        named = reserved.entry.sequence
        part = decided(world.run(Commit("c", b"", named, None, final=False), priced(*lines)))
        uncollected.append(part.entry.uncollected_micros)
        kinds = {each.kind for each in lines if each.treatment is Treatment.UNPRICED}
        if policy is Unpriced.CHARGE_HOLD and kinds:
            left = {world.lots[pin.lot].scope for pin in world.reservations[named].pins}
            assert left.isdisjoint({None, *kinds})
    assert uncollected[0] == uncollected[1]
