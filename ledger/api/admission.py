"""Which calls come in: as many as the process bears, and as many as the key that makes them may ask for.

A batch is judged when its header fields have come, so that what cannot be taken is not read: where holds are
refused some are read all the same, for they may be commits. Then it is judged as one call of its key, and as
urgent as the most urgent of its items. The engine judges these, each by its own urgency.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.access import caller
from ledger.access.allowances import Allowances, KeyLimitError
from ledger.api.looks import Looks
from ledger.api.messages import limits
from ledger.api.reads_in_flight import Place, ReadsInFlight
from ledger.api.writes import OF_BATCH, OF_GRANTS
from ledger.engine.command import OverloadedError
from ledger.engine.limits import Urgency
from ledger.engine.waiting import AGE, Waiting, urgency_of
from ledger.metrics.operations import OperationsMetrics

_HEALTH: Final = "grpc.health.v1.Health/"
_BATCH: Final = "ledger.v1.CreditService/Batch"
_IMPORT: Final = "ledger.admin.v1.AdminService/Import"

_OF_ITEM: Final = {name: urgency_of(write.command) for name, write in OF_BATCH.items()}
_OF_METHOD: Final = {
    "Check": Urgency.NEW_WORK,
    "Quote": Urgency.NEW_WORK,
    **{write.name: urgency_of(write.command) for write in (*OF_BATCH.values(), *OF_GRANTS)},
}
"""Of the methods that are not refused like reads."""

_WRITES: Final = frozenset(write.name for write in (*OF_BATCH.values(), *OF_GRANTS))
"""Methods whose calls join the line of commands."""

_LATEST: Final = (Urgency.DONE_WORK, Urgency.ANY_TIME, Urgency.NEW_WORK)


Enter = Callable[[Any], Place | None]
"""Admits a request; what it returns is to be left when the request has its answer.

Raises OverloadedError or KeyLimitError.
"""

AtDoor = Callable[[], OverloadedError | None]
"""Why the message of a call is not to be read, if so."""


class Admission:
    """Judges the unary calls of one process."""

    def __init__(
        self,
        waiting: Waiting,
        metrics: OperationsMetrics,
        allowances: Allowances | None = None,
        calls: limits.CallLimits = limits.CALLS,
    ) -> None:
        """`allowances`: None where keys have no limits."""
        self._limits = calls
        self._waiting = waiting
        self.calls: Final = metrics.calls
        self._refused = metrics.refused
        self._allowances = allowances
        self._reads = ReadsInFlight()
        self._looks = Looks(calls.items_read_in_vain_per_second, calls.items_read_in_vain_seconds)

    def of(self, method: str) -> Enter:
        """What admits the calls of a method."""
        if method.startswith(_HEALTH):
            return self._health
        if method == _BATCH:
            return self._batch
        if method == _IMPORT:
            return self._read(Urgency.ANY_TIME, _items_imported)
        name = method.rpartition("/")[2]
        urgency = _OF_METHOD.get(name, Urgency.ANY_TIME)
        if name not in _WRITES:
            return self._read(urgency, lambda _: 1)

        def enter(_: Any) -> Place | None:
            self._bear_one_more(urgency)
            refusal = self._waiting.refusal(urgency)
            if refusal is not None:
                raise refusal
            return self._of_key(urgency, 1) if self._allowances is not None else None

        return enter

    def _read(self, urgency: Urgency, calls: Callable[[Any], int]) -> Enter:
        """A call that joins no line of commands: they have one of their own.

        `calls`: as how many of its key it counts.
        """

        def enter(request: Any) -> Place:
            self._bear_one_more(urgency)
            refusal = self._waiting.refusal(urgency) or self._refusal_of_read(urgency)
            if refusal is not None:
                raise refusal
            allowance = self._of_key(urgency, calls(request)) if self._allowances is not None else None
            return self._reads.enter(allowance)

        return enter

    def _refusal_of_read(self, urgency: Urgency) -> OverloadedError | None:
        reads, allowed = self._reads, self._limits
        if reads.in_flight >= allowed.reads:
            refusal = OverloadedError("reads", allowed.reads)
        elif reads.in_flight >= allowed.reads_at_ease and reads.oldest_seconds() > allowed.read_seconds:
            refusal = OverloadedError(AGE, allowed.read_seconds)
        else:
            return None
        self._refused.note(refusal.limit, urgency.value)
        return refusal

    def _health(self, _: Any) -> None:
        """Whether a process serves is asked most where it is overloaded."""
        self._bear_one_more(Urgency.DONE_WORK)

    def at_door(self, method: str) -> AtDoor | None:
        """What judges the calls of a method before their message; None: it is small, and read in any case."""
        return {_BATCH: self._batch_at_door, _IMPORT: self._import_at_door}.get(method)

    def _import_at_door(self) -> OverloadedError | None:
        return self._waiting.refusal(Urgency.ANY_TIME)

    def _batch_at_door(self) -> OverloadedError | None:
        """Where holds are refused it may hold commits: it is read, unless many have been read in vain."""
        refusal = self._waiting.refusal(Urgency.DONE_WORK)
        if refusal is not None or self._waiting.bears_new_work() or self._looks.may_look():
            return refusal
        return self._waiting.refusal(Urgency.NEW_WORK)

    def _batch(self, request: Any) -> Place | None:
        """As many calls as it has items; one where it has too many, of which none is looked at or done."""
        self._bear_one_more(Urgency.DONE_WORK)
        if self._waiting.bears_new_work() and self._allowances is None:
            return None
        count = len(request.items)
        is_read = count <= limits.BATCH_ITEMS_MAX
        urgency = _latest(request) if is_read else Urgency.NEW_WORK
        refusal = self._waiting.refusal(urgency)
        if refusal is not None:
            self._looks.in_vain(count)
            raise refusal
        return self._of_key(urgency, max(1, count) if is_read else 1)

    def _bear_one_more(self, urgency: Urgency) -> None:
        if self.calls.in_flight > self._limits.calls:
            self._refused.note("calls", urgency.value)
            raise OverloadedError("calls", self._limits.calls)

    def _of_key(self, urgency: Urgency, calls: int) -> Place | None:
        counted_as = caller.current().counted_as
        if self._allowances is None or not counted_as:
            return None
        try:
            return self._allowances.enter(counted_as, urgency, calls)
        except KeyLimitError as error:
            self._refused.note(error.limit, urgency.value, counted_as)
            raise


def _latest(request: Any) -> Urgency:
    """Of the items of a batch, that which is refused last."""
    items = {_OF_ITEM.get(item.WhichOneof("write")) for item in request.items}
    return next((each for each in _LATEST if each in items), Urgency.NEW_WORK)


def _items_imported(request: Any) -> int:
    """As many calls as it has items; one where it has too many, of which none is done."""
    count = len(request.items)
    return max(1, count) if count <= limits.IMPORT_ITEMS_MAX else 1
