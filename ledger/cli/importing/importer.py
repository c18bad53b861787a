"""Carries out an import: many rows in a call, each by itself; what is wrong with one holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import grpc.aio

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.cli.importing.requests import ImportKind, granted_micros, paid_nanousd
from ledger.cli.importing.row_files import BrokenLine, TextRow
from ledger.cli.services import CALL_TIMEOUT_SECONDS, Ledger, call
from ledger.client import CreditsError
from ledger.client.errors import CallerRefused, NotNow, RequestIdReused
from ledger.client.retries import with_retries
from ledger.client.statuses import error_of_call, error_of_status

ROWS_OF_CALL_MAX: Final = 250
BYTES_OF_CALL_MAX: Final = 2 * 1024 * 1024
"""Half of what the service takes: a larger call gains no speed, and holds up whoever else calls."""

CALLS_AT_ONCE: Final = 3
"""One is prepared here while the service is at another, and its database at a third."""

PATIENCE_SECONDS: Final = 120.0
"""For a server that is away or overloaded: an import is nobody's foreground."""

_COLUMNS: Final = {
    "CUSTOMER_EXISTS": "customer_id",
    "CUSTOMER_NOT_FOUND": "customer_id",
    "PLAN_NOT_FOUND": "plan",
    "RATE_CARD_NOT_FOUND": "rate_card",
}
"""What is to be mended, by the reason of a refusal."""

_REHEARSAL: Final = "dry-run"
"""Has no effect, so that it takes no request id."""

_INTERRUPTED: Final = "interrupted"

_ENDS_ALL: Final = (NotNow, CallerRefused)
"""Failures that say nothing of the row: the next one would fail alike."""


@dataclass
class ImportTally:
    """What became of the rows. Amounts are of those that were imported, or would be."""

    rows: int = 0
    imported: int = 0
    """Of a dry run: to be imported."""
    imported_before: int = 0
    """By a run with the same rows: nothing was booked again. Of a dry run of customers: they exist."""
    granted_micros: int = 0
    paid_nanousd: int = 0
    wrong_lines: set[int] = field(default_factory=set)
    problems: list[BrokenLine] = field(default_factory=list)
    stopped: str = ""
    """Why rows were left that nobody has looked at; empty: none were."""

    def add_wrong(self, problems: Iterable[BrokenLine]) -> None:
        """Takes note of what is wrong with a row."""
        for problem in problems:
            self.wrong_lines.add(problem.line)
            self.problems.append(problem)

    def add_right(self, request: Any, *, before: bool) -> None:
        """Takes note of a row that is imported."""
        if before:
            self.imported_before += 1
        else:
            self.imported += 1
            self.granted_micros += granted_micros(request)
            self.paid_nanousd += paid_nanousd(request)


class Importer:
    """One import of one file."""

    def __init__(
        self,
        ledger: Ledger,
        kind: ImportKind[Any],
        rows: Iterator[TextRow | BrokenLine],
        progress: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._kind = kind
        self._rows = rows
        self._progress = progress
        self._lines_of_ids: dict[str, int] = {}
        self._refused: dict[tuple[str, str], CreditsError | None] = {}
        """Of a dry run: what plans and cards are refused for."""
        self.tally = ImportTally()

    async def run(self) -> ImportTally:
        """Imports all rows that are right. Cancelled, it begins no more, and ends with those under way."""
        rows = _Ahead(self._requests(is_rehearsal=False))
        calls = asyncio.gather(*(self._import_from(rows) for _ in range(CALLS_AT_ONCE)))
        try:
            await asyncio.shield(calls)
        except asyncio.CancelledError:
            self._stop(_INTERRUPTED)
            await calls
        return self.tally

    async def check(self) -> ImportTally:
        """Says what `run` would do, without an effect."""
        known = await self._customer_ids()
        for line, request in self._requests(is_rehearsal=True):
            is_customer = isinstance(request, admin.CreateCustomerRequest)
            customer_id = request.customer.customer_id if is_customer else request.customer_id
            wrong = await self._policies(line, request.customer) if is_customer else ()
            if not is_customer and customer_id not in known:
                wrong = (BrokenLine(line, "customer_id", "is no customer yet: import customers first"),)
            if wrong:
                self.tally.add_wrong(wrong)
            else:
                self.tally.add_right(request, before=is_customer and customer_id in known)
        return self.tally

    async def _policies(self, line: int, customer: admin.Customer) -> tuple[BrokenLine, ...]:
        """What the server says of a customer's plan and card: asked once for all that have the same."""
        policies = customer.plan, customer.rate_card
        if policies not in self._refused:
            asked = admin.CreateCustomerRequest(
                request_id=_REHEARSAL,
                customer=admin.Customer(
                    customer_id=customer.customer_id, plan=customer.plan, rate_card=customer.rate_card
                ),
                validate_only=True,
            )
            try:
                await call(self._ledger.admin.CreateCustomer, asked)
                self._refused[policies] = None
            except _ENDS_ALL:
                raise
            except CreditsError as refused:
                self._refused[policies] = refused
        refusal = self._refused[policies]
        return self._problems(line, refusal) if refusal is not None else ()

    def _requests(self, *, is_rehearsal: bool) -> Iterator[tuple[int, Any]]:
        """The rows that can be asked for, with their lines; of the others it is noted what is wrong."""
        now = datetime.now(UTC)
        for row in self._rows:
            self.tally.rows += 1
            self._progress()
            found = row if isinstance(row, BrokenLine) else self._read(row, now, is_rehearsal=is_rehearsal)
            if isinstance(found, BrokenLine):
                self.tally.add_wrong([found])
            elif isinstance(found, list):
                self.tally.add_wrong(found)
            else:
                yield row.line, found

    def _read(self, row: TextRow, now: datetime, *, is_rehearsal: bool) -> Any:
        found = self._kind.read(row, now, is_rehearsal=is_rehearsal)
        if isinstance(found, list):
            return found
        row_id = row.values[self._kind.row_id]
        first = self._lines_of_ids.setdefault(row_id, row.line)
        if first != row.line:
            return BrokenLine(row.line, self._kind.row_id, f"is that of line {first} too")
        return found

    async def _import_from(self, rows: _Ahead) -> None:
        """Imports rows, a call after the other, while there are some and nothing ends all."""
        while not self.tally.stopped and (taken := rows.take()):
            try:
                await self._import(taken)
            except CreditsError as failed:
                self._stop(str(failed))

    async def _import(self, rows: dict[int, Any]) -> None:
        """Imports rows by their lines. What may succeed later, of a call or of a row, is asked for again.

        Raises CreditsError where that says nothing of the rows: the next ones would fail alike.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        left = dict(rows)

        async def attempt() -> None:
            results = await self._ask(left)
            again = None
            for (line, request), result in zip([*left.items()], results, strict=True):
                failed = self._note(line, request, result)
                if failed is None:
                    del left[line]
                again = again or failed
            if again is not None:
                raise again

        await with_retries(attempt, deadline, lambda: not self.tally.stopped)

    async def _ask(self, rows: dict[int, Any]) -> Sequence[admin.ImportResult]:
        items = [_item(request) for request in rows.values()]
        try:
            answer = await self._ledger.admin.Import(
                admin.ImportRequest(items=items), timeout=CALL_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from None
        return answer.results

    def _note(self, line: int, request: Any, result: admin.ImportResult) -> CreditsError | None:
        """Takes note of what became of a row; returns why it is to be asked for again."""
        if not result.HasField("error"):
            before = result.create_customer.replayed or result.issue_grant.replayed
            self.tally.add_right(request, before=before)
            return None
        refused = error_of_status(result.error)
        if isinstance(refused, _ENDS_ALL):
            return refused
        self.tally.add_wrong(self._problems(line, refused))
        return None

    def _stop(self, why: str) -> None:
        """Begins no further call; the first reason stands."""
        self.tally.stopped = self.tally.stopped or why

    def _problems(self, line: int, refused: CreditsError) -> tuple[BrokenLine, ...]:
        if isinstance(refused, RequestIdReused):
            return (
                BrokenLine(line, self._kind.row_id, "was imported before, with other values: those stand"),
            )
        if refused.fields:
            column = self._kind.column
            return tuple(BrokenLine(line, column(wrong.field), wrong.description) for wrong in refused.fields)
        return (BrokenLine(line, _COLUMNS.get(refused.reason, ""), str(refused)),)

    async def _customer_ids(self) -> set[str]:
        found: set[str] = set()
        request = admin.ListCustomersRequest(page_size=1000)
        while True:
            page = await call(self._ledger.admin.ListCustomers, request)
            found |= {customer.customer_id for customer in page.customers}
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found


def _item(request: Any) -> admin.ImportItem:
    if isinstance(request, admin.CreateCustomerRequest):
        return admin.ImportItem(create_customer=request)
    return admin.ImportItem(issue_grant=request)


class _Ahead:
    """Rows as calls take them: so many, or so many bytes of them, by their lines."""

    def __init__(self, rows: Iterator[tuple[int, Any]]) -> None:
        self._rows = rows
        self._next: tuple[int, Any] | None = None
        """Read, and too large for the call before."""

    def take(self) -> dict[int, Any]:
        """Those of the next call; none: there are no more."""
        taken: dict[int, Any] = {}
        room = BYTES_OF_CALL_MAX
        while len(taken) < ROWS_OF_CALL_MAX:
            row = self._next or next(self._rows, None)
            self._next = None
            if row is None:
                break
            line, request = row
            room -= request.ByteSize()
            if taken and room < 0:
                self._next = row
                break
            taken[line] = request
        return taken
