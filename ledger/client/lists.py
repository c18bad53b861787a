"""Lists of the service, read page by page as somebody goes through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

Thing = TypeVar("Thing")

PAGE_SIZE: Final = 200
"""Few calls for whoever reads all, and not much too much for whoever reads the newest few."""


class Page(NamedTuple, Generic[Thing]):
    """Some of a list."""

    things: Sequence[Thing]
    next_token: str
    """Of the page after it; empty on the last."""


Read = Callable[[str], Coroutine[Any, Any, Page[Thing]]]
"""Reads the page of a token, the first by an empty one. Raises CreditsError."""


class Listed(Generic[Thing]):
    """A list, for `async for`: each time it is read anew. What is raised ends it: the rest was not read."""

    def __init__(self, read: Read[Thing]) -> None:
        self.read = read

    async def __aiter__(self) -> AsyncIterator[Thing]:
        page = await self.read("")
        while True:
            for thing in page.things:
                yield thing
            if not page.next_token:
                return
            page = await self.read(page.next_token)
