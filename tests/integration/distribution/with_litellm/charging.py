"""The recipe of a callback, by LiteLLM's package: what one call takes of its customer's credits."""

from __future__ import annotations

import asyncio
import sys

import litellm
from providers import answering
from recipe import Charging

from ledger.client import Credits


async def main(target: str, customer_id: str) -> None:
    async with Credits(target) as credits:
        litellm.callbacks = [Charging(credits)]
        before = (await credits.balance(customer_id)).available
        with answering() as address:
            await litellm.acompletion(
                model="openai/gpt-5",
                messages=[{"role": "user", "content": "what?"}],
                api_base=f"{address}/v1",
                api_key="key",
                user=customer_id,
            )
        # LiteLLM calls back on a task of its own.
        async for balance in credits.watch_balance(customer_id):
            if balance.available != before:
                print(before - balance.available, "credits")  # noqa: T201 -- it is what the test reads
                break


asyncio.run(main(*sys.argv[1:]))
