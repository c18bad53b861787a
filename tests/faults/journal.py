"""What the clients know: every write that they sent, under its request id, and all that was reported of it.

A write is *acknowledged* when one attempt was answered with an entry, *refused* when the last word on it is a
refusal that no attempt of unknown outcome precedes or outlives, and *unknown* until then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

State = Literal["acknowledged", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply: the write has an entry."""

    reply: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite refusal of one attempt; nothing is said of other attempts under the same id."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No word on the outcome: the attempt may have taken effect, or may yet."""

    code: str
    detail: str
    error_id: str | None = None
    """Of an INTERNAL reply: the server's log has it."""


Outcome = Answered | Refused | Unknown


@dataclass(slots=True, eq=False)
class Record:
    """One write under one request id, with all its attempts."""

    method: str
    request: Any
    outcomes: list[Outcome] = field(default_factory=list)
    settled: bool = False
    """Every attempt is over, and so are the backends that worked on it: a refusal is now the last word."""

    @property
    def key(self) -> tuple[str, str]:
        """The customer and the request id."""
        if self.method == "CreateCustomer":
            return self.request.customer.customer_id, self.request.request_id
        return self.request.customer_id, self.request.request_id

    @property
    def replies(self) -> list[Any]:
        return [outcome.reply for outcome in self.outcomes if isinstance(outcome, Answered)]

    @property
    def state(self) -> State:
        if self.replies:
            return "acknowledged"
        if not self.outcomes or isinstance(self.outcomes[-1], Unknown):
            return "unknown"
        if self.settled or not any(isinstance(outcome, Unknown) for outcome in self.outcomes):
            return "refused"
        return "unknown"

    def note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Journal:
    """All records of one fault's clients."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count(1)
        self.records: list[Record] = []
        self.acknowledged = 0
        """Attempts that were answered with an entry."""
        self._progress = asyncio.Event()

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def request_id(self) -> str:
        """A new one."""
        return f"{self._prefix}-{next(self._numbers)}"

    def open(self, method: str, request: Message) -> Record:
        """Enters a write before it is sent."""
        record = Record(method, request)
        self.records.append(record)
        return record

    def note(self, record: Record, outcome: Outcome) -> None:
        """Enters what an attempt came to."""
        record.note(outcome)
        if isinstance(outcome, Answered):
            self.acknowledged += 1
            self._progress.set()

    async def acknowledgements(self, more: int, within_seconds: float) -> None:
        """Waits until so many more attempts are acknowledged. Raises TimeoutError."""
        target = self.acknowledged + more
        async with asyncio.timeout(within_seconds):
            while self.acknowledged < target:
                self._progress.clear()
                await self._progress.wait()

    def unknown(self) -> list[Record]:
        """Records that are to be settled."""
        return [record for record in self.records if record.state == "unknown"]

    def write(self, path: Path) -> None:
        """One JSON object a record, for a person who looks into a violation."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as lines:
            for record in self.records:
                line = {
                    "method": record.method,
                    "state": record.state,
                    "request": MessageToDict(record.request),
                    "outcomes": [_told(outcome) for outcome in record.outcomes],
                }
                lines.write(json.dumps(line) + "\n")


def _told(outcome: Outcome) -> object:
    match outcome:
        case Answered(reply):
            return {"answered": MessageToDict(reply)}
        case Refused(reason):
            return {"refused": reason}
        case Unknown(code, detail, error_id):
            return {"unknown": code, "detail": detail, "error_id": error_id}
