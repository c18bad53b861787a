"""Top-ups as they are stored: who needs one, what was requested, and the events that report it.

Each step of a customer is one transaction, which holds the row of the customer's need: of several processes
one looks at a customer at a time, and an event is written with the change that it reports. What is to be done
in the books comes between two steps, under a request id of the top-up's own: done twice it is done once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.books.model.lots import LotStatus
from ledger.books.top_ups import (
    IN_HAND,
    LOOKED_BACK,
    Announce,
    Fail,
    Payment,
    Recovered,
    ReportCap,
    RequestTopUp,
    StateGrant,
    Step,
    Succeed,
    TakeBack,
    TopUp,
    TopUpCustomer,
    TopUpFailure,
    TopUpStanding,
    TopUpState,
    Wait,
    next_step,
)
from ledger.store.audit import CUSTOMERS, instant, note
from ledger.store.events.outbox import write_events
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import TypeAlias

    import asyncpg

    from ledger.books.top_up_rules import TopUpRules
    from ledger.events.derive import Event
    from ledger.store.audit import Act
    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import Pool, PooledConnection

PUT_OFF: Final = timedelta(seconds=30)
"""After a step that failed: what a fault of one customer takes of the followers' time stays small."""
_SQL: Final = statements_of(__name__)


class Looked(NamedTuple):
    """A step that was taken, and for whom."""

    customer: TopUpCustomer
    step: Step


class TopUpNeed(NamedTuple):
    """A customer that needs a top-up, or has one on its way."""

    failed_attempts: int
    """One after the other."""
    not_before: datetime | None
    """The next attempt after one that failed."""


if TYPE_CHECKING:
    Report: TypeAlias = Callable[[TopUpCustomer, TopUp, Step, datetime], Event]
    """What of a step is an event."""


class TopUpSteps:
    """The steps of the customers of one cell."""

    def __init__(
        self,
        pool: Pool,
        cell: str,
        rules_of: Callable[[str, str | None], TopUpRules | None],
        report: Report,
    ) -> None:
        """`rules_of`: what a plan says, with the customer's own fields of it. The pool is the writer's."""
        self._pool = pool
        self._cell = cell
        self._rules_of = rules_of
        self._report = report
        self._sql = {name: text.format(cell=cell) for name, text in _SQL.items()}

    async def take(self, customer: int, *, is_refused: bool = False) -> Looked | None:
        """Decides a customer's next step, and writes it; None: nothing is needed, or another is at it.

        `is_refused`: the books have just refused its grant.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            need = await connection.fetchrow(self._sql["lock"], customer)
            if need is None:
                return None
            wallet = await connection.fetchrow(self._sql["wallet"], customer)
            if wallet is None:
                raise AssertionError("whoever needs a top-up has a wallet")
            now = wallet["clock"]
            recent = await connection.fetch(self._sql["recent"], customer, LOOKED_BACK)
            top_ups = [_top_up(row) for row in recent]
            payment, sequence = Payment.NOT_STATED, None
            if top_ups and top_ups[0].state is TopUpState.REQUESTED:
                payment, sequence = await self._payment(connection, customer, top_ups[0].request_id)
                if is_refused and payment is Payment.NOT_STATED:
                    payment = Payment.REFUSED
            step = next_step(
                TopUpStanding(
                    rules=self._rules_of(wallet["plan"], wallet["plan_overrides"]),
                    left_micros=wallet["remaining"],
                    debt_micros=wallet["debt"],
                    zone=wallet["zone"],
                    failed_attempts=need["failed_attempts"],
                    not_before=need["not_before"],
                    top_ups=top_ups,
                    payment=payment,
                ),
                now,
            )
            own = TopUpCustomer(customer, wallet["customer_id"])
            writing = _Writing(connection, self._sql, customer, now)
            reported = await writing.write(step, sequence, need["failed_attempts"])
            if reported is not None:
                await write_events(connection, [self._report(own, reported, step, now)])
        return Looked(own, step)

    async def put_off(self, customer: int) -> None:
        """Has nobody look at a customer for a while: its step has failed."""
        await self._pool.execute(self._sql["put_off"], customer, PUT_OFF)

    async def _payment(
        self, connection: PooledConnection, customer: int, request_id: str
    ) -> tuple[Payment, int | None]:
        """How the grant of a top-up stands in the books, and which it is."""
        grant = await connection.fetchrow(self._sql["payment"], customer, request_id)
        if grant is None:
            return Payment.NOT_STATED, None
        if grant["is_paid"]:
            return Payment.PAID, grant["sequence"]
        is_pending = grant["status"] == LotStatus.PENDING_PAYMENT
        return Payment.PENDING if is_pending else Payment.GIVEN_UP, grant["sequence"]


class _Writing:
    """What one step of a customer changes, in its transaction."""

    def __init__(
        self, connection: PooledConnection, sql: Mapping[str, str], customer: int, now: datetime
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._customer = customer
        self._now = now

    async def write(self, step: Step, grant_sequence: int | None, failed_attempts: int) -> TopUp | None:
        """Writes it; the top-up that the step reports on, as it then stands."""
        match step:
            case Announce(top_up):
                await self._execute("announced", top_up.number, grant_sequence)
                await self._look_at(self._now)
                return top_up._replace(grant_sequence=grant_sequence)
            case Succeed(top_up):
                await self._execute("ended", top_up.number, TopUpState.SUCCEEDED, None)
                await self._execute("attempts", 0, None)
                return top_up
            case Fail(top_up):
                await self._execute("ended", top_up.number, TopUpState.FAILED, step.failure)
                await self._execute("attempts", failed_attempts + 1, step.next_attempt_at)
                return top_up
            case ReportCap(request):
                await self._look_at(self._now)
                return await self._enter(request, TopUpState.FAILED, TopUpFailure.MONTHLY_CAP)
        await self._write_unreported(step)
        return None

    async def _write_unreported(self, step: Step) -> None:
        match step:
            case RequestTopUp():
                await self._enter(step, TopUpState.REQUESTED, None)
                await self._look_at(self._now)
            case StateGrant():
                await self._look_at(self._now + IN_HAND)
            case TakeBack(top_up):
                await self._execute("giving_up", top_up.number, TopUpFailure.TIMED_OUT)
                await self._look_at(self._now + IN_HAND)
            case Wait(until):
                await self._look_at(until)
            case Recovered():
                await self._execute("recovered")

    async def _look_at(self, instant: datetime) -> None:
        await self._execute("look_at", instant)

    async def _execute(self, name: str, *values: object) -> None:
        await self._connection.execute(self._sql[name], self._customer, *values)

    async def _enter(self, request: RequestTopUp, state: TopUpState, failure: TopUpFailure | None) -> TopUp:
        values = (self._customer, state, failure, *request)
        row = await self._connection.fetchrow(self._sql["enter"], *values)
        if row is None:
            raise AssertionError("a row that is written is returned")
        return _top_up(row)


async def list_top_ups(
    pool: Pool, key: CustomerKey, before: int, limit: int
) -> tuple[list[TopUp], TopUpNeed | None]:
    """A customer's top-ups with a number below `before`, the newest first, and whether it needs one now."""
    rows = await pool.fetch(_SQL["listed"].format(cell=key.cell), key.customer, before, limit)
    need = await pool.fetchrow(_SQL["need"].format(cell=key.cell), key.customer)
    return [_top_up(row) for row in rows], TopUpNeed(**need) if need is not None else None


async def retry_top_up(pool: Pool, key: CustomerKey, customer_id: str, act: Act) -> bool:
    """Lets a customer's next attempt begin at once, as the first one; False: it needs none."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchrow(_SQL["lock_need"].format(cell=key.cell), key.customer)
        if found is None:
            return False
        before, after = (
            {"failed_attempts": need.failed_attempts, "not_before": instant(need.not_before)}
            for need in (TopUpNeed(**found), TopUpNeed(0, None))
        )
        await connection.execute(_SQL["attempts"].format(cell=key.cell), key.customer, 0, None)
        if before != after:
            await note(connection, act, CUSTOMERS + customer_id, before, after)
    return True


def _top_up(row: asyncpg.Record) -> TopUp:
    fields = dict(row)
    fields["state"] = TopUpState(fields["state"])
    fields["failure"] = TopUpFailure(fields["failure"]) if fields["failure"] is not None else None
    return TopUp(**fields)
