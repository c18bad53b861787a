"""Where documents of prices are read: a thread of its own, so that no call waits for ten thousand rules.

One thread, whoever asks: what callers send takes one core, and one arena of memory, at most. A short document
is read where it is asked for: that takes some milliseconds, and leaves the arena to the long ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

SHORT_CHARACTERS: Final = 32_768
"""Some three hundred rules."""

_READER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader of prices")


async def in_reader(
    read: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """What a function of documents gives that touches no state of the event loop's."""
    texts = [argument for argument in args if isinstance(argument, str)]
    if texts and sum(map(len, texts)) <= SHORT_CHARACTERS:
        return read(*args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_READER, partial(read, *args, **kwargs))
