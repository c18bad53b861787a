"""What the figures mean: each beside its ceiling and the ratio that is required of the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure over its ceiling, and the bound of that ratio."""

    work: str
    figure: str
    unit: str
    ceiling: str
    over: tuple[str, ...] | float
    """Figures whose sum is the ceiling, or a fixed one."""
    bound: float
    at_least: bool = True

    def ceiling_of(self, figures: Figures) -> float:
        return self.over if isinstance(self.over, float) else sum(figures[key] for key in self.over)

    def ratio(self, figures: Figures) -> float:
        return figures[self.figure] / self.ceiling_of(figures)

    def is_met(self, figures: Figures) -> bool:
        ratio = self.ratio(figures)
        return ratio >= self.bound if self.at_least else ratio <= self.bound


_BATCH = "batch_500_pairs_per_s"

TARGETS = (
    Target(
        "unary Reserve and CommitReservation, 32 in flight",
        "unary_calls_per_s",
        "calls/s",
        "empty RPC of a bare server",
        ("echo_calls_per_s",),
        0.42,
    ),
    Target(
        "the same by ledger.client",
        "client_calls_per_s",
        "calls/s",
        "by plain stubs",
        ("unary_calls_per_s",),
        2.5,
    ),
    Target(
        "Reserve, 1 in flight, p50",
        "reserve_p50_ms",
        "ms",
        "empty RPC and single-row insert commit",
        ("echo_p50_ms", "insert_p50_ms"),
        2.0,
        at_least=False,
    ),
    Target(
        "the same by ledger.client",
        "client_reserve_p50_ms",
        "ms",
        "by a plain stub",
        ("reserve_p50_ms",),
        1.15,
        at_least=False,
    ),
    Target(
        "Reserve, 1 in flight, p50, with two budgets, a grant that recurs, and events",
        "reserve_with_budgets_p50_ms",
        "ms",
        "without",
        ("reserve_p50_ms",),
        1.1,
        at_least=False,
    ),
    Target(
        "Batch, 500 items, 4 in flight, 100 customers",
        _BATCH,
        "pairs/s",
        "the same writes by the store alone",
        ("store_500_pairs_per_s",),
        0.5,
    ),
    Target(
        "the same",
        _BATCH,
        "pairs/s",
        "by the store alone as it was in 0.1.0",
        ("store_500_before_pairs_per_s",),
        0.75,
    ),
    Target(
        "the same",
        _BATCH,
        "pairs/s",
        "one bare insert of the same rows' bytes",
        ("insert_500_pairs_per_s",),
        0.3,
    ),
    Target(
        "a pair in Batch of 500, from the message to the answer",
        "python_calls_per_pair",
        "Python calls",
        "the target",
        150.0,
        1.0,
        at_least=False,
    ),
    Target(
        "Batch of 500 by TLS and with keys, the server's processor a pair",
        "secured_batch_500_cpu_us",
        "us",
        "in plaintext and without",
        ("batch_500_cpu_us",),
        1.05,
        at_least=False,
    ),
    Target(
        "a call's key, the server's processor",
        "auth_us_per_call",
        "us",
        "the target",
        20.0,
        1.0,
        at_least=False,
    ),
    Target(
        "Batch, 100 items, 8 in flight", "batch_100_pairs_per_s", "pairs/s", "Batch of 500", (_BATCH,), 0.7
    ),
    Target(
        "Batch of 500, one hot customer",
        "batch_500_hot_pairs_per_s",
        "pairs/s",
        "Batch of 500",
        (_BATCH,),
        0.9,
    ),
    Target(
        "Batch of 500, 1,000,000 entries in the journal",
        "batch_500_million_pairs_per_s",
        "pairs/s",
        "Batch of 500",
        (_BATCH,),
        0.9,
    ),
    Target(
        "Batch of 500, 100,000 customers, memory for 10,000",
        "batch_500_cold_pairs_per_s",
        "pairs/s",
        "Batch of 500",
        (_BATCH,),
        0.5,
    ),
    Target(
        "GetBalance, not in memory, 1,000,000 entries, p50",
        "balance_million_p50_ms",
        "ms",
        "the same on an empty journal",
        ("balance_empty_p50_ms",),
        1.15,
        at_least=False,
    ),
    Target(
        "price(), one core, 200 rules, best of 5",
        "price_items_per_s",
        "items/s",
        "the target",
        200_000.0,
        1.0,
    ),
    Target(
        "pricing.load(), a card of 10,000 rules, best of 3",
        "cards_10000_load_s",
        "s",
        "the target",
        2.0,
        1.0,
        at_least=False,
    ),
    Target(
        "grants that expire at one instant, written by one server",
        "grants_due_per_s",
        "grants/s",
        "the target",
        1_000.0,
        1.0,
    ),
    Target(
        "events delivered to one receiver, another one dead",
        "events_per_s",
        "events/s",
        "the target",
        1_000.0,
        1.0,
    ),
    Target(
        "simulate, 100,000 charges",
        "simulate_100k_s",
        "s",
        "the target",
        30.0,
        1.0,
        at_least=False,
    ),
    Target(
        "resident memory after 1,000,000 pairs on 100,000 customers",
        "rss_million_mib",
        "MiB",
        "after the first tenth",
        ("rss_first_tenth_mib",),
        1.1,
        at_least=False,
    ),
    Target(
        "the same at the end of a line through its last half",
        "rss_trend_end_mib",
        "MiB",
        "at the line's beginning",
        ("rss_trend_start_mib",),
        1.01,
        at_least=False,
    ),
    Target(
        "Batch of 500, two servers, the same 100 customers",
        "two_servers_pairs_per_s",
        "pairs/s",
        "Batch of 500, one server",
        (_BATCH,),
        0.5,
    ),
    Target("the same, oldest command", "two_servers_oldest_s", "s", "the target", 2.0, 1.0, at_least=False),
    Target(
        "unary calls offered at ten times the capacity",
        "overload_calls_per_s",
        "calls/s",
        "the same server, 32 in flight",
        ("overload_best_calls_per_s",),
        0.8,
    ),
    Target("the same, oldest call", "overload_oldest_s", "s", "the target", 2.0, 1.0, at_least=False),
    Target(
        "the same, resident memory",
        "overload_rss_mib",
        "MiB",
        "after its first tenth",
        ("overload_rss_first_tenth_mib",),
        1.1,
        at_least=False,
    ),
    Target(
        "batches of 500 offered at ten times the capacity, items carried out",
        "overload_batch_items_per_s",
        "items/s",
        "the same server, 4 in flight",
        ("overload_batch_best_items_per_s",),
        0.8,
    ),
    Target("the same, oldest call", "overload_batch_oldest_s", "s", "the target", 2.0, 1.0, at_least=False),
    Target(
        "the same, resident memory",
        "overload_batch_rss_mib",
        "MiB",
        "after its first tenth",
        ("overload_batch_rss_first_tenth_mib",),
        1.1,
        at_least=False,
    ),
)

REPORTED = (
    ("open loop at 70 % of the unary figure, from the intended start, p50", "open_loop_p50_ms", "ms"),
    ("the same, p99", "open_loop_p99_ms", "ms"),
    ("the same, p99.9", "open_loop_p999_ms", "ms"),
    ("unary, 32 in flight, the server's processor a call", "unary_cpu_us", "us"),
    ("the same with keys", "keyed_unary_cpu_us", "us"),
    ("the same with keys, by TLS", "secured_unary_cpu_us", "us"),
    ("a pair in Batch of 500, calls of built-in functions", "c_calls_per_pair", "calls"),
    ("the same, text sent to PostgreSQL", "text_bytes_per_pair", "bytes"),
    ("price(), one item a call", "price_single_items_per_s", "items/s"),
    ("two servers, items refused", "two_servers_errors", ""),
    ("ten times the load, calls offered", "overload_offered", ""),
    ("the same, calls refused by the server", "overload_refused", ""),
    ("the same, resident memory before", "overload_rss_before_mib", "MiB"),
    ("ten times the load in batches, calls offered", "overload_batch_offered", ""),
    ("the same, calls refused by the server", "overload_batch_refused", ""),
    ("the same, resident memory before", "overload_batch_rss_before_mib", "MiB"),
)
"""Without a ceiling: what it means, its key, its unit."""

HEADINGS = ("work", "figure", "ceiling", "ratio", "required")


def rows(figures: Figures) -> list[tuple[tuple[str, ...], bool | None]]:
    """The table's cells, line by line, and whether its target is met (None: it has none)."""
    lines: list[tuple[tuple[str, ...], bool | None]] = []
    for target in TARGETS:
        figure = f"{number(figures[target.figure])} {target.unit}"
        ceiling = f"{number(target.ceiling_of(figures))} ({target.ceiling})"
        required = f"at {'least' if target.at_least else 'most'} {target.bound:g}"
        cells = (target.work, figure, ceiling, f"{target.ratio(figures):.2f}", required)
        lines.append((cells, target.is_met(figures)))
    for work, key, unit in REPORTED:
        lines.append(((work, f"{number(figures[key])} {unit}".rstrip(), "", "", ""), None))
    return lines


def number(value: float) -> str:
    """Three digits that tell, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
