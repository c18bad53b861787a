"""Prints what LiteLLM's package makes of providers' answers, and the items that the client makes of that.

Run in an environment of requirements-litellm.lock and the client, its output is the file that the unit tests
read: tests/unit/client/recorded/litellm.json.
"""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from typing import Any

import litellm
from google.protobuf.json_format import MessageToDict
from litellm.integrations.custom_logger import CustomLogger
from providers import answering

from ledger.client import convert

ASKED = [{"role": "user", "content": "what?"}]
MODELS = {"openai/gpt-5": "/v1", "anthropic/claude-sonnet-4-5": "", "gemini/gemini-2.5-pro": ""}
"""With what comes after the provider's address."""
LOOKED_AT = ("litellm_model_name", "custom_llm_provider", "cache_hit")
"""What an object knows beside its fields, as far as it is looked at."""
OF_THE_CALL = {"id", "created", "created_at"}
"""What is another one each time."""
LOGGED = ("call_type", "custom_llm_provider", "model", "prompt_tokens", "completion_tokens", "total_tokens")


class Logger(CustomLogger):
    """Keeps what a callback is given."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.logged.put_nowait(kwargs["standard_logging_object"])


def recorded(one: Any) -> dict[str, Any]:
    """An object without what is of its call alone."""
    fields = {
        name: value for name, value in one.model_dump(warnings=False).items() if name not in OF_THE_CALL
    }
    hidden = getattr(one, "_hidden_params", None) or {}
    return {"fields": fields, "hidden": {name: hidden[name] for name in LOOKED_AT if hidden.get(name)}}


def logged(payload: dict[str, Any]) -> dict[str, Any]:
    """What a callback is given, as far as it is looked at."""
    usage = payload["metadata"]["usage_object"]
    fields = {name: payload[name] for name in LOGGED} | {"metadata": {"usage_object": usage}}
    return {"fields": fields, "hidden": {}}


def items(given: Any, **beside: str) -> dict[str, Any]:
    """What the client makes of it: there is nothing to look at."""
    converted = convert(litellm=given, **beside)
    assert not converted.warnings, converted.warnings
    return {**beside, "items": [MessageToDict(item) for item in converted.items]}


async def of_chat(model: str, base: str, logger: Logger) -> dict[str, Any]:
    """An answer, its usage, a stream, and what is logged of the call, by their names."""
    asked: dict[str, Any] = {"model": model, "messages": ASKED, "api_base": base, "api_key": "key"}
    answer = await litellm.acompletion(**asked)
    payload = await logger.logged.get()
    stream = await litellm.acompletion(**asked, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    await logger.logged.get()
    made = {
        "answer": {"objects": [recorded(answer)], **items(answer)},
        "usage": {"objects": [recorded(answer.usage)], **items(answer.usage, model=model)},
        "logged": {"objects": [logged(payload)], **items(payload)},
        "stream": {"objects": list(map(recorded, chunks)), **items(chunks)},
    }
    return {f"{model}: {name}": record for name, record in made.items()}


async def of_others(base: str) -> dict[str, Any]:
    """Answers of another form."""
    beside = {"api_base": base, "api_key": "key"}
    made = {
        "responses": await litellm.aresponses(model="openai/gpt-5", input="what?", **beside),
        "embeddings": await litellm.aembedding(model="openai/embedding", input=["what?"], **beside),
    }
    return {name: {"objects": [recorded(one)], **items(one)} for name, one in made.items()}


async def main() -> None:
    logger = Logger()
    litellm.callbacks = [logger]
    records: dict[str, Any] = {}
    with answering() as address:
        for model, path in MODELS.items():
            records |= await of_chat(model, address + path, logger)
        records |= await of_others(f"{address}/v1")
    print(json.dumps({"version": version("litellm"), "records": records}, indent=1))  # noqa: T201 -- its output is the record


asyncio.run(main())
