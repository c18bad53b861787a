"""Metrics of operations: what a process is doing, for whoever keeps it running.

No dollars and no credits here, and no label whose values a caller chooses: methods are those of the
services, codes gRPC's, pools and their states ours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from math import nan
from time import monotonic
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_RPC_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMIT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_BATCH_COMMANDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)


class OperationsMetrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.calls = Calls()
        self.registry.register(self.calls)
        self.commands_waiting = self._gauge("commands_waiting", "Commands that have no answer yet.")
        self.oldest_seconds = self._gauge(
            "oldest_command_seconds",
            "Age of the oldest command in the line; past a bound new work is refused, then the rest.",
        )
        self.refused = RefusedCollector()
        self.registry.register(self.refused)
        self.batch_commands = self._histogram(
            "batch_commands", "Commands in one written batch, refused ones included.", _BATCH_COMMANDS
        )
        self.commit_seconds = self._histogram(
            "commit_seconds",
            "Time from sending a batch to the database's answer that it is committed.",
            _COMMIT_SECONDS,
        )
        self.conflicts = self._counter(
            "conflicts", "Customers of a batch that another process had changed: decided again."
        )
        self.histories = self._counter(
            "database_histories",
            "Times that the database was on another history (restart, failover, restore): all was forgotten.",
        )
        self.sweeper_lag = self._gauge(
            "sweeper_lag_seconds", "How long what is due by the clock has been due."
        )
        self._events_until = nan
        self._gauge(
            "events_lag_seconds", "All that was booked longer ago is in the outbox of events."
        ).set_function(lambda: monotonic() - self._events_until)
        self._deliveries = self._by_result(
            "webhook_deliveries",
            "Attempts to deliver an event: delivered, failed (to be tried again), dead (given up).",
            ("delivered", "failed", "dead"),
        )
        self._top_ups = self._by_result(
            "top_ups",
            "Top-ups: requested; paid, failed (to be tried again), given_up; capped (not requested).",
            ("requested", "paid", "failed", "given_up", "capped"),
        )
        self.overrides_unreadable = self._gauge(
            "plan_overrides_unreadable",
            "Customers that begin no work here: this version cannot read their own fields of their plans.",
        )
        self.books = BooksCollector(self._gauge)
        self.prices = PriceGauges(self._gauge)
        self.key_look_age = self._gauge(
            "key_look_age_seconds", "Time since this process last looked at which keys there are."
        )
        self._tls: tuple[Gauge, Gauge] | None = None

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"acu_ledger_{name}", help_text, registry=self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"acu_ledger_{name}", help_text, registry=self.registry)

    def _by_result(self, name: str, help_text: str, results: Iterable[str]) -> Counter:
        """A counter by result, 0 for each of them from the start."""
        counter = Counter(f"acu_ledger_{name}", help_text, labelnames=("result",), registry=self.registry)
        for result in results:
            counter.labels(result)
        return counter

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"acu_ledger_{name}", help_text, buckets=buckets, registry=self.registry)

    def batch(self, commands: int, seconds: float) -> None:
        """Notes a batch that the database has committed."""
        self.batch_commands.observe(commands)
        self.commit_seconds.observe(seconds)

    def tls(self, ends_at: datetime, *, refused: bool) -> None:
        """Notes until when the certificate in force is valid, and whether the files as they are were refused.

        Without TLS there are no such figures: a 0 would be a certificate that ended long ago.
        """
        if self._tls is None:
            ends = "When the certificate in force ends (Unix time)."
            self._tls = (
                self._gauge("tls_files_refused", "1 where the files of TLS are wrong: the last good serve."),
                self._gauge("tls_certificate_expiry_timestamp_seconds", ends),
            )
        files_refused, expiry = self._tls
        files_refused.set(int(refused))
        expiry.set(ends_at.timestamp())

    def events(self, lag_seconds: float) -> None:
        """Notes that events were written of all that was booked before; the lag goes on by itself."""
        self._events_until = monotonic() - lag_seconds

    def webhooks(self, delivered: int, failed: int, dead: int) -> None:
        """Notes what came of deliveries."""
        for result, attempts in (("delivered", delivered), ("failed", failed), ("dead", dead)):
            self._deliveries.labels(result).inc(attempts)

    def top_up(self, result: str) -> None:
        """Notes what a step has made of a top-up."""
        self._top_ups.labels(result).inc()

    def watch_pools(self, use: Callable[[], Mapping[str, tuple[int, int, int]]]) -> None:
        """Shows the pools of connections: by name, how many are busy, open and allowed.

        `use` is asked at each scrape, on the port's thread.
        """
        self.registry.register(_Pools(use))

    def watch_keys(self, ending: Callable[[], Mapping[str, datetime]]) -> None:
        """Shows the keys that are about to end: by id, when.

        `ending` is asked at each scrape, on the port's thread.
        """
        self.registry.register(_Keys(ending))


class _Keys(Collector):
    """Keys that are about to end, as the table of keys knows them at the instant of a scrape."""

    def __init__(self, ending: Callable[[], Mapping[str, datetime]]) -> None:
        self._ending = ending

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "acu_ledger_key_expiry_timestamp_seconds",
            "When a key ends that has no other in its place, for those that end within 30 days (Unix time).",
            labels=("key_id",),
        )
        for key_id, ends_at in self._ending().items():
            family.add_metric((key_id,), ends_at.timestamp())
        return (family,)


class PriceGauges:
    """What a process prices by, how fresh that is, and what became of its files."""

    def __init__(self, gauge: Callable[[str, str], Gauge]) -> None:
        self._generation: Final = gauge(
            "price_generation", "The last published version of any prices that this process knows of."
        )
        self.look_age: Final = gauge(
            "price_look_age_seconds",
            "Time since this process last looked at what is published, and at its files.",
        )
        self._files_refused: Final = gauge(
            "price_files_refused", "Problems of the configuration's files: what they concern is not in force."
        )
        self.files_match: Final = gauge(
            "price_files_match", "1 where the configuration's files say what is published, else 0."
        )

    def show(self, generation: int, files_refused: int, *, match: bool) -> None:
        """Takes figures."""
        self._generation.set(generation)
        self._files_refused.set(files_refused)
        self.files_match.set(int(match))


class BooksFigures(NamedTuple):
    """How the verification of the books stands, as read at one moment."""

    standing: int
    stopped: int
    verified: int
    customers: int
    age_seconds: float


class BooksCollector:
    """Whether the books verify, as the database says: the same on every server. NaN until it was read."""

    def __init__(self, gauge: Callable[[str, str], Gauge]) -> None:
        self._gauges: Final = (
            gauge(
                "books_violations", "Findings that stand: books or rollups of a customer that do not verify."
            ),
            gauge("books_customers_stopped", "Customers that take no writes: their books do not verify."),
            gauge("books_customers_verified", "Customers verified in this round over all of them."),
            gauge("books_customers", "Customers when this round began."),
        )
        for each in self._gauges:
            each.set(nan)
        self._verified_since = nan
        gauge(
            "books_verified_age_seconds", "Every customer's books were verified in the last so many seconds."
        ).set_function(lambda: monotonic() - self._verified_since)

    def show(self, figures: BooksFigures) -> None:
        """Takes figures; the age goes on by itself."""
        *counts, age_seconds = figures
        for gauge, count in zip(self._gauges, counts, strict=True):
            gauge.set(count)
        self._verified_since = monotonic() - age_seconds


class Calls(Collector):
    """Calls in flight, and those answered by method and code, in plain numbers until a scrape asks for them.

    The library's own instruments take a lock for each number: 6 us a call.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._answered: dict[tuple[str, str], _Answered] = {}

    def answered(self, method: str, code: str, seconds: float) -> None:
        """Notes a call that has its answer, and how long it took."""
        key = (method, code)
        answered = self._answered.get(key)
        if answered is None:
            answered = self._answered[key] = _Answered()
        answered.by_bucket[bisect_left(_RPC_SECONDS, seconds)] += 1
        answered.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        labels = ("method", "code")
        in_flight = GaugeMetricFamily(
            "acu_ledger_rpcs_in_flight", "Calls that have no answer yet.", value=self.in_flight
        )
        count = CounterMetricFamily("acu_ledger_rpcs", "Calls answered, by method and code.", labels=labels)
        seconds = HistogramMetricFamily(
            "acu_ledger_rpc_seconds",
            "Time from a call's arrival at the service to its answer.",
            labels=labels,
        )
        bounds = [*map(str, _RPC_SECONDS), "+Inf"]
        for key, answered in list(self._answered.items()):
            up_to = list(accumulate(answered.by_bucket))
            count.add_metric(key, up_to[-1])
            seconds.add_metric(key, list(zip(bounds, up_to, strict=True)), answered.seconds)
        return in_flight, count, seconds


class RefusedCollector(Collector):
    """Requests refused by a limit of the process or of a key, in plain numbers like the calls."""

    def __init__(self) -> None:
        self._by_limit: dict[tuple[str, str, str], int] = {}

    def note(self, limit: str, urgency: str, key_id: str = "") -> None:
        """Counts one. `key_id`: whose limit it is, where it is a key's."""
        at = (limit, urgency, key_id)
        self._by_limit[at] = self._by_limit.get(at, 0) + 1

    def collect(self) -> Iterable[Metric]:
        count = CounterMetricFamily(
            "acu_ledger_refused",
            "Calls, and writes of a batch, refused by a limit of the process or of a key.",
            labels=("limit", "urgency", "key_id"),
        )
        for labels, refused in list(self._by_limit.items()):
            count.add_metric(labels, refused)
        return (count,)


class _Answered:
    """Calls of one method that were answered with one code."""

    __slots__ = ("by_bucket", "seconds")

    def __init__(self) -> None:
        self.by_bucket = [0] * (len(_RPC_SECONDS) + 1)
        self.seconds = 0.0


class _Pools(Collector):
    """Connections to the database, as the pools count them at the instant of a scrape."""

    def __init__(self, use: Callable[[], Mapping[str, tuple[int, int, int]]]) -> None:
        self._use = use

    def collect(self) -> Iterable[Metric]:
        connections = GaugeMetricFamily(
            "acu_ledger_pool_connections",
            "Connections to the database, by pool and state (busy, idle).",
            labels=("pool", "state"),
        )
        limit = GaugeMetricFamily(
            "acu_ledger_pool_connections_limit", "The most that a pool may open.", labels=("pool",)
        )
        for pool, (busy, opened, allowed) in self._use().items():
            connections.add_metric((pool, "busy"), busy)
            connections.add_metric((pool, "idle"), opened - busy)
            limit.add_metric((pool,), allowed)
        return connections, limit
