"""The finance service: the books, margin, and why a charge is what it is.

Dollars are decimal strings of nine places, credits of six where they are not micro-credits: exact, and
of one width, so that columns of them line up.
"""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from ledger.api.back_office.simulation import Simulations
from ledger.api.errors import refused
from ledger.api.messages import ids, limits, validation
from ledger.api.messages.decimals import CREDIT_PLACES, DOLLAR_PLACES, dollars, fixed, ratio
from ledger.api.messages.encode import decimal, timestamp
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.books.model.amounts import Dollars
from ledger.books.model.entries import Entry, EntryLine, Money, MoneyLine
from ledger.books.model.refusals import RefusalReason
from ledger.books.rounding import round_exact
from ledger.finance.v1 import finance_service_pb2 as pb
from ledger.finance.v1 import simulation_pb2 as simulation
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceServicer
from ledger.simulation.simulator import Simulator
from ledger.store.directory import CustomerKey, Directory, customer_ids
from ledger.store.finance.findings import Finding, list_findings
from ledger.store.finance.reads import (
    Dimension,
    FoundCharge,
    Margin,
    MarginQuery,
    find_charge,
    margin_report,
    trial_balance,
)
from ledger.store.finance.verify import verify_journal
from ledger.store.postgres.database import Pool

DIMENSIONS: Final = {pb.MarginDimension.Value(f"MARGIN_DIMENSION_{each.name}"): each for each in Dimension}


class FinanceService(FinanceServiceServicer):
    """Reads of the back office, over all cells."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        cells: Sequence[str],
        simulator: Simulator,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._directory = directory
        self._cells = cells
        # One of each at a time: each may read all that there is, and the pool has one connection for each of
        # them, and some for what is short.
        self._verifying, self._balancing, self._reporting = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._simulations = Simulations(simulator, directory, pool)

    async def GetTrialBalance(
        self, request: pb.GetTrialBalanceRequest, context: object
    ) -> pb.GetTrialBalanceResponse:
        """Balances of all accounts, over all customers or one."""
        problems = Problems()
        as_of = None
        if request.HasField("as_of"):
            as_of = validation.as_of(problems, "as_of", request.as_of, self._clock())
        with self._directory.one_history():
            key, cells = await self._customer(problems, request.customer_id)
            number = key.customer if key else None
            async with self._balancing:
                balance = await trial_balance(self._pool, cells, as_of=as_of, customer=number)
        return pb.GetTrialBalanceResponse(
            credits=_accounts(balance.credits._asdict(), CREDIT_PLACES),
            dollars=_accounts(balance.dollars._asdict(), DOLLAR_PLACES),
            as_of=timestamp(balance.as_of),
        )

    async def GetMarginReport(
        self, request: pb.GetMarginReportRequest, context: object
    ) -> pb.GetMarginReportResponse:
        """Revenue, cost and margin by dimensions, from the rollups."""
        problems = Problems()
        group_by = _dimensions(problems, request.group_by)
        first_day = validation.day(problems, "first_day", request.first_day)
        last_day = validation.day(problems, "last_day", request.last_day)
        if first_day and last_day and last_day < first_day:
            problems.add("last_day", f"is {last_day}, before first_day ({first_day})")
        with self._directory.one_history():
            key, cells = await self._customer(problems, request.customer_id)
            query = MarginQuery(group_by, first_day, last_day, key.customer if key else None)
            async with self._reporting:
                report = await margin_report(self._pool, cells, query, limits.MARGIN_ROWS_MAX + 1)
        if len(report.groups) > limits.MARGIN_ROWS_MAX:
            description = f"makes more than {limits.MARGIN_ROWS_MAX} rows; ask for fewer days or dimensions"
            raise InvalidArgumentError([("group_by", description)])
        groups = [dict(zip(group_by, values, strict=True)) for values in report.groups]
        await self._name_customers(groups)
        sums = (margin.credits_micros for margin in report.groups.values())
        validation.refuse_unwieldy("group_by", sums, "ask for fewer days or more dimensions")
        rows = [
            _margin_row(group, margin) for group, margin in zip(groups, report.groups.values(), strict=True)
        ]
        rows.sort(key=lambda row: [getattr(row, _FIELDS[dimension]) for dimension in group_by])
        return pb.GetMarginReportResponse(rows=rows, as_of=timestamp(report.as_of))

    async def ExplainCharge(
        self, request: pb.ExplainChargeRequest, context: object
    ) -> pb.ExplainChargeResponse:
        """All that a charge rests on: its lines, the lots that it drew, its cost."""
        problems = Problems()
        validation.identifier(problems, "customer_id", request.customer_id)
        validation.identifier(problems, "charge_id", request.charge_id)
        sequence = ids.charge_sequence(request.customer_id, request.charge_id)
        with self._directory.one_history():
            key, _ = await self._customer(problems, request.customer_id)
            found = await find_charge(self._pool, key, sequence) if key and sequence else None
        if found is None:
            raise refused(RefusalReason.CHARGE_NOT_FOUND, charge_id=request.charge_id)
        return _explained(request.customer_id, request.charge_id, found)

    async def SimulateRates(
        self, request: simulation.SimulateRatesRequest, context: object
    ) -> simulation.SimulateRatesResponse:
        """Usage of the past by a card or at costs that might be."""
        return await self._simulations.simulate(request)

    async def FitRates(
        self, request: simulation.FitRatesRequest, context: object
    ) -> simulation.FitRatesResponse:
        """A card that leaves a margin on every model."""
        return await self._simulations.fit(request)

    async def ImportCosts(
        self, request: simulation.ImportCostsRequest, context: object
    ) -> simulation.ImportCostsResponse:
        """A cost book of the catalog, for what the ledger saw."""
        return await self._simulations.import_costs(request)

    async def ListFindings(self, request: pb.ListFindingsRequest, context: object) -> pb.ListFindingsResponse:
        """What the watch over the books has found and what still stands."""
        found, there_are_more = await list_findings(self._pool, self._cells, limits.PAGE_SIZE_MAX)
        return pb.ListFindingsResponse(findings=map(_finding, found), there_are_more=there_are_more)

    async def VerifyJournal(
        self, request: pb.VerifyJournalRequest, context: object
    ) -> pb.VerifyJournalResponse:
        """Checks the invariants of the books over the whole journal."""
        async with self._verifying:
            found = await verify_journal(self._pool, self._cells)
        return pb.VerifyJournalResponse(
            holds=not found.violations,
            entries=found.entries,
            customers=found.customers,
            violations=[
                pb.Violation(
                    invariant=violation.invariant,
                    customer_id=violation.customer_id,
                    description=violation.description,
                )
                for violation in found.violations
            ],
            as_of=timestamp(found.as_of),
        )

    async def _customer(
        self, problems: Problems, customer_id: str
    ) -> tuple[CustomerKey | None, Sequence[str]]:
        """The customer asked for and its cell; no id: none, and all cells. Refuses what is wrong so far."""
        if customer_id:
            validation.identifier(problems, "customer_id", customer_id)
        problems.raise_if_any()
        if not customer_id:
            return None, self._cells
        key = await self._directory.find(customer_id)
        if key is None:
            raise refused(RefusalReason.CUSTOMER_NOT_FOUND, customer_id=customer_id)
        return key, (key.cell,)

    async def _name_customers(self, groups: Iterable[dict[Dimension, Any]]) -> None:
        """Puts customers' ids in the place of their numbers."""
        numbers = {group[Dimension.CUSTOMER] for group in groups if Dimension.CUSTOMER in group}
        if numbers:
            names = await customer_ids(self._pool, numbers)
            for group in groups:
                group[Dimension.CUSTOMER] = names[group[Dimension.CUSTOMER]]


_FIELDS: Final = {
    dimension: "customer_id" if dimension is Dimension.CUSTOMER else dimension.value
    for dimension in Dimension
}
"""Fields of a `MarginRow`."""


def _dimensions(problems: Problems, values: Sequence[pb.MarginDimension.ValueType]) -> tuple[Dimension, ...]:
    found: list[Dimension] = []
    # One more than there are: that is named before, or none.
    for index, value in enumerate(values[: len(DIMENSIONS) + 1]):
        dimension = DIMENSIONS.get(value)
        if dimension is None:
            problems.add(
                f"group_by[{index}]", f"is {value}; one of {', '.join(Dimension.__members__)} is allowed"
            )
        elif dimension in found:
            problems.add(f"group_by[{index}]", f"is {dimension.name}, which is named before")
        else:
            found.append(dimension)
    return tuple(found)


def _margin_row(group: Mapping[Dimension, Any], margin: Margin) -> pb.MarginRow:
    margin_nanousd = margin.revenue_nanousd - margin.cost_nanousd
    return pb.MarginRow(
        **{_FIELDS[dimension]: str(value) for dimension, value in group.items()},
        lines=margin.lines,
        unpriced_lines=margin.unpriced_lines,
        uncosted_lines=margin.uncosted_lines,
        credits_micros=margin.credits_micros,
        revenue_usd=dollars(margin.revenue_nanousd),
        cost_usd=dollars(margin.cost_nanousd),
        margin_usd=dollars(margin_nanousd),
        margin_ratio=ratio(margin_nanousd, margin.revenue_nanousd),
        saved_usd=dollars(margin.saved_nanousd),
        baseline_usd=dollars(margin.cost_nanousd + margin.saved_nanousd),
        own_key_cost_usd=dollars(margin.own_key_nanousd),
        own_key_saved_usd=dollars(margin.own_key_saved_nanousd),
    )


def _explained(customer_id: str, charge_id: str, found: FoundCharge) -> pb.ExplainChargeResponse:
    charge = found.charge
    money = charge.money or _NO_MONEY
    saved_nanousd = sum(line.saved_nanousd for line in money.lines if not _on_own_key(line))
    response = pb.ExplainChargeResponse(
        charge_id=charge_id,
        customer_id=customer_id,
        plan=charge.plan,
        priced_micros=charge.priced_micros,
        charged_micros=charge.charged_micros,
        uncollected_micros=charge.uncollected_micros,
        revenue_usd=dollars(money.dollars.revenue),
        cost_usd=dollars(-money.dollars.cost),
        absorbed=_absorbed(money),
        lines=[_explained_line(*pair) for pair in zip(charge.lines, money.lines, strict=True)],
        draws=[
            pb.LotDraw(
                grant_id=ids.grant_id(customer_id, draw.lot),
                credits_micros=draw.micros,
                value_usd=dollars(draw.value_nanousd),
            )
            for draw in money.draws
        ],
        booked_at=timestamp(charge.booked_at),
        saved_usd=dollars(saved_nanousd),
        baseline_usd=dollars(saved_nanousd - money.dollars.cost),
        given_back=[_given_back(entry) for entry in found.given_back],
    )
    if charge.terms is not None:
        response.card = charge.terms.card
        response.card_version = charge.terms.card_version
        response.cost_version = charge.terms.cost_version
        response.credit_price_usd = dollars(charge.terms.credit_price_nanousd)
        response.multiplier = decimal(charge.terms.multiplier_nanos)
    return response


_NO_MONEY: Final = Money(Dollars())


def _given_back(entry: Entry) -> pb.GivenBack:
    """A refund or a reversal. Revenue may be another than was booked: debt was paid in between."""
    revenue_nanousd = entry.money.dollars.revenue if entry.money else 0
    return pb.GivenBack(
        kind=entry.kind.lower(),
        credits_micros=-entry.charged_micros,
        revenue_usd=dollars(-revenue_nanousd),
        reason=entry.reason or "",
        booked_at=timestamp(entry.booked_at),
    )


def _on_own_key(line: MoneyLine) -> bool:
    return line.internal.get("key_owner") == "CUSTOMER"


def _absorbed(money: Money) -> list[pb.Absorbed]:
    """The reasons that have absorbed something; a late commit may take some of it back."""
    by_reason = {
        "failed_outcome": money.absorbed_failed_outcome_nanousd,
        "uncollected": money.absorbed_uncollected_nanousd,
        "unpriced": money.absorbed_unpriced_nanousd,
    }
    return [
        pb.Absorbed(reason=reason, amount_usd=dollars(nanousd))
        for reason, nanousd in by_reason.items()
        if nanousd
    ]


def _explained_line(public: EntryLine, money: MoneyLine) -> pb.ExplainedLine:
    said = money.internal
    quantities = public.public.get("quantities")
    if not isinstance(quantities, Mapping):
        raise TypeError("a line has quantities")
    saved_nanousd = 0 if _on_own_key(money) else money.saved_nanousd
    return pb.ExplainedLine(
        kind=money.kind,
        treatment=money.treatment,
        quantities={str(key): str(value) for key, value in quantities.items()},
        credits_micros=money.credits_micros,
        pool=money.pool or "",
        pool_micros=money.pool_micros,
        revenue_usd=dollars(money.revenue_nanousd),
        cost_usd=dollars(money.cost_nanousd),
        list_cost_usd=_exact_dollars(said.get("list_nanousd")),
        asked_cost_usd=_exact_dollars(said.get("asked_nanousd")),
        served_cost_usd=_exact_dollars(said.get("served_nanousd")),
        saved_usd=dollars(saved_nanousd),
        baseline_usd=dollars(money.cost_nanousd + saved_nanousd),
        own_key_cost_usd=dollars(money.own_key_nanousd),
        own_key_saved_usd=dollars(money.saved_nanousd - saved_nanousd),
        uncosted=said.get("uncosted") is True,
        **{name: _text(said.get(name)) for name in _DESCRIBED},
    )


_DESCRIBED: Final = (
    "name",
    "rule",
    "price",
    "served_by",
    "key_owner",
    "lever",
    "cost_source",
    "unpriced_reason",
    "fallback",
)
"""What pricing said of a line, in its own words."""


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _accounts(balances: Mapping[str, int], places: int) -> list[pb.AccountBalance]:
    """Every account in the order of the chart."""
    return [
        pb.AccountBalance(account=account, balance=fixed(amount, places))
        for account, amount in balances.items()
    ]


def _exact_dollars(nanousd: object) -> str:
    """A cost that may be a fraction of a nano-dollar (`n/d`), half even to nine places; unknown: empty."""
    return "" if nanousd is None else dollars(round_exact(Fraction(str(nanousd))))


def _finding(finding: Finding) -> pb.Finding:
    return pb.Finding(
        finding_id=finding.finding,
        customer_id=finding.customer_id,
        stops=finding.stops,
        invariants=finding.invariants,
        violations=finding.violations,
        description=finding.description,
        found_at=timestamp(finding.found_at),
    )
