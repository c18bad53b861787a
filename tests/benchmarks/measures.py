"""The figures of a run, group by group. What is compared is taken in turns, and the medians count."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from statistics import linear_regression, median, quantiles
from typing import Self

from ledger.v1.wallet_service_pb2 import GetBalanceRequest
from tests.benchmarks import events, expiry, keys, load, overload, prices, processor, simulation, workload
from tests.benchmarks.budgeted import budgeted
from tests.benchmarks.ceilings import BareInserts, StoreAlone
from tests.benchmarks.counts import counts_of_pair
from tests.benchmarks.load import BATCH, BATCH_IN_FLIGHT, SPREAD, UNARY_IN_FLIGHT, Calls, Window
from tests.benchmarks.report import Say
from tests.benchmarks.stage import Service, Stage, service
from tests.serving import REPOSITORY

STORE, SINGLE = range(101, 201), range(201, 300)
"""Customers of the store alone and of one call in flight: none is written from two places."""
HOT = 300
READ_FIRST = 301
SMALL_BATCH, SMALL_BATCH_IN_FLIGHT = 100, 8
PASS_PAIRS = 10
"""Pairs of one customer in one call, where memory is measured."""
CAPACITY_SHARE = 0.7

Measure = Callable[[], Awaitable[float]]


class Measures:
    """Takes the figures and keeps them by their keys."""

    def __init__(self, stage: Stage, store: StoreAlone, say: Say) -> None:
        self.figures: dict[str, float] = {}
        self._stage = stage
        self._size = stage.size
        self._say = say
        self._store = store
        self._inserts = BareInserts(stage.database, store)

    @classmethod
    async def of(cls, stage: Stage, say: Say) -> Self:
        return cls(stage, await StoreAlone.open(stage.database, STORE), say)

    async def take_all(self) -> dict[str, float]:
        """All figures."""
        self._prices()
        await self._unary()
        await self._latencies()
        await self._batches()
        await self._counts()
        await self._trust()
        await self._balances()
        await self._expiry()
        await self._events()
        await self._simulation()
        await self._open_loop()
        await self._overload()
        await self._memory()
        return self.figures

    # -- groups ----------------------------------------------------------------------------------

    def _prices(self) -> None:
        """Pricing alone, in this process."""
        seconds = self._size.price_seconds
        self._note("price_items_per_s", prices.items_per_second(seconds))
        self._note("cards_10000_load_s", prices.load_seconds())
        self._note("price_single_items_per_s", prices.items_per_second(seconds / 2, items_a_call=1))

    async def _unary(self) -> None:
        """Many calls in flight: the service against a server that does nothing."""
        spread = load.customers(SPREAD)

        async def echo() -> float:
            return await load.echo_rate(self._stage.echo, UNARY_IN_FLIGHT, self._window())

        async def unary() -> float:
            credit = self._stage.empty.credits
            return await load.unary_rate(credit, spread, UNARY_IN_FLIGHT, self._window())

        async def client() -> float:
            return await load.client_rate(self._stage.empty.client, spread, UNARY_IN_FLIGHT, self._window())

        await self._in_turns(
            {"echo_calls_per_s": echo, "unary_calls_per_s": unary, "client_calls_per_s": client}
        )

    async def _latencies(self) -> None:
        """One call in flight: a `Reserve` against the two waits that it cannot do without."""
        single = load.customers(SINGLE)
        insert = await self._inserts.single()
        credit, client = self._stage.empty.credits, self._stage.empty.client
        books, log = self._stage.budgeted_books, self._stage.logs / "budgeted.log"
        limited = load.customers(books.numbers)

        def p50(call: Callable[[], Awaitable[object]]) -> Measure:
            async def measure() -> float:
                return median(await load.latency_ms(call, self._window()))

            return measure

        async with budgeted(books, log) as other:

            async def with_budgets() -> float:
                await other.server.settle()
                return await p50(lambda: other.credits.Reserve(workload.reserve(next(limited))))()

            await self._in_turns(
                {
                    "echo_p50_ms": p50(lambda: self._stage.echo(b"")),
                    "insert_p50_ms": p50(insert),
                    "reserve_p50_ms": p50(lambda: credit.Reserve(workload.reserve(next(single)))),
                    "reserve_with_budgets_p50_ms": with_budgets,
                    "client_reserve_p50_ms": p50(lambda: load.client_reserve(client, next(single))),
                }
            )
        ratio = self.figures["client_reserve_p50_ms"] / self.figures["reserve_p50_ms"]
        self._note("client_lone_call_ratio", ratio)

    async def _batches(self) -> None:
        """Pairs a second in batches: the database alone, the store alone, and the service in each shape."""
        stage, calls = self._stage, Calls()
        spread, hot = load.customers(SPREAD), load.customers(range(HOT, HOT + 1))
        cold = load.customers(stage.cold_books.numbers)

        async def insert() -> float:
            return await self._inserts.pairs_per_second(BATCH, self._size.seconds / 2)

        async def store() -> float:
            return await self._store.pairs_per_second(BATCH, self._size.seconds / 2)

        async def before() -> float:
            return await stage.before.pairs_per_second(self._size.seconds / 2)

        async def two() -> float:
            window, share = self._window(), BATCH_IN_FLIGHT // 2
            rates = [
                load.batch_rate(each.credits, spread, BATCH, share, window, calls)
                for each in (stage.empty, stage.second)
            ]
            await asyncio.gather(*rates)
            return window.per_second / 2

        await self._in_turns(
            {
                "insert_500_pairs_per_s": insert,
                "store_500_pairs_per_s": store,
                "store_500_before_pairs_per_s": before,
                "batch_500_pairs_per_s": self._batch(stage.empty, spread),
                "batch_100_pairs_per_s": self._batch(stage.empty, spread, SMALL_BATCH, SMALL_BATCH_IN_FLIGHT),
                "batch_500_hot_pairs_per_s": self._batch(stage.empty, hot),
                "batch_500_million_pairs_per_s": self._batch(stage.full, load.customers(SPREAD)),
                "batch_500_cold_pairs_per_s": self._batch(stage.cold, cold),
                "two_servers_pairs_per_s": two,
            }
        )
        self._note("two_servers_oldest_s", max(calls.seconds))
        self._note("two_servers_errors", calls.errors)

    def _batch(
        self, where: Service, whose: Iterator[str], items: int = BATCH, in_flight: int = BATCH_IN_FLIGHT
    ) -> Measure:
        async def measure() -> float:
            return await load.batch_rate(where.credits, whose, items, in_flight, self._window())

        return measure

    async def _counts(self) -> None:
        """What a pair does, counted: no machine changes it."""
        settings, log = self._stage.empty_books.environment, self._stage.logs / "counted.log"
        found = await counts_of_pair(settings, log, Path(sys.executable), REPOSITORY, self._say)
        self._note("python_calls_per_pair", found.python_calls)
        self._note("c_calls_per_pair", found.c_calls)
        self._note("text_bytes_per_pair", found.text_bytes)

    async def _trust(self) -> None:
        """What a key costs a server by itself, and what keys and TLS cost it in whole calls.

        Of the two servers on the same books each has customers of its own, and none to load anew.
        """
        shown = self._stage.keyed.server.access
        self._note("auth_us_per_call", await keys.authorization_us(self._stage.keyed_books, shown))

        def call(where: Service, whose: range = SPREAD) -> Measure:
            async def measure() -> float:
                return await processor.call_us(where, whose, self._size.seconds)

            return measure

        def pair(where: Service, whose: range = SPREAD) -> Measure:
            async def measure() -> float:
                clock = where.server.cpu_seconds
                return (await processor.pair_us(where, whose, self._size.cpu_pairs, clock))[0]

            return measure

        stage = self._stage
        await self._in_turns(
            {
                "unary_cpu_us": call(stage.empty),
                "keyed_unary_cpu_us": call(stage.keyed),
                "secured_unary_cpu_us": call(stage.secured, STORE),
                "batch_500_cpu_us": pair(stage.empty),
                "secured_batch_500_cpu_us": pair(stage.secured, STORE),
            }
        )

    async def _balances(self) -> None:
        """A read of customers whom the server has never met, on both journals."""

        def p50(where: Service) -> Measure:
            whose = load.customers(range(READ_FIRST, self._size.customers + 1))

            async def measure() -> float:
                requests = [GetBalanceRequest(customer_id=next(whose)) for _ in range(self._size.reads)]
                return median(await load.each_ms(where.wallet.GetBalance, requests))

            return measure

        await self._in_turns(
            {
                "balance_empty_p50_ms": p50(self._stage.empty),
                "balance_million_p50_ms": p50(self._stage.full),
            }
        )

    async def _expiry(self) -> None:
        """Grants that expire at one instant, beside servers that rest."""
        await self._stage.settle()
        log = self._stage.logs / "expiry.log"
        self._note("grants_due_per_s", await expiry.grants_per_second(self._stage.due_books, log))

    async def _events(self) -> None:
        """What has expired, delivered to a receiver beside one that never answers."""
        await self._stage.settle()
        log = self._stage.logs / "events.log"
        self._note("events_per_s", await events.events_per_second(self._stage.due_books, log))

    async def _simulation(self) -> None:
        """Charges of the long journal priced anew, beside servers that rest."""
        await self._stage.settle()
        self._note("simulate_100k_s", await simulation.seconds(self._stage.full_books))

    async def _open_loop(self) -> None:
        """Calls that come when they come, at a rate that the service can bear."""
        await self._stage.settle()
        rate = CAPACITY_SHARE * self.figures["unary_calls_per_s"]
        window = Window(self._size.warm_seconds, self._size.open_loop_seconds)
        taken = await load.open_loop_ms(self._stage.empty.credits, load.customers(SPREAD), rate, window)
        thousandths = quantiles(taken, n=1_000)
        self._note("open_loop_calls_per_s", rate)
        for key, thousandth in (("p50", 500), ("p99", 990), ("p999", 999)):
            self._note(f"open_loop_{key}_ms", thousandths[thousandth - 1])

    async def _overload(self) -> None:
        """Ten times as many calls as a server answers: what it does then, how late, in how much memory."""
        whose = load.customers(range(READ_FIRST, self._size.customers + 1))

        async def unary(where: Service) -> float:
            return await load.unary_rate(where.credits, whose, UNARY_IN_FLIGHT, self._window())

        async def batches(where: Service) -> float:
            return 2 * await self._batch(where, whose)()

        await self._flooded("overload", unary, overload.pairs(whose))
        calls = overload.batches(whose, BATCH)
        await self._flooded("overload_batch", batches, calls, BATCH, overload.BATCH_CONNECTIONS)

    async def _flooded(
        self,
        name: str,
        best_of: Callable[[Service], Awaitable[float]],
        calls: Iterator[overload.Call],
        items: int = 1,
        connections: int = overload.CONNECTIONS,
    ) -> None:
        """What a new server does in a second at its best, and under ten times as much."""
        books = self._stage.empty_books
        async with service(books.environment, self._stage.logs / f"{name}.log") as fresh:
            best = await best_of(fresh)
            before = fresh.server.rss_mib()
            window = Window(self._size.warm_seconds, self._size.overload_seconds)
            rate = overload.TIMES_CAPACITY * best / items
            flood = asyncio.create_task(
                overload.flood(fresh.server.target, rate, calls, window, connections=connections)
            )
            await asyncio.sleep(window.warm_seconds + window.seconds / 10)
            tenth = fresh.server.rss_mib()
            outcome = await flood
            unit = "calls" if items == 1 else "items"
            self._note(f"{name}_best_{unit}_per_s", best)
            self._note(f"{name}_{unit}_per_s", window.per_second)
            self._note(f"{name}_goodput_ratio", window.per_second / best)
            self._note(f"{name}_oldest_s", max(outcome.seconds))
            self._note(f"{name}_refused", outcome.refused)
            self._note(f"{name}_offered", outcome.offered)
            self._note(f"{name}_rss_before_mib", before)
            self._note(f"{name}_rss_first_tenth_mib", tenth)
            self._note(f"{name}_rss_mib", fresh.server.rss_mib())

    async def _memory(self) -> None:
        """Resident memory of a new server, while many more customers come by than it keeps in memory.

        Also the straight line through the samples of the last half: where it begins and where it ends.
        """
        books, pairs = self._stage.cold_books, self._size.memory_pairs
        whose = load.customers(books.numbers)
        samples: list[float] = []
        async with service(books.environment, self._stage.logs / "memory.log") as fresh:
            for _ in range(SAMPLES):
                await load.write_pairs(fresh.credits, whose, pairs // SAMPLES, PASS_PAIRS)
                samples.append(fresh.server.rss_mib())
        half = samples[SAMPLES // 2 :]
        slope, start = linear_regression(range(len(half)), half)
        self._note("rss_first_tenth_mib", samples[SAMPLES // 10 - 1])
        self._note("rss_million_mib", samples[-1])
        self._note("rss_trend_start_mib", start)
        self._note("rss_trend_end_mib", start + slope * (len(half) - 1))

    # -- taking turns ----------------------------------------------------------------------------

    async def _in_turns(self, measures: Mapping[str, Measure]) -> None:
        taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(self._size.rounds):
            for key, measure in measures.items():
                taken[key].append(await load.carried_out(self._stage.settle, measure, self._say))
        for key, values in taken.items():
            self._note(key, median(values), values)

    def _window(self) -> Window:
        return Window(self._size.warm_seconds, self._size.seconds)

    def _note(self, key: str, value: float, turns: list[float] | None = None) -> None:
        self.figures[key] = value
        each = f"   ({', '.join(f'{turn:,.4g}' for turn in turns)})" if turns else ""
        self._say(f"{key:32} {value:>12,.4g}{each}")


SAMPLES = 40
"""Of resident memory, evenly over the pairs."""
