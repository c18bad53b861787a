"""How long and how large: a run whose figures count, and a quick one that shows that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    rounds: int
    """Turns that each compared figure takes; their median counts."""
    warm_seconds: float
    """Load before the clock starts, in each turn."""
    seconds: float
    """Load that counts, in each turn."""
    customers: int
    """Of the empty and of the full journal."""
    journal_entries: int
    """Of the full journal, about."""
    cold_customers: int
    """Of the books that do not fit into memory."""
    budgeted_customers: int
    """With budgets and a grant that recurs."""
    due_customers: int
    """With a grant each that expires at one instant."""
    memory_pairs: int
    """Written for the figures of resident memory."""
    cpu_pairs: int
    """Written in each turn in which a processor's time is compared."""
    reads: int
    """`GetBalance` calls in each turn."""
    open_loop_seconds: float
    overload_seconds: float
    price_seconds: float
    compare_rounds: int
    """Turns of each side where a commit is compared with another."""


FULL = Size(
    name="full",
    rounds=3,
    warm_seconds=1.0,
    seconds=5.0,
    customers=1_000,
    journal_entries=1_000_000,
    cold_customers=100_000,
    budgeted_customers=100,
    due_customers=20_000,
    memory_pairs=1_000_000,
    cpu_pairs=20_000,
    reads=300,
    open_loop_seconds=20.0,
    overload_seconds=20.0,
    price_seconds=1.0,
    compare_rounds=5,
)
SMALL = Size(
    name="small",
    rounds=1,
    warm_seconds=0.2,
    seconds=3.0,
    customers=400,
    journal_entries=20_000,
    cold_customers=11_000,
    budgeted_customers=100,
    due_customers=2_000,
    memory_pairs=8_000,
    cpu_pairs=6_000,
    reads=50,
    open_loop_seconds=3.0,
    overload_seconds=5.0,
    price_seconds=0.2,
    compare_rounds=2,
)
SIZES = {size.name: size for size in (FULL, SMALL)}
