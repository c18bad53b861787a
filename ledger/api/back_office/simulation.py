"""What another card, other plans or another cost would have made of usage of the past."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import chain
from typing import Final

import pricing
from ledger.api.errors import refused, some_of
from ledger.api.messages import limits, validation
from ledger.api.messages.decimals import dollars, ratio
from ledger.api.messages.decode_usage import decode_usage
from ledger.api.messages.encode import decimal, timestamp
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.books.model.refusals import RefusalReason
from ledger.finance.v1 import simulation_pb2 as pb
from ledger.prices.plans import PlanBook, read_plans_text
from ledger.simulation.figures import BUCKETS, CHANGE_BOUNDS_PERCENT, Figures, Report, bucket_of
from ledger.simulation.plans import not_simulated
from ledger.simulation.simulator import SimulatedWork, Simulator, WhatIf
from ledger.simulation.worker import FitTarget
from ledger.store.directory import Directory, customer_ids
from ledger.store.finance.charged_usage import ChargedUsageQuery
from ledger.store.postgres.database import Pool
from pricing.exact import parse_percent

ANY_CARD: Final = "*"
_CHANGE = re.compile(r"([+-]?)(\d{1,4}(?:\.\d{1,9})?)\s*%", re.ASCII)
_CARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DECODED_AT_ONCE = 100
"""Pieces of work that are decoded without a pause."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The charges that a request asks for."""

    query: ChargedUsageQuery
    cells: Sequence[str] | None
    """Where the customer lives; None: all."""


class Simulations:
    """Answers `SimulateRates`, `FitRates` and `ImportCosts`."""

    def __init__(self, simulator: Simulator, directory: Directory, pool: Pool) -> None:
        self._simulator = simulator
        self._directory = directory
        self._pool = pool

    async def simulate(self, request: pb.SimulateRatesRequest) -> pb.SimulateRatesResponse:
        """Usage of the past by what might be, beside what is in force."""
        simulator = self._simulator
        problems = Problems()
        factor = _factor(problems, request.cost_change)
        swaps = _swaps(problems, request.model_swaps)
        if request.work and (request.usage.HasField("since") or request.usage.HasField("until")):
            problems.add("work", "has no time but now: leave usage.since and usage.until out")
        if request.work and request.candidate_plans:
            problems.add(
                "candidate_plans", "change nothing of work, which is on no plan: leave one of them out"
            )
        problems.raise_if_any()
        costs = await self._costs(request.candidate_costs)
        card = await self._card(request.candidate_card, costs)
        plans = await self._plans(request.candidate_plans, card)
        what_if = WhatIf(card, plans, costs, factor, request.byok, swaps)
        if request.work:
            return await self._on_work(request, what_if)
        selected = await self._selected(request.usage, card if plans is None else None)
        before = simulator.plans()
        report = await simulator.on_ledger(what_if, selected.query, cells=selected.cells)
        names = await customer_ids(self._pool, report.largest_changes(limits.CUSTOMER_CHANGES_MAX))
        response = _response(report, names, selected.query, of_ledger=True)
        if plans is not None:
            response.not_simulated.extend(_not_simulated(before, plans))
        return response

    async def fit(self, request: pb.FitRatesRequest) -> pb.FitRatesResponse:
        """A card that leaves a margin on usage of the past."""
        problems = Problems()
        card = validation.identifier(problems, "rate_card", request.rate_card or "fitted")
        if not _CARD.fullmatch(card):
            problems.add("rate_card", "must be up to 64 letters, digits, dots, dashes and underscores")
        credit = validation.name(problems, "credit_name", request.credit_name or "credit")
        price = validation.decimal_nanos(problems, "credit_price_usd", request.credit_price_usd)
        if not 0 < price <= pricing.CREDIT_PRICE_MAX_NANOUSD and not problems.found:
            most = decimal(pricing.CREDIT_PRICE_MAX_NANOUSD)
            problems.add("credit_price_usd", f'must be above 0 and at most {most}, e.g. "0.01"')
        margin = _margin(problems, request.margin)
        problems.raise_if_any()
        selected = await self._selected(request.usage, None)
        target = FitTarget(card=card, credit_name=credit, credit_price_nanousd=price, margin=str(margin))
        document = await self._simulator.fit(target, selected.query, cells=selected.cells)
        return pb.FitRatesResponse(document=document)

    async def import_costs(self, request: pb.ImportCostsRequest) -> pb.ImportCostsResponse:
        """A cost book of the catalog, for what the ledger saw."""
        selected = await self._selected(request.usage, None)
        found = await self._simulator.import_costs(selected.query, cells=selected.cells)
        return pb.ImportCostsResponse(document=found.document, not_found=found.not_found)

    async def _selected(self, usage: pb.UsageSelection, card: pricing.RateCard | None) -> Selected:
        """The charges that a selection asks for, with a candidate card or without."""
        problems = Problems()
        since = validation.instant(problems, "usage.since", usage.since) if usage.HasField("since") else None
        until = validation.instant(problems, "usage.until", usage.until) if usage.HasField("until") else None
        if since and until and until <= since:
            problems.add("usage.until", "is not after usage.since")
        if usage.customer_id:
            validation.identifier(problems, "usage.customer_id", usage.customer_id)
        problems.raise_if_any()
        key = await self._directory.find(usage.customer_id) if usage.customer_id else None
        if usage.customer_id and key is None:
            raise refused(RefusalReason.CUSTOMER_NOT_FOUND, customer_id=usage.customer_id)
        query = ChargedUsageQuery(since, until, key.customer if key else None, self._card_name(usage, card))
        return Selected(query, (key.cell,) if key else None)

    def _card_name(self, usage: pb.UsageSelection, card: pricing.RateCard | None) -> str | None:
        """The card whose charges are meant; None: any."""
        cards = self._simulator.cards()
        if usage.rate_card == ANY_CARD:
            return None
        if usage.rate_card:
            if usage.rate_card not in cards:
                raise refused(
                    RefusalReason.RATE_CARD_NOT_FOUND, rate_card=usage.rate_card, allowed=some_of(cards)
                )
            return usage.rate_card
        return card.name if card is not None and card.name in cards else None

    async def _on_work(self, request: pb.SimulateRatesRequest, what_if: WhatIf) -> pb.SimulateRatesResponse:
        cards = self._simulator.cards()
        name = self._card_name(request.usage, what_if.card)
        if name is None:
            description = f"is required, to price the work beside the candidate; one of {some_of(cards)}"
            raise InvalidArgumentError([("usage.rate_card", description)])
        names: dict[str, int] = {}
        work = await _decoded_work(request.work, self._simulator.now(), names)
        report = await self._simulator.on_work(what_if, work, cards[name])
        ids = {number: customer_id for customer_id, number in names.items()}
        return _response(report, ids, ChargedUsageQuery(card=name), of_ledger=False)

    async def _costs(self, document: str) -> pricing.CostBook | None:
        if not document:
            return None
        try:
            # In a thread: it may take the whole catalog in.
            return await asyncio.to_thread(pricing.read_costs_text, document)
        except pricing.ConfigError as error:
            raise _broken("candidate_costs", error) from error

    async def _card(self, document: str, costs: pricing.CostBook | None) -> pricing.RateCard | None:
        if not document:
            return None
        known = costs or self._simulator.costs()
        try:
            return await asyncio.to_thread(pricing.read_card_for, document, known)
        except pricing.ConfigError as error:
            raise _broken("candidate_card", error) from error

    async def _plans(self, document: str, card: pricing.RateCard | None) -> PlanBook | None:
        if not document:
            return None
        known = {**self._simulator.cards_to_plan(), **({card.name: card} if card is not None else {})}
        try:
            return await asyncio.to_thread(read_plans_text, document, known)
        except pricing.ConfigError as error:
            raise _broken("candidate_plans", error) from error


def _not_simulated(before: PlanBook, after: PlanBook) -> Iterator[pb.PlanChangeNotSimulated]:
    for field, plans in not_simulated(before, after).items():
        yield pb.PlanChangeNotSimulated(
            field=field, plans=plans[: limits.NAMES_TOLD_MAX], plan_count=len(plans)
        )


def _broken(field: str, error: pricing.ConfigError) -> InvalidArgumentError:
    """Problems of a document as those of the field that held it, each with its line and column."""
    found = []
    for problem in error.problems:
        where = f"line {problem.line}, column {problem.column}: " if problem.line else ""
        found.append((field, where + problem.message + (f" ({problem.hint})" if problem.hint else "")))
    return InvalidArgumentError(found)


def _factor(problems: Problems, change: str) -> Fraction:
    """What costs are multiplied by."""
    if not change:
        return Fraction(1)
    match = _CHANGE.fullmatch(change.strip())
    share = Fraction(match[2]) / 100 if match else Fraction(0)
    factor = 1 - share if match and match[1] == "-" else 1 + share
    if match is None or factor < 0:
        problems.add("cost_change", 'must be a percentage of -100% or more, e.g. "-30%" or "+12.5%"')
        return Fraction(1)
    return factor


def _margin(problems: Problems, text: str) -> Fraction:
    try:
        margin = parse_percent(text)
    except ValueError:
        margin = Fraction(1)
    if margin >= 1:
        problems.add("margin", 'must be a percentage of 0% to less than 100%, e.g. "30%"')
    return margin


def _swaps(problems: Problems, swaps: Sequence[pb.ModelSwap]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for index, swap in enumerate(swaps):
        path = f"model_swaps[{index}]"
        model = validation.name(problems, f"{path}.model", swap.model)
        if model in found:
            problems.add(f"{path}.model", "is named before")
        found[model] = validation.name(problems, f"{path}.served_by", swap.served_by)
    return found


async def _decoded_work(
    pieces: Sequence[pb.SimulatedWork], now: datetime, names: dict[str, int]
) -> Sequence[SimulatedWork]:
    """The work, its customers numbered in `names`; others get a turn now and then."""
    problems = Problems()
    work = []
    for index, piece in enumerate(pieces):
        if index % _DECODED_AT_ONCE == 0:
            await asyncio.sleep(0)
        path = f"work[{index}]"
        items = decode_usage(problems, f"{path}.usage", piece.usage, now)
        labels = validation.labels(problems, f"{path}.labels", piece.labels)
        customer = names.setdefault(piece.customer_id, len(names) + 1)
        work.append(SimulatedWork(customer, labels, items))
        problems.raise_if_any()
    return work


def _response(
    report: Report, names: Mapping[int, str], query: ChargedUsageQuery, *, of_ledger: bool
) -> pb.SimulateRatesResponse:
    changes = report.largest_changes(limits.CUSTOMER_CHANGES_MAX)
    totals = (report.booked, *report.all, *(each for sides in report.names.values() for each in sides))
    of_customers = (each for number in changes for each in report.customers[number])
    validation.refuse_unwieldy(
        "usage" if of_ledger else "work",
        (figures.credits_micros for figures in chain(totals, of_customers)),
        "ask for less of it at a time",
    )
    response = pb.SimulateRatesResponse(
        charges=report.charges,
        customers=len(report.customers),
        before=_figures(report.all.before, lots=of_ledger),
        after=_figures(report.all.after, lots=of_ledger),
        customer_changes=[
            pb.CustomerChange(
                customer_id=names[number],
                before=_figures(report.customers[number].before, lots=of_ledger),
                after=_figures(report.customers[number].after, lots=of_ledger),
            )
            for number in changes
        ],
        usage_changes=[
            pb.UsageChange(
                kind=kind,
                name=name,
                before=_figures(sides.before, lots=False),
                after=_figures(sides.after, lots=False),
            )
            for (kind, name), sides in sorted(report.names.items())
        ],
        histogram=_histogram(report),
        unmatched_reversals=report.unmatched_reversals,
        rate_card=query.card or "",
        since=timestamp(query.since),
        until=timestamp(query.until),
    )
    if of_ledger:
        response.booked.CopyFrom(_figures(report.booked))
    return response


def _figures(figures: Figures, *, lots: bool = True) -> pb.SimulatedFigures:
    made = pb.SimulatedFigures(
        credits_micros=figures.credits_micros,
        list_revenue_usd=dollars(figures.list_nanousd),
        cost_usd=dollars(figures.cost_nanousd),
        list_margin_ratio=ratio(figures.list_nanousd - figures.cost_nanousd, figures.list_nanousd),
        unpriced_lines=figures.unpriced_lines,
    )
    if lots:
        made.lots_revenue_usd = dollars(figures.lots_nanousd)
        made.lots_margin_ratio = ratio(figures.lots_nanousd - figures.cost_nanousd, figures.lots_nanousd)
    return made


def _histogram(report: Report) -> list[pb.ChangeBucket]:
    customers = [0] * BUCKETS
    for sides in report.customers.values():
        customers[bucket_of(sides.before.list_value, sides.after.list_value)] += 1
    buckets = []
    for n, (charges, of_customers) in enumerate(zip(report.charge_changes, customers, strict=True)):
        bucket = pb.ChangeBucket(charges=charges, customers=of_customers, was_free=n == BUCKETS - 1)
        if 0 < n < BUCKETS - 1:
            bucket.from_percent = CHANGE_BOUNDS_PERCENT[n - 1]
        if n < BUCKETS - 2:
            bucket.to_percent = CHANGE_BOUNDS_PERCENT[n]
        buckets.append(bucket)
    return buckets
