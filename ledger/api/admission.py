"""Which calls come in: as many as the process bears, and as many as the key that makes them may ask for.

The items of a batch are judged by the engine, each by its own urgency; here the batch as one call of its key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.access import caller
from ledger.access.allowances import Allowance, Allowances, KeyLimitError
from ledger.api import limits
from ledger.api.writes import ISSUE_GRANT, OF_BATCH
from ledger.engine.outcomes import Overloaded
from ledger.engine.waiting import Urgency, Waiting, urgency_of
from ledger.metrics.operations import OperationsMetrics

_HEALTH: Final = "grpc.health.v1.Health/"
_BATCH: Final = "ledger.v1.CreditService/Batch"

_OF_ITEM: Final = {name: urgency_of(write.command) for name, write in OF_BATCH.items()}
_OF_METHOD: Final = {
    "Quote": Urgency.NEW_WORK,
    **{write.name: urgency_of(write.command) for write in (*OF_BATCH.values(), ISSUE_GRANT)},
}
"""Of the methods that are not refused like reads."""

_LATEST: Final = (Urgency.DONE_WORK, Urgency.ANY_TIME, Urgency.NEW_WORK)

Enter = Callable[[Any], Allowance | None]
"""Admits a request; what it returns is to be left when the request has its answer.

Raises Overloaded or KeyLimitError.
"""


class Admission:
    """Judges the unary calls of one process."""

    def __init__(
        self, waiting: Waiting, metrics: OperationsMetrics, allowances: Allowances | None = None
    ) -> None:
        """`allowances`: None where keys have no limits."""
        self._waiting = waiting
        self.calls: Final = metrics.calls
        self._refused = metrics.refused
        self._allowances = allowances

    def of(self, method: str) -> Enter:
        """What admits the calls of a method."""
        if method.startswith(_HEALTH):
            return self._health
        if method == _BATCH:
            return self._batch
        urgency = _OF_METHOD.get(method.rpartition("/")[2], Urgency.ANY_TIME)

        def enter(_: Any) -> Allowance | None:
            self._bear_one_more(urgency)
            refusal = self._waiting.refusal(urgency)
            if refusal is not None:
                raise refusal
            return self._of_key(urgency, 1) if self._allowances is not None else None

        return enter

    def _health(self, _: Any) -> None:
        """Whether a process serves is asked most where it is overloaded."""
        self._bear_one_more(Urgency.DONE_WORK)

    def _batch(self, request: Any) -> Allowance | None:
        """As many calls as it has items, and as urgent as the most urgent of them."""
        self._bear_one_more(Urgency.DONE_WORK)
        if self._allowances is None:
            return None
        items = {_OF_ITEM.get(item.WhichOneof("write")) for item in request.items}
        urgency = next((each for each in _LATEST if each in items), Urgency.NEW_WORK)
        return self._of_key(urgency, max(1, len(request.items)))

    def _bear_one_more(self, urgency: Urgency) -> None:
        if self.calls.in_flight > limits.CALLS_MAX:
            self._refused.note("calls", urgency.value)
            raise Overloaded("calls", limits.CALLS_MAX)

    def _of_key(self, urgency: Urgency, calls: int) -> Allowance | None:
        counted_as = caller.current().counted_as
        if self._allowances is None or not counted_as:
            return None
        try:
            return self._allowances.enter(counted_as, urgency, calls)
        except KeyLimitError as error:
            self._refused.note(error.limit, urgency.value, counted_as)
            raise
