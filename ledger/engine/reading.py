"""Where documents of prices are read: a thread of its own, so that no call waits for ten thousand rules.

One thread, whoever asks: what callers send them to read takes one core, and one arena of memory, at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_READER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader of prices")


async def in_reader(
    read: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """What a function gives that takes its time and touches no state of the event loop's."""
    return await asyncio.get_running_loop().run_in_executor(_READER, partial(read, *args, **kwargs))
