"""The books watch themselves: each customer's are verified again after a change, and all of them in turn.

What was tampered with does not go through the journal, so only the turn of all finds it: it goes on for ever.
A customer whose books do not verify takes no more writes, on every server and after a restart, until they
verify again; nobody else notices. Of several servers one is at it at a time; each shows how it stands.

A finding is as good as a snapshot of the database: what is verified is one committed state of the customer.
It is made twice, in two snapshots, before anybody is stopped for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from itertools import islice
from math import inf
from secrets import token_hex
from typing import Final

import structlog

from ledger.clock import boot_seconds
from ledger.metrics.operations import BooksFigures, OperationsMetrics
from ledger.store.finance import findings as store
from ledger.store.finance.invariants import OF_BOOKS, OF_ROLLUPS, Invariant
from ledger.store.finance.verify import Break, Verified, verify_customers
from ledger.store.postgres.database import Database

PERIOD_SECONDS: Final = 1.0
SHARE: Final = 0.02
"""Of the time of one processor of the database: after each slice there is a pause of 49 times its length."""
SLICE_CUSTOMERS_MAX: Final = 50
SLICE_ENTRIES_MAX: Final = 5_000
"""Of one slice, but for a customer that has more: some tens of milliseconds."""
CHANGES_MAX: Final = 5_000
"""Entries that are looked through at a time for who has changed."""
CHANGE_AGE_MAX: Final = timedelta(minutes=10)
"""Who changed longer ago, and is not verified, is left to the turn of all: there are too many changes."""
LEASE: Final = timedelta(seconds=30)
"""Beyond the slice and the pause: then another server may take over. A customer may take longer than that."""

REPORT_SECONDS: Final = 10.0
"""Between two lines of the log about how far a verification is that keeps a server from its start."""

_INVARIANTS: Final = {store.BOOKS: OF_BOOKS, store.ROLLUPS: OF_ROLLUPS}

_log = structlog.get_logger(__name__)


class Watch:
    """One per process; its cells one after the other."""

    def __init__(
        self,
        database: Database,
        cells: Sequence[str],
        metrics: OperationsMetrics,
        *,
        slice_customers_max: int = SLICE_CUSTOMERS_MAX,
        report_seconds: float = REPORT_SECONDS,
        lease: timedelta = LEASE,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._cells = [
            _CellWatch(database, cell, slice_customers_max, report_seconds, lease) for cell in cells
        ]

    async def run(self) -> None:
        """Verifies and shows until cancelled; while the database is away the age of what is shown tells."""
        reported, rests_until = "", 0.0
        while True:
            began = boot_seconds()
            try:
                if began >= rests_until:
                    rests_until = boot_seconds() + await self.step()
                await self.show()
                reported = ""
            except Exception as error:  # noqa: BLE001 -- no slice that fails may end the watch
                if reported != repr(error):
                    _log.warning("books.not_verified", error=repr(error))
                reported = repr(error)
                rests_until = max(rests_until, boot_seconds() + _rest_seconds(boot_seconds() - began))
            await asyncio.sleep(PERIOD_SECONDS)

    async def step(self) -> float:
        """Verifies one slice of each cell whose turn this process has; says how many seconds to rest."""
        return sum([await cell.step() for cell in self._cells])

    async def verify_all(self) -> int:
        """Verifies all customers now, without a pause, whosever turn it is; says how many findings stand.

        Who does not verify is stopped, who verifies again is not. What belongs to no one customer is
        `verify_journal`'s.
        """
        for cell in self._cells:
            await cell.verify_all()
        return (await self.show()).standing

    async def show(self) -> BooksFigures:
        """Reads how the verification of all cells stands, and shows it as metrics."""
        cells = [await store.figures(self._database.finance, cell.name) for cell in self._cells]
        figures = BooksFigures(
            standing=sum(each.standing for each in cells),
            stopped=sum(each.stopped for each in cells),
            verified=sum(each.verified for each in cells),
            customers=sum(each.customers for each in cells),
            age_seconds=max((each.clock - each.verified_since).total_seconds() for each in cells),
        )
        self._metrics.books.show(figures)
        return figures


class _CellWatch:
    """One cell: what stands is looked at again, what has changed, and all customers in turn.

    Each of the three has its share of the time, so that none waits for ever for another.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        slice_customers_max: int,
        report_seconds: float,
        lease: timedelta,
    ) -> None:
        self.name = name
        self._database = database
        self._slice_customers_max = slice_customers_max
        self._report_seconds = report_seconds
        self._lease = lease
        self._holder = token_hex(8)
        self._cursor: int | None = None
        """Changes are looked for from this transaction on; None: from the present one."""
        self._changed: dict[int, None] = {}
        """Customers to verify, in order."""
        self._looked_again = -1
        """Customers up to this number: whether their findings still stand."""
        self._passed = self._verified = 0
        self._spent: dict[Callable[[], Awaitable[bool]], float] = dict.fromkeys(
            (self._look_again, self._verify_changed, self._verify_next), 0.0
        )
        self._slice_seconds = 0.0
        database.history.at_a_turn(lambda _: self._forget())

    def _forget(self) -> None:
        """Transactions of another history have other numbers."""
        self._cursor = None
        self._changed.clear()

    async def step(self) -> float:
        """Verifies a slice, if this process has the turn; says how many seconds to rest after it."""
        passed = await store.take_turn(self._database.writer, self.name, self._holder, self._lease)
        if passed is None:
            self._forget()
            return 0.0
        self._passed, self._verified = passed, 0
        self._slice_seconds = 0.0
        renewing = asyncio.create_task(self._keep_turn(), name=f"turn of {self.name}")
        try:
            await self._verify_a_slice()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            rest_seconds = _rest_seconds(self._slice_seconds)
            lease = self._lease + timedelta(seconds=rest_seconds)
            await store.pass_on(
                self._database.writer, self.name, self._holder, self._passed, self._verified, lease
            )
        return rest_seconds

    async def _keep_turn(self) -> None:
        """Until cancelled: else all servers would be at the same long slice, one after the other."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            await store.take_turn(self._database.writer, self.name, self._holder, self._lease)

    async def _verify_a_slice(self) -> None:
        """Does some of the work that has had the least time, of what there is to do."""
        idle: list[Callable[[], Awaitable[bool]]] = []
        for work in sorted(self._spent, key=self._spent.__getitem__):
            began = boot_seconds()
            try:
                had_work = await work()
            except BaseException:
                # What fails each time is not to be tried before all else each time.
                self._spend(work, boot_seconds() - began, idle)
                raise
            if had_work:
                self._spend(work, self._slice_seconds, idle)
                return
            idle.append(work)

    def _spend(
        self,
        work: Callable[[], Awaitable[bool]],
        seconds: float,
        idle: Iterable[Callable[[], Awaitable[bool]]],
    ) -> None:
        """Who had nothing to do has no claim to the time that it did not need."""
        self._spent[work] += seconds
        self._spent |= {each: max(self._spent[each], self._spent[work]) for each in idle}

    async def verify_all(self) -> None:
        """Verifies all customers, and tells how far that is: nobody is served meanwhile."""
        passed, verified, reported_at = -1, 0, -inf
        there = await store.count_customers(self._database.finance, self.name)
        while customers := await self._next(passed):
            if boot_seconds() >= reported_at + self._report_seconds:
                reported_at = boot_seconds()
                _log.info("books.verifying", cell=self.name, verified=verified, customers=there)
            await self._examine(customers)
            passed, verified = customers[-1], verified + len(customers)

    async def _look_again(self) -> bool:
        """Whether findings still stand, of some customers; False: there are none."""
        pool = self._database.finance
        found = await store.found_customers(pool, self.name, self._looked_again, self._slice_customers_max)
        customers = _slice(found)
        if customers:
            self._looked_again = customers[-1]
            await self._examine(customers)
        elif self._looked_again >= 0:
            self._looked_again = -1
            return await self._look_again()
        return bool(customers)

    async def _verify_changed(self) -> bool:
        """Some customers whose books have changed; False: there are none."""
        if not self._changed:
            await self._look_for_changes()
        head = list(islice(self._changed, self._slice_customers_max))
        if not head:
            return False
        customers = _slice(await store.sizes(self._database.finance, self.name, head))
        await self._examine(customers, (store.BOOKS,))
        for customer in customers:
            self._changed.pop(customer, None)
        return True

    async def _look_for_changes(self) -> None:
        pool = self._database.finance
        rows = await store.changed(pool, self.name, self._cursor, CHANGES_MAX) if self._cursor else []
        if self._cursor is None or (rows and rows[0].age > CHANGE_AGE_MAX):
            self._cursor = await store.horizon(pool)
            return
        if not rows:
            return
        self._changed = dict.fromkeys(row.customer for row in rows)
        first, last = rows[0].xid, rows[-1].xid
        # There may be more of the last transaction than were looked for.
        is_cut = len(rows) == CHANGES_MAX and first < last
        self._cursor = last if is_cut else last + 1

    async def _verify_next(self) -> bool:
        """The next customers in turn; False: the round is over, and the next one begins."""
        customers = await self._next(self._passed)
        if customers:
            await self._examine(customers)
            self._passed, self._verified = customers[-1], len(customers)
        else:
            await store.begin_round(self._database.writer, self.name, self._holder)
            self._passed = -1
        return bool(customers)

    async def _next(self, passed: int) -> list[int]:
        pool = self._database.finance
        return _slice(await store.next_customers(pool, self.name, passed, self._slice_customers_max))

    async def _examine(self, customers: Sequence[int], parts: Iterable[str] = tuple(_INVARIANTS)) -> None:
        """Verifies customers; who does not verify twice is stopped, who verifies again is not."""
        for part in parts:
            turns = self._database.history.turns
            known = await store.standing(self._database.finance, self.name, customers, part)
            verified = await self._verify(customers, _INVARIANTS[part])
            again = await self._verify([*verified.breaks], _INVARIANTS[part]) if verified.breaks else verified
            if self._database.history.turns != turns:
                return  # It may have been read of two histories.
            for customer, breaks in again.breaks.items():
                await self._find(customer, part, breaks)
            for customer in known.keys() - verified.breaks.keys():
                if await store.end(self._database.writer, self.name, known[customer], verified.as_of):
                    _log.warning("books.verify_again", customer=customer, finding_id=known[customer])

    async def _verify(self, customers: Sequence[int], invariants: tuple[Invariant, ...]) -> Verified:
        started = boot_seconds()
        try:
            return await verify_customers(self._database.finance, self.name, customers, invariants)
        finally:
            self._slice_seconds += boot_seconds() - started

    async def _find(self, customer: int, part: str, breaks: Sequence[Break]) -> None:
        """Writes a finding down, and says so: not what it says, which may be dollars."""
        finding = token_hex(8)
        if await store.find(self._database.writer, self.name, finding, customer, part, breaks):
            _log.error(
                "books.do_not_verify",
                cell=self.name,
                customer=customer,
                finding_id=finding,
                part=part,
                invariants=sorted({each.invariant for each in breaks}),
            )


def _rest_seconds(seconds: float) -> float:
    """How long to rest after so much work."""
    return seconds * (1 / SHARE - 1)


def _slice(sized: Sequence[store.Sized]) -> list[int]:
    """The first customers, as many as are verified at once; one at least."""
    customers: list[int] = []
    entries = 0
    for each in sized:
        entries += max(1, each.entries)
        if customers and entries > SLICE_ENTRIES_MAX:
            break
        customers.append(each.customer)
    return customers
