"""Simulations on the usage that the ledger holds, or on work that somebody tells, beside the running service.

The usage is read here, in chunks, and priced in a process of its own: the loop stays free for those who pay.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import IO, Any, Final

import orjson

import pricing
from ledger.books.model.entries import EntryKind
from ledger.books.model.priced import UNSCALED
from ledger.errors import NotNowError
from ledger.prices.plans import PlanBook
from ledger.prices.price_book import PriceBook
from ledger.prices.versions import USAGE_REACH
from ledger.simulation.figures import Report
from ledger.simulation.worker import FitTarget, Job, micros_of, read_report
from ledger.store.finance.charged_usage import (
    ChargedUsageQuery,
    VersionsUsed,
    cost_versions,
    documents,
    seen,
    usage,
    versions_used,
)
from ledger.store.finance.reads import snapshot
from ledger.store.postgres.database import Pool, PooledConnection
from pricing.planning.cost_import import ImportedCosts, Used, import_costs

WARM_UP: Final = timedelta(days=3)
"""Replayed before what counts, for the parts of reservations that are still open: a hold lives a day."""
WARM_UP_OF_RUNS: Final = timedelta(days=65)
"""The same on cards that remember: a run may go on for weeks."""
_COMPLAINT_MAX: Final = 2_000
"""Characters of what a process that failed has said."""

_WORKER = (sys.executable, "-P", "-m", "ledger.simulation.worker")
_Rows = AsyncIterator[Sequence[Sequence[Any]]]


class SimulationFailedError(NotNowError):
    """The process that prices has ended without an answer."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is another than it was."""

    card: pricing.RateCard | None = None
    """Prices all usage; None: the cards in force do."""
    plans: PlanBook | None = None
    """All customers are on these, and the card prices what is charged by its name; None: those in force."""
    costs: pricing.CostBook | None = None
    """Costs all usage; None: the books in force at the time do."""
    cost_factor: Fraction = Fraction(1)
    byok: bool = False
    swaps: Mapping[str, str] = field(default_factory=dict)
    """What serves in place of what."""


@dataclass(frozen=True, slots=True)
class SimulatedWork:
    """A piece of work that no ledger holds."""

    customer: int
    labels: Mapping[str, str]
    items: tuple[pricing.Item, ...]


class Simulator:
    """One simulation at a time: each takes a core."""

    def __init__(
        self, pool: Pool, prices: PriceBook, clock: Callable[[], datetime], cells: Sequence[str]
    ) -> None:
        self._pool = pool
        self._prices = prices
        self._clock = clock
        self._cells = cells
        self._busy = asyncio.Lock()

    def now(self) -> datetime:
        """The database's time."""
        return self._clock()

    def cards(self) -> Mapping[str, pricing.RateCard]:
        """The cards in force, by name."""
        return {name: card.content for name, card in self._prices.cards(self._clock()).items()}

    def cards_to_plan(self) -> Mapping[str, pricing.RateCard]:
        """The cards that plans may name: those in force, and those to come where there is none yet."""
        return {**self._prices.published.newest_cards(), **self.cards()}

    def plans(self) -> PlanBook:
        """The plans in force."""
        return self._prices.plan_book(self._clock())

    def costs(self) -> pricing.CostBook:
        """The cost book in force."""
        return self._prices.costs_at(self._clock())

    async def on_ledger(
        self, what_if: WhatIf, query: ChargedUsageQuery, *, cells: Sequence[str] | None = None
    ) -> Report:
        """Prices the charges that a query asks for by the cards in force, and by what might be."""
        cells = cells if cells is not None else self._cells
        now = self._clock()
        async with self._busy, snapshot(self._pool) as connection:
            warm_up = self._warm_up(what_if, now)
            since = query.since - warm_up if query.since is not None else None
            wider = ChargedUsageQuery(since, query.until, query.customer, query.card)
            used = await versions_used(connection, cells, wider)
            ends_at = min(query.until or now, now)
            job = await self._job(connection, what_if, used, since, query.since, ends_at)
            return read_report(await _priced(job, usage(connection, cells, wider)))

    async def on_work(self, what_if: WhatIf, work: Sequence[SimulatedWork], card: pricing.RateCard) -> Report:
        """Prices work by a card in force, and by what might be; each piece is a charge of now."""
        now = self._clock()
        costs = self._prices.costs_at(now)
        used = VersionsUsed(frozenset({card.version}), frozenset({costs.version}))
        async with self._busy, self._pool.acquire() as connection:
            job = await self._job(connection, what_if, used, now, None, now)
        rows = [
            _row_of(piece, sequence, now, card, costs)
            for sequence, piece in enumerate(sorted(work, key=lambda piece: piece.customer), start=1)
        ]
        return read_report(await _priced(job, _chunk(rows)))

    async def fit(
        self, target: FitTarget, query: ChargedUsageQuery, *, cells: Sequence[str] | None = None
    ) -> str:
        """A card (YAML) that leaves a margin on the usage of a query at the costs in force now."""
        cells = cells if cells is not None else self._cells
        now = self._clock()
        async with self._busy, snapshot(self._pool) as connection:
            used = await versions_used(connection, cells, query)
            job = await self._job(connection, WhatIf(), used, now, None, now)
            job = job.model_copy(update={"fit": target})
            return (await _priced(job, usage(connection, cells, query))).decode()

    async def import_costs(
        self, query: ChargedUsageQuery, *, cells: Sequence[str] | None = None
    ) -> ImportedCosts:
        """A cost book of the installed catalog, for what charges are of."""
        async with snapshot(self._pool) as connection:
            found = await seen(connection, cells if cells is not None else self._cells, query)
        names: dict[str, set[str]] = {"tokens": set(), "compute": set(), "units": set(), "outcome": set()}
        tiers: dict[str, set[str]] = {}
        for each in found:
            names[each.kind] |= {each.name, each.served_by} - {""}
            if each.service_tier:
                for model in {each.name, each.served_by} - {""}:
                    tiers.setdefault(model, set()).add(each.service_tier)
        models, resources, units = (frozenset(names[kind]) for kind in ("tokens", "compute", "units"))
        used = Used(models, resources, units, tiers)
        # In a thread: it takes the whole catalog in.
        return await asyncio.to_thread(import_costs, used, self.costs(), self._clock())

    async def margin_at_list_price(self, card: pricing.RateCard, days: int) -> Fraction | None:
        """What a card would leave of its revenue at the list price, on the last days' usage of its name.

        The costs are those in force now. None where there is no revenue.
        """
        now = self._clock()
        what_if = WhatIf(card, costs=self._prices.costs_at(now))
        query = ChargedUsageQuery(now - timedelta(days=days), None, None, card.name)
        figures = (await self.on_ledger(what_if, query)).all.after
        if not figures.list_nanousd:
            return None
        return 1 - Fraction(figures.cost_nanousd, figures.list_nanousd)

    def _warm_up(self, what_if: WhatIf, now: datetime) -> timedelta:
        costs = self._prices.costs_at(now)
        cards = [*self.cards_to_plan().values(), *([what_if.card] if what_if.card else [])]
        if not any(pricing.compile_terms(card, costs).remembers for card in cards):
            return WARM_UP
        # Usage counts in its period or in the one before it.
        longest = max(card.longest_period_days for card in cards)
        return max(WARM_UP_OF_RUNS, 2 * timedelta(days=longest) + WARM_UP)

    async def _job(
        self,
        connection: PooledConnection,
        what_if: WhatIf,
        used: VersionsUsed,
        since: datetime | None,
        counts_from: datetime | None,
        ends_at: datetime,
    ) -> Job:
        """All that a simulation needs but for its usage, of which the first was booked at `since`."""
        cards = self.cards_to_plan()
        in_force = {name: card.version for name, card in cards.items()}
        costs_since = _reaching_back(await cost_versions(connection), since)
        versions = used.costs | {version for _, version in costs_since}
        card_documents = await documents(connection, used.cards)
        return Job(
            since_micros=micros_of(counts_from) if counts_from is not None else None,
            ends_at_micros=micros_of(ends_at),
            cards=card_documents | {card.version: card.document for card in cards.values()},
            costs=await documents(connection, versions),
            cards_in_force=in_force,
            plans=self.plans().document,
            costs_since=[(micros_of(instant), version) for instant, version in costs_since],
            candidate_card=what_if.card.document if what_if.card else None,
            candidate_costs=what_if.costs.document if what_if.costs else None,
            candidate_plans=what_if.plans.document if what_if.plans else None,
            cost_factor=str(what_if.cost_factor),
            byok=what_if.byok,
            swaps=what_if.swaps,
        )


def _reaching_back(
    versions: Sequence[tuple[datetime, str]], since: datetime | None
) -> Sequence[tuple[datetime, str]]:
    """Of versions, the latest first, those that usage may rest on that was booked from `since` on."""
    if since is None:
        return versions
    reach = since - USAGE_REACH
    old = next((n for n, (instant, _) in enumerate(versions) if instant <= reach), len(versions))
    return versions[: old + 1]


def _row_of(
    piece: SimulatedWork, sequence: int, now: datetime, card: pricing.RateCard, costs: pricing.CostBook
) -> Sequence[Any]:
    """A row as the journal would give it; its customer is on no plan."""
    stored = [pricing.stored_of(item) for item in piece.items]
    return (
        piece.customer,
        sequence,
        EntryKind.CHARGE,
        None,
        None,
        False,
        micros_of(now),
        "",
        None,
        None,
        card.name,
        card.version,
        costs.version,
        card.credit_price_nanousd,
        UNSCALED,
        0,
        0,
        0,
        orjson.dumps(piece.labels).decode(),
        orjson.dumps([public for public, _ in stored]).decode(),
        orjson.dumps([internal for _, internal in stored]).decode(),
    )


async def _chunk(rows: Sequence[Sequence[Any]]) -> _Rows:
    yield rows


async def _priced(job: Job, chunks: _Rows) -> bytes:
    """What a process says to a job and its rows. It ends with whoever waits for it.

    The loop's own processes fork, which gRPC would prepare itself for: those of the library do not.
    """
    pipe = subprocess.PIPE
    process = await asyncio.to_thread(subprocess.Popen, _WORKER, stdin=pipe, stdout=pipe, stderr=pipe)
    said = asyncio.gather(asyncio.to_thread(_read, process.stdout), asyncio.to_thread(_read, process.stderr))
    try:
        await _tell(process, job, chunks)
        answer, complaint = await said
        if await asyncio.to_thread(process.wait) != 0:
            raise SimulationFailedError(complaint.decode(errors="replace")[-_COMPLAINT_MAX:])
        return answer
    finally:
        process.kill()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        await asyncio.gather(said, asyncio.to_thread(process.wait), return_exceptions=True)


async def _tell(process: subprocess.Popen[bytes], job: Job, chunks: _Rows) -> None:
    """Sends a job and its rows, no faster than they are taken."""
    pipe = process.stdin
    if pipe is None:
        raise AssertionError("the process was started with a pipe")
    with suppress(BrokenPipeError):  # it has ended: what it said tells why
        await asyncio.to_thread(pipe.write, job.model_dump_json().encode() + b"\n")
        async for chunk in chunks:
            await asyncio.to_thread(pipe.write, orjson.dumps(chunk) + b"\n")
        await asyncio.to_thread(pipe.close)


def _read(pipe: IO[bytes] | None) -> bytes:
    if pipe is None:
        return b""
    with pipe:
        return pipe.read()
