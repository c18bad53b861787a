"""Sending records through the API: each is one reservation and its final commit.

Three stages run side by side, each taking the records in the order of the file: reserve, commit, explain. So
what a customer draws from its lots is the same in every run, while the server always has work. The figures
come from the answers: credits from the charges, dollars from finance's explanation of each.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from ledger.cli.client import Failure, Ledger, batch, call, failure_of_status
from ledger.cli.output.amounts import nanousd
from ledger.cli.replaying.csv_records import Record, Skipped
from ledger.cli.replaying.customers import ReplayedCustomers
from ledger.finance.v1.finance_service_pb2 import ExplainChargeRequest, ExplainChargeResponse
from ledger.v1.credit_service_pb2 import (
    BatchItem,
    BatchResult,
    Charge,
    CommitReservationRequest,
    ReserveRequest,
)
from ledger.v1.usage_pb2 import UsageList

BATCH_RECORDS = 500
_EXPLAINED_IN_FLIGHT = 32
_TOP_UPS_MAX = 3
_INSUFFICIENT = "INSUFFICIENT_CREDITS"

Observer = Callable[[Record, Charge, ExplainChargeResponse], None]


@dataclass(slots=True)
class ReplayTally:
    """What became of the records of a run, repeats included."""

    records: int = 0
    committed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    notable: int = 0
    """Of the skipped: those that a person should look at."""
    credits_micros: int = 0
    revenue_nanousd: int = 0
    cost_nanousd: int = 0
    absorbed_cost_nanousd: int = 0
    booked_at: datetime | None = None
    """When the latest of its commits was booked."""

    @property
    def complete(self) -> bool:
        """Whether all work in the file is booked: what is no finished work, or a repeat, is none."""
        return not self.refused and not self.notable

    def add(self, charge: Charge, explained: ExplainChargeResponse) -> None:
        """Counts one committed record."""
        self.committed += 1
        self.credits_micros += charge.charged_micros
        self.revenue_nanousd += nanousd(explained.revenue_usd)
        self.cost_nanousd += nanousd(explained.cost_usd)
        self.absorbed_cost_nanousd += sum(nanousd(part.amount_usd) for part in explained.absorbed)
        booked_at = charge.created_at.ToDatetime(tzinfo=UTC)
        self.booked_at = max(self.booked_at or booked_at, booked_at)


@dataclass(frozen=True, slots=True)
class Hold:
    """A record with the reservation made for it."""

    record: Record
    customer_id: str
    reservation_id: str


_Stage = asyncio.Queue["list[Hold] | None"]
_Charged = asyncio.Queue["list[tuple[Record, Charge]] | None"]


class Replay:
    """One run over one file.

    `spread` is the number of customers that records without one are spread over; `advance` hears of records
    that are done with, `warn` of each that is not committed and why, `observe` of each that is.
    """

    def __init__(
        self,
        ledger: Ledger,
        customers: ReplayedCustomers,
        run_id: str,
        spread: int,
        *,
        advance: Callable[[int], None],
        warn: Callable[[str], None],
        observe: Observer | None = None,
    ) -> None:
        self._ledger = ledger
        self._customers = customers
        self._run_id = run_id
        self._spread = spread
        self._advance = advance
        self._warn = warn
        self._observe = observe
        self.tally = ReplayTally()

    async def run(self, records: Iterable[Record | Skipped]) -> ReplayTally:
        """Sends the records. Raises CallFailedError where the server cannot go on; what is done stands."""
        held: _Stage = asyncio.Queue(maxsize=1)
        charged: _Charged = asyncio.Queue(maxsize=1)
        stages = [
            asyncio.ensure_future(stage)
            for stage in (
                self._reserving(iter(records), held),
                self._committing(held, charged),
                self._explaining(charged),
            )
        ]
        try:
            await asyncio.gather(*stages)
        finally:
            for stage in stages:
                stage.cancel()
        return self.tally

    async def _reserving(self, rows: Iterator[Record | Skipped], held: _Stage) -> None:
        while chunk := list(islice(rows, BATCH_RECORDS)):
            self.tally.records += len(chunk)
            records = [row for row in chunk if isinstance(row, Record)]
            self._skip([row for row in chunk if isinstance(row, Skipped)])
            if records:
                await held.put(await self._reserve(records))
        await held.put(None)

    async def _committing(self, held: _Stage, charged: _Charged) -> None:
        while (holds := await held.get()) is not None:
            if holds:
                await charged.put(await self._commit(holds))
        await charged.put(None)

    async def _explaining(self, charged: _Charged) -> None:
        slots = asyncio.Semaphore(_EXPLAINED_IN_FLIGHT)

        async def explain(charge: Charge) -> ExplainChargeResponse:
            request = ExplainChargeRequest(customer_id=charge.customer_id, charge_id=charge.charge_id)
            async with slots:
                return await call(self._ledger.finance.ExplainCharge, request)

        while (done := await charged.get()) is not None:
            explanations = await asyncio.gather(*(explain(charge) for _, charge in done))
            for (record, charge), explained in zip(done, explanations, strict=True):
                self.tally.add(charge, explained)
                if self._observe is not None:
                    self._observe(record, charge, explained)
            self._advance(len(done))

    def _skip(self, rows: Sequence[Skipped]) -> None:
        for row in rows:
            self.tally.skipped[row.reason] += 1
            if row.message is not None:
                self.tally.notable += 1
                self._warn(row.message)
        self._advance(len(rows))

    def _refuse(self, record: Record, failure: Failure) -> None:
        if failure.reason not in self.tally.refused:
            self._warn(f"record {record.row} ({record.key}) is refused, {failure}")
        self.tally.refused[failure.reason] += 1
        self._advance(1)

    def _customer_id(self, record: Record) -> str:
        name = record.customer or f"customer-{(record.row - 1) % self._spread + 1}"
        return self._customers.customer_id(name)

    async def _reserve(self, records: Sequence[Record]) -> list[Hold]:
        """Holds each record's estimate; those that are refused are counted and left out."""
        await self._customers.open({self._customer_id(record) for record in records})
        known = []
        for record in records:
            refused = self._customers.refusal(self._customer_id(record))
            if refused is None:
                known.append(record)
            else:
                self._refuse(record, refused)
        results = await self._reserve_with_top_ups(known)
        holds = []
        for record, result in zip(known, results, strict=True):
            if result.HasField("error"):
                self._refuse(record, failure_of_status(result.error))
            else:
                reservation_id = result.reserve.reservation.reservation_id
                holds.append(Hold(record, self._customer_id(record), reservation_id))
        return holds

    async def _reserve_with_top_ups(self, records: Sequence[Record]) -> list[BatchResult]:
        items = [self._reserve_item(record) for record in records]
        results = await batch(self._ledger.credits, items) if items else []
        for _ in range(_TOP_UPS_MAX):
            short = [
                (index, failure)
                for index, result in enumerate(results)
                if result.HasField("error")
                and (failure := failure_of_status(result.error)).reason == _INSUFFICIENT
            ]
            if not short:
                break
            required: Counter[str] = Counter()
            for index, failure in short:
                required[self._customer_id(records[index])] += _required_micros(failure.metadata)
            for customer_id, amount_micros in required.items():
                await self._customers.add_credits(customer_id, amount_micros)
            again = await batch(self._ledger.credits, [items[index] for index, _ in short])
            for (index, _), result in zip(short, again, strict=True):
                results[index] = result
        return results

    def _reserve_item(self, record: Record) -> BatchItem:
        return BatchItem(
            reserve=ReserveRequest(
                request_id=f"{self._run_id}/{record.key}/r",
                customer_id=self._customer_id(record),
                usage=UsageList(items=record.estimate),
                labels=record.labels,
            )
        )

    async def _commit(self, holds: Sequence[Hold]) -> list[tuple[Record, Charge]]:
        """Commits each record's usage, finally."""
        results = await batch(self._ledger.credits, [self._commit_item(hold) for hold in holds])
        charged = []
        for hold, result in zip(holds, results, strict=True):
            if result.HasField("error"):
                self._refuse(hold.record, failure_of_status(result.error))
            else:
                charged.append((hold.record, result.commit.charge))
        return charged

    def _commit_item(self, hold: Hold) -> BatchItem:
        return BatchItem(
            commit=CommitReservationRequest(
                request_id=f"{self._run_id}/{hold.record.key}/c",
                customer_id=hold.customer_id,
                reservation_id=hold.reservation_id,
                usage=UsageList(items=hold.record.usage),
                final=True,
            )
        )


def _required_micros(metadata: Mapping[str, str]) -> int:
    return int(metadata["required_micros"])
