"""A process of its own that prices usage of the past: the server's loop stays free meanwhile.

It reads a job and rows of the journal, a line of JSON each for the job and for every chunk of rows, and
answers with one line. `Job` and `read_report` are for the other end.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any, BinaryIO, Final

import orjson
from pydantic import BaseModel, ConfigDict

import pricing
from ledger.books.model.entries import EntryKind
from ledger.books.model.plans import Unpriced
from ledger.books.model.priced import UNSCALED, Treatment
from ledger.prices.plans import PlanBook
from ledger.simulation.figures import Figures, Report, Sides
from ledger.simulation.plans import card_under, unpriced_under
from ledger.simulation.replay import Simulation
from ledger.simulation.side import BookedCharge, Scenario, Window
from pricing.planning.fit import Fit, Target
from pricing.planning.what_if import ScaledCosts, on_own_keys, swapped

POLITENESS: Final = 10
"""What the process is nice by: the server goes before it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CHARGES = frozenset({EntryKind.COMMIT, EntryKind.CHARGE})
_UNPRICED = str(Treatment.UNPRICED)
_FIGURES = tuple(Figures.__slots__)


class FitTarget(BaseModel):
    """What a card is to be fitted to."""

    model_config = ConfigDict(frozen=True)

    card: str
    credit_name: str
    credit_price_nanousd: int
    margin: str
    """As n/d."""


class Job(BaseModel):
    """A simulation, but for the usage."""

    model_config = ConfigDict(frozen=True)

    since_micros: int | None
    """What was booked before this instant (microseconds since 1970) does not count."""
    ends_at_micros: int
    """Nothing was booked later, and periods that have ended by then have closed."""
    cards: Mapping[str, str]
    costs: Mapping[str, str]
    """Documents by version: of the cards in force, and of all that the usage rests on."""
    cards_in_force: Mapping[str, str]
    """Versions by the card's name."""
    plans: str
    """The document of the plans in force."""
    costs_since: Sequence[tuple[int, str]]
    """Versions of the cost book by when they came in force (microseconds since 1970), the latest first."""
    candidate_card: str | None = None
    """The document of a card that prices all usage; None: the cards in force do."""
    candidate_costs: str | None = None
    """The document of a cost book that costs all usage; None: those in force at the time do."""
    candidate_plans: str | None = None
    """The document of plans that all customers are on; None: those in force."""
    cost_factor: str = "1"
    """What all costs are multiplied by."""
    byok: bool = False
    swaps: Mapping[str, str] = {}
    """What serves in place of what."""
    fit: FitTarget | None = None
    """Fit a card; nothing is simulated."""


def micros_of(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


class _Versions:
    """Versions by their documents, made when they are asked for."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._cards: dict[str, pricing.RateCard] = {}
        self._costs: dict[str, pricing.CostBook] = {}

    def card(self, version: str) -> pricing.RateCard:
        if version not in self._cards:
            self._cards[version] = pricing.RateCard.from_document(self._job.cards[version])
        return self._cards[version]

    def costs(self, version: str) -> pricing.CostBook:
        if version not in self._costs:
            self._costs[version] = pricing.CostBook.from_document(self._job.costs[version])
        return self._costs[version]

    @cached_property
    def plans(self) -> PlanBook:
        """The plans in force."""
        return PlanBook.from_document(self._job.plans)

    @cached_property
    def costs_since(self) -> Sequence[tuple[datetime, str]]:
        return [(_EPOCH + micros * _MICROSECOND, version) for micros, version in self._job.costs_since]

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        """The first version reaches back for ever."""
        found = (version for since, version in self.costs_since if since <= instant)
        return self.costs(next(found, self.costs_since[-1][1]))


class _CardsInForce(Scenario):
    """Cards in force, costs as they were."""

    def __init__(self, job: Job, versions: _Versions) -> None:
        self._job = job
        self._versions = versions
        self._terms: dict[tuple[str, str, int], pricing.Terms] = {}

    def terms_of(self, booked: BookedCharge) -> pricing.Terms:
        card = self.card_of(booked)
        costs = self.pinned_costs(booked)
        key = (card.version, costs.version, booked.multiplier_nanos)
        if key not in self._terms:
            compiled = pricing.compile_terms(card, costs)
            multiplied = booked.multiplier_nanos != UNSCALED
            self._terms[key] = compiled.multiplied(booked.multiplier_nanos) if multiplied else compiled
        return self._terms[key]

    def card_of(self, booked: BookedCharge) -> pricing.RateCard:
        return self.card_named(booked.card, booked)

    def card_named(self, name: str, booked: BookedCharge) -> pricing.RateCard:
        """The version in force; that which priced the entry, where the card is in force no more."""
        return self._versions.card(self._job.cards_in_force.get(name, booked.card_version))

    def pinned_costs(self, booked: BookedCharge) -> pricing.CostBook:
        """What the price rests on."""
        return self._versions.costs(booked.cost_version)

    def unpriced(self, booked: BookedCharge) -> Unpriced:
        plans = self._versions.plans
        return unpriced_under(plans, plans, booked)

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        return self._versions.costs_at(instant)

    def usage_of(self, items: Sequence[pricing.Item]) -> Sequence[pricing.Item]:
        return items


class _Candidate(_CardsInForce):
    """What the job asks for in place of what is in force."""

    def __init__(self, job: Job, versions: _Versions) -> None:
        super().__init__(job, versions)
        card, costs = job.candidate_card, job.candidate_costs
        self._card = pricing.RateCard.from_document(card) if card is not None else None
        self._costs = pricing.CostBook.from_document(costs) if costs is not None else None
        plans = job.candidate_plans
        self._plans = PlanBook.from_document(plans) if plans is not None else None
        self._factor = Fraction(job.cost_factor)
        self._scaled: dict[str, pricing.CostBook] = {}

    def card_of(self, booked: BookedCharge) -> pricing.RateCard:
        if self._plans is None:
            return self._card or super().card_of(booked)
        name = card_under(self._versions.plans, self._plans, booked)
        if self._card is not None and self._card.name == name:
            return self._card
        return self.card_named(name, booked)

    def unpriced(self, booked: BookedCharge) -> Unpriced:
        in_force = self._versions.plans
        return unpriced_under(in_force, self._plans or in_force, booked)

    def pinned_costs(self, booked: BookedCharge) -> pricing.CostBook:
        return self._scale(self._costs or super().pinned_costs(booked))

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        return self._scale(self._costs or super().costs_at(instant))

    def usage_of(self, items: Sequence[pricing.Item]) -> Sequence[pricing.Item]:
        if self._job.swaps:
            items = swapped(items, self._job.swaps)
        return on_own_keys(items) if self._job.byok else items

    def _scale(self, costs: pricing.CostBook) -> pricing.CostBook:
        if self._factor == 1:
            return costs
        if costs.version not in self._scaled:
            self._scaled[costs.version] = ScaledCosts(costs, self._factor)
        return self._scaled[costs.version]


def simulate(job: Job, rows: Iterable[Sequence[Any]]) -> Report:
    """Replays rows as `ledger.store.finance.charged_usage` gives them."""
    versions = _Versions(job)
    since = _EPOCH + job.since_micros * _MICROSECOND if job.since_micros is not None else None
    time = Window(since, _EPOCH + job.ends_at_micros * _MICROSECOND)
    simulation = Simulation(_CardsInForce(job, versions), _Candidate(job, versions), time)
    for row in rows:
        simulation.add(booked_of(row))
    return simulation.report()


def fit(job: Job, target: FitTarget, rows: Iterable[Sequence[Any]]) -> str:
    """A card (YAML) that leaves a margin on the usage of rows, at the costs in force when it ends."""
    ends_at = _EPOCH + job.ends_at_micros * _MICROSECOND
    fitted = Fit(_Versions(job).costs_at(ends_at), ends_at)
    for row in rows:
        booked = booked_of(row)
        if booked.kind in _CHARGES and not booked.undone:
            fitted.add(booked.items, booked.booked_at)
    price, margin = target.credit_price_nanousd, Fraction(target.margin)
    return fitted.document(Target(target.card, target.credit_name, price, margin))


def booked_of(row: Sequence[Any]) -> BookedCharge:
    """An entry of its row."""
    labels, lines, money_lines = row[18:21]
    items: tuple[pricing.Item, ...] = ()
    pools: dict[str, int] = {}
    held_micros: tuple[int, ...] = ()
    if lines is not None:
        said = list(zip(orjson.loads(lines), orjson.loads(money_lines), strict=True))
        items = tuple([pricing.item_of(public, internal) for public, internal in said])
        held_micros = tuple([_taken_of_hold(internal) for _, internal in said])
        for _, internal in said:
            if "pool" in internal:
                pools[internal["pool"]] = pools.get(internal["pool"], 0) + internal["pool_micros"]
    instant = _EPOCH + row[6] * _MICROSECOND
    said_of_it = orjson.loads(labels) if labels is not None else {}
    return BookedCharge._make(
        (*row[:2], EntryKind(row[2]), *row[3:6], instant, *row[7:18], said_of_it, items, pools, held_micros)
    )


def _taken_of_hold(internal: Mapping[str, Any]) -> int:
    """What a line took of its hold: all that is charged for what has no price, and no fallback's either."""
    if internal.get("treatment") != _UNPRICED or internal.get("fallback"):
        return 0
    return int(internal["credits_micros"])


def write_report(report: Report) -> bytes:
    """A report as JSON."""
    customers = [[number, _plain(sides)] for number, sides in report.customers.items()]
    names = [[*name, _plain(sides)] for name, sides in report.names.items()]
    # Whole numbers of more than 64 bits are texts.
    return orjson.dumps(
        [
            report.charges,
            _row(report.booked),
            _plain(report.all),
            customers,
            names,
            report.charge_changes,
            report.unmatched_reversals,
        ]
    )


def read_report(text: bytes) -> Report:
    """The report that `write_report` wrote."""
    charges, booked, both, customers, names, charge_changes, unmatched = orjson.loads(text)
    return Report(
        charges,
        _figures(booked),
        _sides(both),
        {number: _sides(sides) for number, sides in customers},
        {(kind, name): _sides(sides) for kind, name, sides in names},
        charge_changes,
        unmatched,
    )


def _plain(sides: Sides) -> list[list[str]]:
    return [_row(sides.before), _row(sides.after)]


def _row(figures: Figures) -> list[str]:
    return [str(getattr(figures, name)) for name in _FIGURES]


def _sides(rows: Sequence[Sequence[str]]) -> Sides:
    before, after = map(_figures, rows)
    return Sides(before, after)


def _figures(row: Sequence[str]) -> Figures:
    return Figures(*map(int, row))


def main(asked: BinaryIO, answers: BinaryIO) -> None:
    """Reads a job and its rows, and answers."""
    job = Job.model_validate_json(asked.readline())
    rows = (row for chunk in asked for row in orjson.loads(chunk))
    if job.fit is not None:
        answers.write(fit(job, job.fit, rows).encode())
    else:
        answers.write(write_report(simulate(job, rows)))


if __name__ == "__main__":
    os.nice(POLITENESS)
    gc.disable()  # what an entry leaves has no cycles, and looking for them takes a tenth of the time
    main(sys.stdin.buffer, sys.stdout.buffer)
