"""What all sessions share: the outbox, the way to the service, and what is done while it is away.

The policy of a client is `refuse` or `allow`. With `refuse` whoever calls has an answer within the client's
time; with `allow` work goes on without a hold, what was used is stored in the journal, and is charged when
the service is back. Either way what a session could not have answered stays in the outbox: with `allow` it
is sent again and again, for as long as the client is open; with `refuse` from `Credits.recover` on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from random import random
from typing import Any, Final, Literal, Protocol, TypeVar

from ledger.client.errors import (
    CallerRefused,
    ClientClosed,
    CreditsError,
    InternalFault,
    NotNow,
    Refused,
    RequestIdReused,
)
from ledger.client.outbox import NOT_THE_WRITE, Outbox, Settling
from ledger.client.outstanding import Write, charge_as
from ledger.v1.credit_service_pb2 import BatchItem, BatchResult, ChargeRequest

OnOutage = Literal["refuse", "allow"]
Answer = TypeVar("Answer")

AGAIN_SECONDS: Final = 0.25
"""The most before another attempt at what had no answer; it doubles with each."""
AGAIN_SECONDS_MAX: Final = 5.0
_log = logging.getLogger(__name__)

AWAY: Final = (NotNow, InternalFault)
"""What a call ends with that had no answer of the ledger's."""


class CarryOut(Protocol):
    """Carries out one write, repeated while that may help. Raises CreditsError."""

    def __call__(
        self, item: BatchItem, /, *, timeout_seconds: float | None = None
    ) -> Awaitable[BatchResult]: ...


class Leaving(Protocol):
    """A session, as its client sees it."""

    def leave(self) -> None: ...


class Delivery:
    """The way from sessions to the service."""

    def __init__(
        self,
        carry_out: CarryOut,
        outbox: Outbox,
        on_outage: OnOutage,
        timeout_seconds: float,
        patience_seconds: float,
    ) -> None:
        """Work that may go on without the service waits for it no longer than `patience_seconds`."""
        self.outbox = outbox
        self.goes_on = on_outage == "allow"
        """Whether work goes on while the service is away."""
        self.is_away = False
        """The last call had no answer."""
        self._is_shut_out = False
        """The service did not let the last call in."""
        self._carry_out = carry_out
        self._patience_seconds = min(timeout_seconds, patience_seconds)
        self._timeout_seconds = self._patience_seconds if self.goes_on else timeout_seconds
        self._left: deque[list[Settling]] = deque()
        """What sessions have left, each in its order."""
        self._refused: list[Settling] = []
        """What was refused, and is tried again when somebody recovers."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sender: asyncio.Task[None] | None = None
        self.is_sending = False
        """Something that was left is on its way: it is not among what can be taken."""
        self.sessions: set[Leaving] = set()
        """Those that have not ended."""

    async def send(self, item: BatchItem, timeout_seconds: float | None = None) -> BatchResult:
        """Carries out one write. Raises CreditsError."""
        try:
            answer = await self._carry_out(item, timeout_seconds=timeout_seconds or self._timeout_seconds)
        except AWAY:
            self.is_away = True
            raise
        except CreditsError as error:
            self.is_away = False
            self._note(error)
            raise
        self.is_away = self._is_shut_out = False
        return answer

    def _note(self, error: CreditsError) -> None:
        """Logs once that the service does not let this client in: what waits has nobody to tell."""
        was_shut_out, self._is_shut_out = self._is_shut_out, isinstance(error, CallerRefused)
        if self._is_shut_out and not was_shut_out:
            _log.warning("the service does not let this client in; usage waits until it does: %s", error)

    async def charge(self, request: ChargeRequest) -> BatchResult | None:
        """Charges work that is done; None where that has no answer yet: it is stored, and sent until it has.

        A caller that is cancelled has charged it. CallerRefused and BooksDoNotVerify are no answer: they say
        nothing of the charge. Raises any other Refused (RequestIdReused too where another charge under its
        request id waits for its answer), ClientClosed, JournalError: nothing is left of it.
        """
        write = charge_as(request)
        before = self.outbox.find(write.request_id)
        if before is not None:
            if before.message().charge != request:
                raise RequestIdReused("another charge with this request id waits for its answer")
            return None
        self.outbox.take([write], [(write, item) for item in request.usage.items])
        return await asyncio.shield(self.start(self._charge(write), f"charge of {write.customer_id}"))

    async def _charge(self, write: Write) -> BatchResult | None:
        if self.is_away and self._sender is not None:
            self.send_on([Settling(self.outbox, write)])
            return None
        try:
            answer = await self.send(write.message(), self._patience_seconds)
        except (*AWAY, *NOT_THE_WRITE):
            self.send_on([Settling(self.outbox, write)])
            return None
        except (Refused, ClientClosed):
            self.outbox.drop(write)
            raise
        except CreditsError:
            self.send_on([Settling(self.outbox, write)])
            raise
        self.outbox.drop(write)
        return answer

    def start(self, work: Coroutine[Any, Any, Answer], name: str) -> asyncio.Task[Answer]:
        """Begins work that the client waits for when it is closed."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def leave(self, settlings: Sequence[Settling]) -> None:
        """Takes over what a session could not have answered, in its order."""
        if self.goes_on:
            self.send_on(settlings)
        elif settlings:
            self._left.append(list(settlings))

    def send_on(self, settlings: Sequence[Settling]) -> None:
        """Sends what was left, and this, again and again until it is answered."""
        if settlings:
            self._left.append(list(settlings))
        if self._left and self._sender is None:
            self._sender = asyncio.create_task(self._send_left(), name="late usage")

    def refuse(self, write: Write) -> None:
        """Keeps what was refused, until somebody recovers it."""
        self._refused.append(Settling(self.outbox, write))

    def take_left(self) -> list[list[Settling]]:
        """Hands over what sessions have left: whoever takes it sends it, or leaves it again."""
        turns = list(self._left)
        self._left.clear()
        return turns

    def take_refused(self) -> list[list[Settling]]:
        """Hands over what was refused, in the same way."""
        turns = [[settling] for settling in self._refused]
        self._refused = []
        return turns

    async def close(self) -> None:
        """Ends all sessions, and waits for them; what then has no answer stays in the journal."""
        for session in self.sessions:
            session.leave()
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.wait([self._sender])
        finally:
            self.outbox.close()

    async def _send_left(self) -> None:
        """Sends what sessions have left, until nothing is; what has no answer is behind the others then."""
        attempt = 0
        while self._left:
            # Nobody else is to send it at the same time.
            turn = self._left.popleft()
            self.is_sending = True
            try:
                while turn:
                    await turn[0].run(self.send)
                    self._report(turn.pop(0))
                attempt = 0
            except CreditsError:
                attempt += 1
                self._left.append(turn)
            self.is_sending = False
            if attempt:
                await asyncio.sleep(again_seconds(attempt))
        self._sender = None

    def _report(self, settling: Settling) -> None:
        """Nobody waits for it: what was refused is logged."""
        for write, error in settling.refused:
            self.refuse(write)
            log_refused(write, error)


def log_refused(write: Write, error: Refused) -> None:
    """For usage whose session has ended: nobody waits for its answer."""
    _log.warning(
        "usage of %s is refused, and stays in the journal as %s: %s",
        write.customer_id,
        write.request_id,
        error,
    )


def again_seconds(attempt: int) -> float:
    """How long to wait after so many attempts without an answer: not all at once."""
    bound = min(AGAIN_SECONDS_MAX, AGAIN_SECONDS * 2.0 ** min(attempt, 10))
    return bound * (0.5 + random() / 2)  # noqa: S311 -- no secret
