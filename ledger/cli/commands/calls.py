"""What most commands do at a server: one call, or a list through its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import grpc.aio
from google.protobuf.message import Message

from ledger.cli.commands.options import reach
from ledger.cli.run import run
from ledger.cli.services import CALL_TIMEOUT_SECONDS, Ledger, call

PAGE_SIZE: Final = 1_000
"""The most that a page of a list takes."""

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Thing = TypeVar("Thing")


def ask(
    target: str,
    method: Callable[[Ledger], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
    request: Request,
    timeout_seconds: float = CALL_TIMEOUT_SECONDS,
) -> Response:
    """What a server answers; where it refuses, or is not there, the command ends."""

    async def answer() -> Response:
        async with reach(target) as ledger:
            return await call(method(ledger), request, timeout_seconds)

    return run(answer())


def listed(
    target: str,
    method: Callable[[Ledger], grpc.aio.UnaryUnaryMultiCallable[Any, Response]],
    request: Any,
    things_of: Callable[[Response], Iterable[Thing]],
    limit: int | None = None,
) -> tuple[list[Thing], bool]:
    """The first things of a list, as many as the limit says (None: all), and whether there are more."""

    async def read() -> tuple[list[Thing], bool]:
        found: list[Thing] = []
        async with reach(target) as ledger:
            while True:
                page: Any = await call(method(ledger), request)
                found += things_of(page)
                request.page_token = page.next_page_token
                is_last = not page.next_page_token
                if is_last or (limit is not None and len(found) >= limit):
                    return found[:limit], not is_last or len(found[:limit]) < len(found)

    return run(read())
