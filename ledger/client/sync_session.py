"""A session for code without an event loop: the same calls, which wait for the loop of its client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

from ledger.client.session import Session
from ledger.client.session_summary import Summary
from ledger.client.usage import Result, Work
from ledger.v1.usage_pb2 import UsageItem

Answer = TypeVar("Answer")


class Run(Protocol):
    """Does work in the loop of a client, and returns or raises what it does."""

    def __call__(self, work: Coroutine[Any, Any, Answer]) -> Answer: ...


class SyncSession:
    """As `Session`: `with credits.session(...) as session`. Safe for any number of threads."""

    def __init__(self, session: Session, run: Run) -> None:
        self._session = session
        self._run = run

    def __enter__(self) -> Self:
        self._run(self._session.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._session.__aexit__(kind, error, trace))

    def add(
        self, items: UsageItem | Sequence[UsageItem] | None = None, /, **work: Unpack[Work]
    ) -> tuple[str, ...]:
        """Takes usage, as `Session.add` does."""

        async def added() -> tuple[str, ...]:
            return self._session.add(items, **work)

        return self._run(added())

    def outcome(
        self, name: str, *, subject: str | None = None, result: Result = "resolved", count: int = 1
    ) -> None:
        """Takes what came of the work, as `Session.outcome` does."""

        async def added() -> None:
            self._session.outcome(name, subject=subject, result=result, count=count)

        self._run(added())

    def add_at_end(self, used: Callable[[], Work]) -> None:
        """Adds what `used` answers with when the session is left, as `Session.add_at_end` does."""

        async def added() -> None:
            self._session.add_at_end(used)

        self._run(added())

    def check(self) -> None:
        """Raises what the work is to stop for, as `Session.check` does."""

        async def checked() -> None:
            self._session.check()

        self._run(checked())

    def flush(self) -> None:
        """Commits what was added at once, and returns when that was tried; raises as `check` does."""
        self._run(self._session.flush())

    def summary(self) -> Summary:
        """What was used, by line, in credits."""

        async def summed() -> Summary:
            return self._session.summary()

        return self._run(summed())

    @property
    def customer_id(self) -> str:
        return self._session.customer_id

    @property
    def reservation_id(self) -> str | None:
        """The hold's id; None while there is none."""
        return self._session.reservation_id

    @property
    def remaining(self) -> Decimal:
        """Credits held and available by the last answer, less what is not committed yet at its rate."""
        return self._session.remaining

    @property
    def held(self) -> Decimal:
        """Credits that the hold has left, less what is not committed yet at its rate."""
        return self._session.held

    @property
    def charged(self) -> Decimal:
        """Credits that were collected, by the answers so far."""
        return self._session.charged
