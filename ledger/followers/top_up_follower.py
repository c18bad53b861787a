"""The top-up follower: takes each customer that needs a top-up from step to step.

Every replica runs one. A step is a transaction that holds the row of the customer's need, so that one of them
takes it; what has to be done in the books between two steps has a request id of its own, so that it is done
once whoever dies. Nothing here knows who collects payments: that listens to events, and confirms the grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from ledger.books.commands import IssueGrant, VoidGrant
from ledger.books.model.lots import GrantKind, LotKey
from ledger.books.model.refusals import Refusal
from ledger.books.top_up_rules import TopUpRules
from ledger.books.top_ups import (
    Announce,
    Fail,
    Recovered,
    ReportCap,
    StateGrant,
    Step,
    Succeed,
    TakeBack,
    TopUp,
    Wait,
)
from ledger.errors import NotNowError
from ledger.events.derive import PublicIds, of_top_up
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.rounds import rounds
from ledger.store.audit import Act
from ledger.store.events.top_up_needs import DUE_MAX, due_needs
from ledger.store.events.top_ups import TopUpSteps

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.store.postgres.database import Database

STEPS_MAX: Final = 8
"""Of one customer, before others have their turn: a request that fails and is made again takes as many."""
BY_PLAN: Final = "topup"
"""Who has stated or taken back the grant of a top-up, as audits name it: the customer's plan."""

CarryOut: TypeAlias = Callable[[str, IssueGrant | VoidGrant, Act], Awaitable[object]]
"""Has the books carry out a command of a customer; what comes back may be a Refusal."""


class OverridesUnreadableError(NotNowError):
    """What a customer has its own of is not known to this version: a newer server is to go on."""


_log = structlog.get_logger(__name__)


class TopUpFollower:
    """One per process; its cells one after the other."""

    def __init__(
        self,
        database: Database,
        cells: Sequence[str],
        prices: PriceBook,
        ids: PublicIds,
        clock: Callable[[], datetime],
        carry_out: CarryOut,
        metrics: OperationsMetrics,
        look_seconds: float,
    ) -> None:
        self._writer = database.writer
        self._prices = prices
        self._clock = clock
        self._look_seconds = look_seconds
        self._carry_out = carry_out
        self._metrics = metrics
        report = partial(of_top_up, ids=ids)
        self._steps = {cell: TopUpSteps(database.writer, cell, self._rules_of, report) for cell in cells}

    def _rules_of(self, plan: str, overrides: str | None) -> TopUpRules | None:
        found = self._prices.plan_for(plan, overrides, self._clock())
        if found is not None and found.unreadable:
            raise OverridesUnreadableError(found.unreadable)
        return found.top_up if found is not None else None

    async def run(self) -> None:
        """Look until cancelled; while the database is away nothing is requested."""
        await rounds(self.look, self._look_seconds, "top_ups.not_looked_at")

    async def look(self) -> bool:
        """Takes the customers that are due as far as they go; True if a cell may have more of them."""
        most = 0
        for cell, steps in self._steps.items():
            due = await due_needs(self._writer, cell)
            most = max(most, len(due))
            for customer in due:
                try:
                    await self._go_on(steps, customer)
                except Exception as error:  # noqa: BLE001 -- one customer keeps nobody else waiting
                    _report(customer, error)
                    # Else those that fail would be the first ones due for ever, and others never would be.
                    await steps.put_off(customer)
        return most >= DUE_MAX

    async def _go_on(self, steps: TopUpSteps, customer: int) -> None:
        """Takes a customer from step to step, up to one that waits."""
        is_refused = False
        for _ in range(STEPS_MAX):
            looked = await steps.take(customer, is_refused=is_refused)
            if looked is None:
                return
            result = _result(looked.step)
            if result is not None:
                self._metrics.top_up(result)
            customer_id = looked.customer.customer_id
            match looked.step:
                case Wait() | Recovered():
                    return
                case StateGrant(top_up):
                    act = Act("", BY_PLAN, "IssueGrant")
                    is_refused = isinstance(
                        await self._carry_out(customer_id, _statement(top_up), act), Refusal
                    )
                case TakeBack(top_up):
                    # Refused where it has been paid or given up meanwhile, which the next step finds.
                    await self._carry_out(customer_id, _taking_back(top_up), Act("", BY_PLAN, "VoidGrant"))


def _result(step: Step) -> str | None:
    """What a step has made of a top-up, as metrics name it; None: nothing that is counted."""
    match step:
        case Announce():
            return "requested"
        case Succeed():
            return "paid"
        case Fail():
            return "given_up" if step.next_attempt_at is None else "failed"
        case ReportCap():
            return "capped"
        case _:
            return None


def _report(customer: int, error: Exception) -> None:
    if isinstance(error, NotNowError):
        _log.info("top_ups.later", customer=customer, error=repr(error))
    else:
        _log.warning("top_ups.not_taken", customer=customer, exc_info=error)


def _statement(top_up: TopUp) -> IssueGrant:
    """The grant of a top-up, pending payment."""
    return IssueGrant(
        request_id=top_up.request_id,
        fingerprint=_fingerprint(top_up.request_id),
        amount_micros=top_up.amount_micros,
        kind=GrantKind.PAID,
        paid_total_nanousd=top_up.price_nanousd,
        expires_at=top_up.expires_at,
        pending_payment=True,
        external_reference=f"topup-{top_up.number}",
    )


def _taking_back(top_up: TopUp) -> VoidGrant:
    """What takes back the grant of a top-up that nobody has answered."""
    if top_up.grant_sequence is None:
        raise AssertionError("a top-up that is waited for has its grant")
    request_id = f"{top_up.request_id}_time_out"
    return VoidGrant(
        request_id=request_id,
        fingerprint=_fingerprint(request_id),
        lot=LotKey(top_up.grant_sequence, 0),
        reason="the payment of the top-up was neither confirmed nor given up in time",
        only_pending_payment=True,
    )


def _fingerprint(request_id: str) -> bytes:
    """The id is drawn for this one command: it tells it from any other."""
    return blake2b(request_id.encode(), digest_size=16).digest()
