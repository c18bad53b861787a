"""A provider on loopback that answers as OpenAI, Anthropic and Gemini do, always the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

CHAT_USAGE = {
    "prompt_tokens": 2600,
    "completion_tokens": 300,
    "total_tokens": 2900,
    "prompt_tokens_details": {"cached_tokens": 2000},
    "completion_tokens_details": {"reasoning_tokens": 120},
}
MESSAGE_USAGE = {
    "input_tokens": 20,
    "cache_read_input_tokens": 200,
    "cache_creation_input_tokens": 30,
    "output_tokens": 30,
    "service_tier": "standard",
}


def _chat(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "gpt-5-2025-08-07", **fields}


def _choice(**fields: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "finish_reason": None, **fields}]


SAID = {"role": "assistant", "content": "hi"}
CHAT = _chat("chat.completion", choices=_choice(message=SAID, finish_reason="stop"), usage=CHAT_USAGE)
CHAT_CHUNKS = [
    _chat("chat.completion.chunk", choices=_choice(delta=SAID)),
    _chat("chat.completion.chunk", choices=_choice(delta={}, finish_reason="stop")),
    _chat("chat.completion.chunk", choices=[], usage=CHAT_USAGE),
]
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": MESSAGE_USAGE,
}
BEGUN = MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE_USAGE | {"output_tokens": 1}}
MESSAGE_EVENTS = [
    {"type": "message_start", "message": BEGUN},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}},
    {"type": "message_stop"},
]
GENERATED = {
    "candidates": [
        {"index": 0, "content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 400,
        "candidatesTokenCount": 50,
        "thoughtsTokenCount": 70,
        "totalTokenCount": 1120,
    },
    "modelVersion": "gemini-2.5-pro",
    "responseId": "1",
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5-2025-08-07",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    },
}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
ANSWERS: dict[str, tuple[dict[str, Any], Sequence[dict[str, Any]]]] = {
    "/chat/completions": (CHAT, CHAT_CHUNKS),
    "/messages": (MESSAGE, MESSAGE_EVENTS),
    "enerateContent": (GENERATED, [GENERATED]),
    "/responses": (RESPONSE, []),
    "/embeddings": (EMBEDDING, []),
}
"""By the end of the path: an answer, and what is sent of it one after the other."""


class _Provider(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        answer, events = next(found for end, found in ANSWERS.items() if path.endswith(end))
        if body.get("stream") or "stream" in path:
            sent = "".join(f"{_named(event)}data: {json.dumps(event)}\n\n" for event in events)
            self._send("text/event-stream", sent + ("data: [DONE]\n\n" if answer is CHAT else ""))
        else:
            self._send("application/json", json.dumps(answer))

    def _send(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _named(event: dict[str, Any]) -> str:
    return f"event: {event['type']}\n" if "type" in event else ""


@contextmanager
def answering() -> Iterator[str]:
    """The address of one that runs until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Provider) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
