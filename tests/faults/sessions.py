"""The client of products' backends, as the harness watches it: sessions of many tasks, and what they added.

Its writes are entered in the journal of all as it sends them and as they are answered; what was added is
written down apart from that, by whoever added it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from google.protobuf.duration_pb2 import Duration

from ledger.client import Credits, CreditsError, NotNow, Session
from ledger.client.delivery import AWAY, OnOutage
from ledger.v1.credit_service_pb2 import BatchItem, BatchResult, ListChargesRequest
from ledger.v1.usage_pb2 import ComputeUsage, UsageItem
from tests.faults.calls import BATCH_FIELDS
from tests.faults.compare import Findings, expect
from tests.faults.journal import Answered, Journal, Outcome, Record, Refused, Unknown
from tests.faults.servers import Server

SESSIONS = 20
"""At once, of each client."""
ADDS = 12
"""Of each session."""
PAUSE_SECONDS_MAX = 0.4
"""Between two adds: an agent's step."""
CALL_SECONDS = 3.0
"""Of a client's call with all its attempts."""
BUSY_SECONDS = 10.0
"""By which a call may be later than that, on a machine that is busy."""
_METHODS = {field: method for method, field in BATCH_FIELDS.items()}

Key = tuple[str, int]
"""A customer, and the seconds of a sandbox that nobody else has added."""


class WatchedCredits(Credits):
    """A client whose writes stand in the journal of the harness."""

    def __init__(
        self, target: str, records: Journal, findings: Findings, *, on_outage: OnOutage, journal: Path
    ) -> None:
        super().__init__(target, timeout_seconds=CALL_SECONDS, on_outage=on_outage, journal=journal)
        self._records = records
        self._findings = findings
        self._by_key: dict[tuple[str, str], Record] = {}

    async def write(self, item: BatchItem, *, timeout_seconds: float | None = None) -> BatchResult:
        """Enters the write, and what it amounts to."""
        field = item.WhichOneof("write") or ""
        record = self._record(_METHODS[field], getattr(item, field))
        outcome: Outcome = Unknown("CANCELLED", "the caller went away")
        try:
            result = await super().write(item, timeout_seconds=timeout_seconds)
            outcome = Answered(getattr(result, field))
        except CreditsError as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._records.note(record, outcome)
        return result

    def _record(self, method: str, request: Any) -> Record:
        key = request.customer_id, request.request_id
        record = self._by_key.get(key)
        if record is None:
            record = self._by_key[key] = self._records.open(method, request)
        same = record.method == method and record.request == request
        expect(self._findings, same, f"{key}: sent again, and not the same")
        return record

    def check_answers(self) -> None:
        """Usage that was sent has its answer. Before anybody else sends it again."""
        for key, record in self._by_key.items():
            is_usage = record.method in ("CommitReservation", "Charge")
            has_answer = not is_usage or not isinstance(record.outcomes[-1], Unknown)
            expect(self._findings, has_answer, f"{key}: the client has no answer, and sends it no more")


def _outcome_of(error: CreditsError) -> Outcome:
    if isinstance(error, AWAY):
        return Unknown(error.code.name, error.message, error.metadata.get("error_id"))
    return Refused(error.reason)


class Agents:
    """Tasks that work in one session after the other, of one client."""

    def __init__(
        self,
        credits: WatchedCredits,
        customers: Sequence[str],
        numbers: Iterator[int],
        findings: Findings,
        rng: random.Random,
    ) -> None:
        self.credits = credits
        self._customers = customers
        self._numbers = numbers
        """Of all agents: each is added once."""
        self._findings = findings
        self._rng = rng
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []
        self.added: Counter[Key] = Counter()
        """What was taken, each once."""
        self.refused = 0
        """How often it was reported to somebody that the service is away."""
        self.refused_seconds_max = 0.0
        """The longest that anybody waited for that."""

    def start(self) -> None:
        """All begin to work."""
        self._is_over = False
        self._tasks = [asyncio.create_task(self._work()) for _ in range(SESSIONS)]

    async def stop(self) -> None:
        """Each ends the session that it is in."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _work(self) -> None:
        while not self._is_over:
            session = self.credits.session(self._rng.choice(self._customers), estimate=1)
            if await self._is_told(session.__aenter__()):
                continue
            for _ in range(ADDS):
                self._add(session)
                await asyncio.sleep(self._rng.random() * PAUSE_SECONDS_MAX)
            await self._is_told(session.__aexit__(None, None, None))

    def _add(self, session: Session) -> None:
        """Taken, whatever is said of what was added before it."""
        number = next(self._numbers)
        self.added[session.customer_id, number] += 1
        duration = Duration(seconds=number)
        try:
            session.add(UsageItem(compute=ComputeUsage(resource="sandbox", duration=duration)))
        except NotNow:
            self._refuses()

    async def _is_told(self, step: Any) -> bool:
        """Whether it was reported in its time that the service is away."""
        began = monotonic()
        try:
            await step
        except NotNow:
            self._refuses()
            seconds = monotonic() - began
            self.refused_seconds_max = max(self.refused_seconds_max, seconds)
            in_time = seconds <= CALL_SECONDS + BUSY_SECONDS
            expect(self._findings, in_time, f"reported after {seconds:.1f} s that the service is away")
            return True
        return False

    def _refuses(self) -> None:
        self.refused += 1
        expect(self._findings, self.credits.on_outage == "refuse", "work that goes on was refused")


async def charged(server: Server, customers: Sequence[str]) -> Counter[Key]:
    """All times of sandboxes that customers were charged, as often as they were."""
    found: Counter[Key] = Counter()
    for customer_id in customers:
        request = ListChargesRequest(customer_id=customer_id, page_size=1_000)
        while True:
            page = await server.ledger.credits.ListCharges(request, timeout=60)
            found.update(
                (customer_id, int(line.quantities["duration_seconds"]))
                for charge in page.charges
                for line in charge.lines
            )
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    return found


def compare_added(findings: Findings, added: Counter[Key], found: Counter[Key]) -> None:
    """What was added is charged, and nothing twice."""
    findings.effects_checked += added.total()
    findings.lost += [f"{key}: added, and not charged" for key in added - found]
    findings.doubled += [f"{key}: charged {found[key]} times" for key in found - added]
