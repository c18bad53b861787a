"""Calls that hold many writes: each is carried out by itself, and answered in its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ledger.access.caller import Caller, current
from ledger.api.errors import status_of
from ledger.api.messages import limits
from ledger.api.messages.validation import InvalidArgumentError
from ledger.api.messages.write import Write
from ledger.api.writes import Method, Writes, committed
from ledger.engine.command import Asked, OverloadedError, Pending
from ledger.engine.engine import Engine
from ledger.engine.limits import Urgency
from ledger.engine.waiting import Announced
from ledger.store.audit import Act
from ledger.turns import Turns


class BatchedWrite(NamedTuple):
    """A write that a call may hold."""

    name: str
    """Of its fields in the item and in the result."""
    method: Method[Any, Any, Any]
    scope: str
    urgency: Urgency
    act_of: Callable[[Any], Act] | None = None
    """Of its request; None: it is no act of the back office."""


_Begun = tuple[Any, BatchedWrite, Write[Any], Pending | None]
"""The result of an item, its kind, the write, and what is to come of it (None: it is begun no more)."""


def require_items(items: Sequence[Any], most: int) -> None:
    """Raises InvalidArgumentError for a call without items, or with too many."""
    if not 1 <= len(items) <= most:
        raise InvalidArgumentError([("items", f"has {len(items)} items; 1 to {most} are allowed")])


class BatchCalls:
    """Those of one method."""

    def __init__(self, rpc: str, kinds: Mapping[str, BatchedWrite], writes: Writes, engine: Engine) -> None:
        """`rpc`: the method, as service/method; `kinds`: the writes of its items, by their names there."""
        self._rpc: Final = rpc
        self._kinds = kinds
        self._writes = writes
        self._waiting = engine.waiting
        self._gathering = engine.gathering
        self._beginning = asyncio.Semaphore(limits.BATCHES_BEGUN_AT_ONCE)

    async def carry_out(self, items: Iterator[tuple[Any, Any]], count: int) -> None:
        """Carries out so many items, each given with its result; those of one customer in their order."""
        turns = Turns()
        with self._waiting.announced(count) as announced:
            while announced.left:
                asked = self._writes.ask()
                async with self._beginning:
                    with self._gathering.more(), asked.beginning():
                        begun = await self._begin_some(items, announced, asked, turns)
                await asked.all_done()
                announced.answered()
                await self._answer_all(begun, turns)

    async def _begin_some(
        self, items: Iterator[tuple[Any, Any]], announced: Announced, asked: Asked, turns: Turns
    ) -> list[_Begun]:
        """Begins the next writes of a call, as many as may be under way at once, each with its result.

        One that is refused for overload costs next to nothing: most are, where there is much too much. What
        may be begun is judged once a turn: in the middle of one nothing else joins the line.
        """
        begun: list[_Begun] = []
        shed: dict[tuple[str, float], Status] = {}
        bearable: set[Urgency] = set()
        kinds: dict[str | None, BatchedWrite] = {}
        underway = counted = 0
        now, caller = self._writes.now(), current()
        asked.arrive()
        for item, result in items:
            work = 1
            counted += 1
            try:
                name = item.WhichOneof("write")
                kind = kinds.get(name) or kinds.setdefault(name, self._kind(item, name, caller))
                if kind.urgency not in bearable:
                    overloaded = announced.refusal(kind.urgency)
                    if overloaded is not None:
                        result.error.CopyFrom(self._once(shed, overloaded))
                        continue
                    bearable.add(kind.urgency)
                request = getattr(item, kind.name)
                write = kind.method.decode(request, now)
                act = kind.act_of(request) if kind.act_of is not None else None
                outcome = self._writes.begin(write, asked, caller, act)
                begun.append((result, kind, write, outcome))
                work = outcome.work if outcome is not None else 1
            except Exception as error:  # noqa: BLE001 -- one bad item fails alone
                result.error.CopyFrom(status_of(error, self._rpc))
            underway += work
            turns.left -= work
            if turns.left <= 0:
                announced.begin(counted)
                counted = 0
                bearable.clear()
                await turns.give()
                asked.arrive()
            if underway >= limits.BATCH_WORK_AT_ONCE:
                break
        announced.begin(counted)
        return begun

    async def _answer_all(self, begun: Sequence[_Begun], turns: Turns) -> None:
        """Tells what came of each write in its result."""
        for result, kind, write, outcome in begun:
            work = 1
            try:
                if outcome is None:
                    booked = await self._writes.untimely(write)
                else:
                    work = outcome.work
                    booked = committed(write, outcome)
                kind.method.answer(getattr(result, kind.name), write, booked)
            except Exception as error:  # noqa: BLE001 -- one bad item fails alone
                result.error.CopyFrom(status_of(error, self._rpc))
            turns.left -= work
            if turns.left <= 0:
                await turns.give()

    def _once(self, shed: dict[tuple[str, float], Status], overloaded: OverloadedError) -> Status:
        """The status of a refusal, made once for all writes of a call that one limit refuses."""
        which = overloaded.limit, overloaded.bound
        status = shed.get(which)
        if status is None:
            status = shed[which] = status_of(overloaded, self._rpc)
        return status

    def _kind(self, item: Any, name: str | None, caller: Caller) -> BatchedWrite:
        """Which write that of an item is. Raises ScopeRequiredError where the caller may not do that."""
        kind = self._kinds.get(name or "")
        if kind is None:
            allowed = ", ".join(field.name for field in item.DESCRIPTOR.fields)
            raise InvalidArgumentError([("write", f"one of {allowed} is required")])
        caller.require(kind.scope)
        return kind
