"""Sending records through the API: each is one reservation and its final commit.

Three stages run side by side, each taking the records in the order of the file: reserve, commit, explain. So
what a customer draws from its lots is the same in every run, while the server always has work. The figures
come from the answers: credits from the charges, dollars from finance's explanation of each.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from ledger.cli.output.amounts import nanousd
from ledger.cli.replaying.csv_records import Record, Skipped
from ledger.cli.replaying.customers import ReplayedCustomers
from ledger.cli.services import Ledger, call
from ledger.client import (
    CallerRefused,
    Charge,
    CreditsError,
    InsufficientCredits,
    NotNow,
    Reservation,
)
from ledger.finance.v1.finance_service_pb2 import ExplainChargeRequest, ExplainChargeResponse

Answer = TypeVar("Answer")
BATCH_RECORDS = 500
_EXPLAINED_IN_FLIGHT = 32
_TOP_UPS_MAX = 3
_OF_THE_SERVER = (NotNow, CallerRefused)
"""What ends a run: the records that follow would fare no better."""

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
        self.booked_at = max(self.booked_at or charge.created_at, charge.created_at)


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
        """Sends the records. Raises CreditsError where the server cannot go on; what is done stands."""
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

    def _refuse(self, record: Record, error: CreditsError) -> None:
        if error.reason not in self.tally.refused:
            self._warn(f"record {record.row} ({record.key}) is refused, {error}")
        self.tally.refused[error.reason] += 1
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
            if isinstance(result, CreditsError):
                self._refuse(record, result)
            else:
                holds.append(Hold(record, self._customer_id(record), result.reservation_id))
        return holds

    async def _reserve_with_top_ups(self, records: Sequence[Record]) -> list[Reservation | CreditsError]:
        results = await _outcomes([self._held(record) for record in records])
        for _ in range(_TOP_UPS_MAX):
            short = [
                (index, result)
                for index, result in enumerate(results)
                if isinstance(result, InsufficientCredits)
            ]
            if not short:
                break
            required: Counter[str] = Counter()
            for index, error in short:
                required[self._customer_id(records[index])] += error.required_micros
            for customer_id, amount_micros in required.items():
                await self._customers.add_credits(customer_id, amount_micros)
            again = await _outcomes([self._held(records[index]) for index, _ in short])
            for (index, _), result in zip(short, again, strict=True):
                results[index] = result
        return results

    def _held(self, record: Record) -> Coroutine[Any, Any, Reservation]:
        return self._ledger.credits.reserve(
            self._customer_id(record),
            usage=record.estimate,
            labels=record.labels,
            request_id=f"{self._run_id}/{record.key}/r",
        )

    async def _commit(self, holds: Sequence[Hold]) -> list[tuple[Record, Charge]]:
        """Commits each record's usage, finally."""
        results = await _outcomes([self._charged(hold) for hold in holds])
        charged = []
        for hold, result in zip(holds, results, strict=True):
            if isinstance(result, CreditsError):
                self._refuse(hold.record, result)
            else:
                charged.append((hold.record, result))
        return charged

    def _charged(self, hold: Hold) -> Coroutine[Any, Any, Charge]:
        return self._ledger.credits.commit(
            hold.customer_id,
            hold.reservation_id,
            hold.record.usage,
            final=True,
            request_id=f"{self._run_id}/{hold.record.key}/c",
        )


async def _outcomes(writes: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer | CreditsError]:
    """What became of writes that begin in this order. Raises CreditsError where the server cannot go on."""

    async def outcome(write: Coroutine[Any, Any, Answer]) -> Answer | CreditsError:
        try:
            return await write
        except _OF_THE_SERVER:
            raise
        except CreditsError as refused:
            return refused

    return await asyncio.gather(*map(outcome, writes))
