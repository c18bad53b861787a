"""The client for code without an event loop: the same calls, which wait.

Each client has a thread with a loop of its own, in which the asynchronous client works: calls of many threads
travel together there as those of many tasks do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from ledger.client import forks
from ledger.client.answers.balances import Balance
from ledger.client.credits import Amount, Credits, Usage
from ledger.client.errors import ClientClosed, CreditsError
from ledger.client.lists import Listed
from ledger.client.sync_session import Run, SyncSession
from ledger.client.watching import Watched
from ledger.v1.usage_pb2 import UsageItem

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
Thing = TypeVar("Thing")
Opened = ParamSpec("Opened")


class LoopThread:
    """A thread that runs an event loop, until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """What it answers or raises, from any other thread; whoever is interrupted cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends the loop, with what it still has to do, and the thread."""
        self.run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _settle(self) -> None:
        own = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not own]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


def _waiting(
    method: Callable[Concatenate[Credits, Asked], Coroutine[Any, Any, Answer]],
) -> Callable[Concatenate[SyncCredits, Asked], Answer]:
    """The same method, with the same arguments, that waits for its answer."""

    @wraps(method)
    def wait(client: SyncCredits, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return client._run(method(client._credits, *args, **kwargs))  # noqa: SLF001 -- of this module

    return wait


class SyncListed(Generic[Thing]):
    """A list, for `for`: each time it is read anew. What is raised ends it: the rest was not read."""

    def __init__(self, listed: Listed[Thing], run: Run) -> None:
        self._read = listed.read
        self._run = run

    def __iter__(self) -> Iterator[Thing]:
        page = self._run(self._read(""))
        while True:
            yield from page.things
            if not page.next_token:
                return
            page = self._run(self._read(page.next_token))


def _listing(
    method: Callable[Concatenate[Credits, Asked], Listed[Thing]],
) -> Callable[Concatenate[SyncCredits, Asked], SyncListed[Thing]]:
    """The same method, with the same arguments, whose pages are waited for."""

    @wraps(method)
    def listed(client: SyncCredits, /, *args: Asked.args, **kwargs: Asked.kwargs) -> SyncListed[Thing]:
        return SyncListed(method(client._credits, *args, **kwargs), client._run)  # noqa: SLF001 -- of this module

    return listed


class SyncWatched:
    """A balance, for `for`: as it stands, then each other one. What is raised ends it."""

    def __init__(self, watched: Watched, run: Run) -> None:
        self._watched = watched
        self._run = run

    def __iter__(self) -> Iterator[Balance]:
        balances = aiter(self._watched)
        try:
            while True:
                yield self._run(anext(balances))
        finally:
            self._run(balances.aclose())


def _same_arguments(
    _: Callable[Concatenate[Credits, Opened], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[SyncCredits, Opened], None]]:
    """Types a constructor as the asynchronous client's."""
    return wraps(Credits.__init__)


class SyncCredits:
    """As `Credits`, for code without an event loop. Safe for any number of threads."""

    @_same_arguments(Credits.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._credits = Credits(*args, **kwargs)
        self._thread: LoopThread | None = None

    def open(self) -> Self:
        """Starts the thread, and opens the channel; nothing is sent yet. Raises as `Credits.open` does."""
        forks.check()
        if self._thread is None:
            thread = LoopThread()
            try:
                thread.run(self._credits.open())
            except BaseException:
                thread.stop()
                raise
            self._thread = thread
        return self

    def close(self) -> None:
        """Waits for the writes that are under way, closes the channel, and ends the thread."""
        if forks.is_forked():
            return
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self._credits.close())
            finally:
                thread.stop()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    reserve = _waiting(Credits.reserve)
    extend = _waiting(Credits.extend)
    commit = _waiting(Credits.commit)
    release = _waiting(Credits.release)
    charge = _waiting(Credits.charge)
    refund = _waiting(Credits.refund)
    reverse = _waiting(Credits.reverse)
    write = _waiting(Credits.write)
    quote = _waiting(Credits.quote)
    check = _waiting(Credits.check)
    balance = _waiting(Credits.balance)
    get_reservation = _waiting(Credits.get_reservation)
    list_reservations = _listing(Credits.list_reservations)
    get_charge = _waiting(Credits.get_charge)
    list_charges = _listing(Credits.list_charges)
    list_grants = _listing(Credits.list_grants)
    list_transactions = _listing(Credits.list_transactions)
    budgets = _waiting(Credits.budgets)
    events_since = _waiting(Credits.events_since)
    usage_report = _waiting(Credits.usage_report)
    statement = _waiting(Credits.statement)
    price_list = _waiting(Credits.price_list)
    create_customer_token = _waiting(Credits.create_customer_token)
    recover = _waiting(Credits.recover)

    def watch_balance(self, customer_id: str) -> SyncWatched:
        """The customer's balance, for `for`: as `Credits.watch_balance`."""
        return SyncWatched(self._credits.watch_balance(customer_id), self._run)

    def session(
        self,
        customer_id: str,
        *,
        estimate: Amount | UsageItem | Usage,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
    ) -> SyncSession:
        """Work of a customer on credits that are held, as `Credits.session`: `with` begins and ends it."""
        session = self._credits.session(
            customer_id, estimate=estimate, labels=labels, ttl_seconds=ttl_seconds
        )
        return SyncSession(session, self._run)

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            thread = self._opened()
        except CreditsError:
            work.close()
            raise
        return thread.run(work)

    def _opened(self) -> LoopThread:
        forks.check()
        if self._thread is None:
            raise ClientClosed("the client is not open: use it in a `with`, or open() it")
        return self._thread
