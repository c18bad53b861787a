"""Pools against a model that pays credit by credit: order, ratios, exhaustion, the parts of a session."""

from __future__ import annotations

from fractions import Fraction

from books_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.books import (
    Commit,
    GrantKind,
    IssueGrant,
    PoolPart,
    PricedLine,
    Reserve,
)
from ledger.books.model.amounts import ZERO
from tests.build import decided, line, priced

POOLS = ("a", "b")
AMOUNTS = st.fractions(0, 40, max_denominator=12)


@st.composite
def lines(draw: st.DrawFn) -> PricedLine:
    """A line at its own price, that may draw on a pool at another."""
    micros, pool = draw(AMOUNTS), draw(st.sampled_from([*POOLS, None]))
    part = None if pool is None else PoolPart(pool, draw(AMOUNTS))
    return line(micros, kind="compute", pool=part)


def model(grants: dict[str, int], usage: list[PricedLine]) -> tuple[dict[str, Fraction], Fraction]:
    """Give what is drawn from each pool, and what is left to pay at the lines' own prices: exact."""
    left = {pool: Fraction(micros) for pool, micros in grants.items()}
    rest = ZERO
    for each in usage:
        part = ZERO
        if each.pool is not None:
            covered = min(each.pool.exact_micros, left[each.pool.pool])
            left[each.pool.pool] -= covered
            part = covered / each.pool.exact_micros if each.pool.exact_micros else Fraction(1)
        rest += Fraction(*each.exact_micros) * (1 - part)
    return {pool: grants[pool] - left[pool] for pool in grants}, rest


@given(
    st.lists(st.lists(lines(), max_size=3), min_size=1, max_size=5),
    st.fixed_dictionaries({pool: st.lists(st.integers(1, 30), min_size=1, max_size=3) for pool in POOLS}),
)
@settings(deadline=None, max_examples=150)
def test_pools_pay_as_in_the_model(parts: list[list[PricedLine]], grants: dict[str, list[int]]) -> None:
    """However a session is cut: from each pool round(exact), and round(exact) of the rest, to the micro."""
    world = World()
    world.run(IssueGrant("g", b"", 10**6, GrantKind.PAID, 10**6))
    scopes = {}
    for pool, amounts in grants.items():
        for n, amount in enumerate(amounts):
            grant = IssueGrant(f"{pool}{n}", b"", amount, GrantKind.PAID, 7, scope=f"pool:{pool}")
            issued = decided(world.run(grant))
            scopes[issued.entry.sequence] = pool
    held = decided(world.run(Reserve("r", b"", 1)))
    booked = []
    for n, usage in enumerate(parts):
        commit = Commit(f"c{n}", b"", held.entry.sequence, None, n == len(parts) - 1)
        booked.append(decided(world.run(commit, priced(*usage))).entry)
    from_pools, rest = model(
        {pool: sum(amounts) for pool, amounts in grants.items()}, [line for part in parts for line in part]
    )
    drawn = dict.fromkeys(POOLS, 0)
    for entry in booked:
        for draw in entry.money.draws if entry.money else ():
            if draw.lot.sequence in scopes:
                drawn[scopes[draw.lot.sequence]] += draw.micros
    assert drawn == {pool: round(exact) for pool, exact in from_pools.items()}
    assert sum(entry.priced_micros for entry in booked) == sum(drawn.values()) + round(rest)
    reported = sum(line.pool_micros for entry in booked for line in entry.lines)
    assert reported == sum(drawn.values())
    assert sum(entry.uncollected_micros for entry in booked) == 0
