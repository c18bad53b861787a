"""Calls a recipe's service as a server of ASGI does, and prints what it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect

Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]


@asynccontextmanager
async def started(app: Any):
    """Between its beginning and its end."""
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, events.get, answers.put))
    for step in ("startup", "shutdown"):
        await events.put({"type": f"lifespan.{step}"})
        answered = await answers.get()
        assert answered["type"] == f"lifespan.{step}.complete", answered
        if step == "startup":
            yield
    await life


async def post(app: Any, path: str, query: str = "", *, body: Any = None, key: str = "") -> tuple[int, str]:
    """Status and text of the answer."""
    sent: list[Mapping[str, Any]] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await _call(app, path, query, body, key, send)
    status = next(each["status"] for each in sent if each["type"] == "http.response.start")
    return status, b"".join(each.get("body", b"") for each in sent).decode()


async def hang_up(app: Any, path: str, query: str) -> None:
    """Takes the first part of an answer, and no other."""
    is_taken = False

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal is_taken
        if is_taken:
            raise OSError("the connection is closed")
        is_taken = bool(message.get("body"))

    with suppress(ClientDisconnect):
        await _call(app, path, query, None, "", send)
    assert is_taken


async def _call(app: Any, path: str, query: str, body: Any, key: str, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key}".encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    asked = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])

    async def receive() -> Mapping[str, Any]:
        found = next(asked, None)
        return found if found is not None else await asyncio.Event().wait()

    await app(scope, receive, send)


def run(app: Any, *calls: Callable[[], Any]) -> None:
    """Makes the calls one after the other, and prints each answer."""

    async def all_of_them() -> None:
        async with started(app):
            for call in calls:
                print(*await call())  # noqa: T201 -- it is what the test reads

    asyncio.run(all_of_them())
