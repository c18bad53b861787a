"""A balance, watched for as long as somebody goes on: what ends between is begun again.

A server ends each watch after some minutes, and when it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from random import random
from typing import Any, Final

import grpc.aio

from ledger.client.answers.balances import Balance, balance_of
from ledger.client.errors import ClientClosed, CreditsError, DeadlineExceeded, Refused
from ledger.client.retries import AGAIN, LONGEST_SECONDS, with_retries
from ledger.client.statuses import error_of_call
from ledger.client.wire import Wire
from ledger.v1.wallet_service_pb2 import WatchBalanceRequest, WatchBalanceResponse

WATCH_SECONDS: Final = 330.0
"""What no server lets last so long has lost its peer."""


class Watched:
    """A balance, for `async for`: as it stands, then each other one. What is raised ends it.

    Raises CreditsError where the service refuses it, or is away for as long as a call of the client may take.
    """

    def __init__(self, opened: Callable[[], Wire], customer_id: str, timeout_seconds: float) -> None:
        self._opened = opened
        self._request = WatchBalanceRequest(customer_id=customer_id)
        self._timeout_seconds = timeout_seconds

    async def __aiter__(self) -> AsyncGenerator[Balance, None]:
        before = None
        while True:
            call, message = await self._begin()
            try:
                while isinstance(message, WatchBalanceResponse):
                    balance = balance_of(message.balance)
                    if balance != before:
                        yield balance
                    before = balance
                    message = await _read(call)
            except DeadlineExceeded:
                pass
            except CreditsError as error:
                if error.code not in AGAIN or isinstance(error, Refused):
                    raise
            finally:
                call.cancel()
            # Those whose server has stopped do not come back together.
            await asyncio.sleep(random() * LONGEST_SECONDS)  # noqa: S311 -- no secret

    async def _begin(self) -> tuple[_Call, WatchBalanceResponse]:
        """A watch, and what it says first; begun again while that may help."""
        wire, loop = self._opened(), asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds

        async def attempt() -> tuple[_Call, WatchBalanceResponse]:
            call = wire.wallet.WatchBalance(self._request, timeout=WATCH_SECONDS, metadata=wire.metadata)
            try:
                async with asyncio.timeout_at(deadline):
                    return call, await _read(call)
            except TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                raise DeadlineExceeded("no answer in time", code=code) from None
            except BaseException:
                call.cancel()
                raise

        return await with_retries(attempt, deadline, wire.is_open)


_Call = grpc.aio.UnaryStreamCall[WatchBalanceRequest, WatchBalanceResponse]


async def _read(call: _Call) -> Any:
    """A message, or EOF. Raises CreditsError."""
    try:
        return await call.read()
    except grpc.aio.AioRpcError as error:
        raise error_of_call(error) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ClientClosed("the client was closed under a watch") from None
