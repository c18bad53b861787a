"""What the recipes of docs/client.md call their own: models, tools, jobs, conversations, always the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

MODEL = "openai/gpt-5"
USAGE = {"prompt_tokens": 9000, "completion_tokens": 600, "total_tokens": 9600}
"""At 100 and 1,000 credits a million: 0.9 and 0.6 credits."""


class Answer:
    """An answer of a model, as a provider's package has it."""

    def __init__(self, text: str, tool: str | None = None, usage: dict[str, int] | None = USAGE) -> None:
        self.text = text
        self.tool = tool
        self.usage = usage

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "model": "gpt-5", "usage": self.usage}


async def ask(model: str, *messages: str) -> Answer:
    return Answer("mended") if len(messages) > 2 else Answer("looking", tool="pytest")


async def run_tool(tool: str) -> tuple[str, float]:
    return f"{tool}: 1 failed", 12.5


async def stream(model: str, question: str) -> AsyncIterator[tuple[Answer, dict[str, int]]]:
    """Chunks of an answer, each with what was used so far."""
    for written, word in enumerate(("It ", "is ", "mended."), 1):
        yield Answer(word, usage=None), {"prompt_tokens": 9000, "completion_tokens": written}
    yield Answer(""), USAGE


class Job:
    def __init__(self, name: str, minutes: int) -> None:
        self.name = name
        self._minutes = minutes

    async def run(self) -> AsyncIterator[float]:
        for _ in range(self._minutes):
            yield 60.0

    async def save_and_stop(self) -> None:
        raise AssertionError("there are credits enough")


class Conversation:
    def __init__(self, name: str, *, is_solved: bool) -> None:
        self.name = name
        self.is_solved = is_solved

    async def answers(self) -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            usage = {"input_tokens": 900, "output_tokens": 60}
            yield {"id": f"msg_{number}", "model": "claude-sonnet-4-5", "type": "message", "usage": usage}


def conversations() -> Iterator[Conversation]:
    yield Conversation("chat-1", is_solved=True)
    yield Conversation("chat-2", is_solved=False)


def customer_of(authorization: str) -> str:
    return authorization.removeprefix("Bearer ")


async def forward(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [],
        "usage": USAGE,
    }


async def forward_stream(body: dict[str, Any]) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Lines of an answer, each with what was used so far."""
    for written, content in enumerate(("mended", None), 1):
        chunk = {"choices": [{"delta": {"content": content}}]} if content else {"choices": [], "usage": USAGE}
        used = USAGE if content is None else {"prompt_tokens": 0, "completion_tokens": written}
        yield f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n", used
    yield "data: [DONE]\n\n", USAGE
