"""Lines of Claude Code's transcripts.

Each line of an answer holds the message as it was until then, with the usage until then: lines of one message
have its id, and the last of them is the whole. What a sub-agent did stands in a file of its own, and may
stand in its parent's within a line of `progress`: it has the same id there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pricing.adapters import anthropic
from pricing.adapters.common import Adapted, Fields, NoUsage

_SYNTHETIC = "<synthetic>"
"""The model of messages that Claude Code made itself."""


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one line. Raises AdapterError."""
    line = Fields(record, "", [])
    kind = line.label("type")
    if kind == "progress":
        within = line.inside("data").value("message")
        if isinstance(within, Mapping) and within.get("type") == "assistant":
            session = line.label("sessionId")
            return adapt({**within, "sessionId": within.get("sessionId") or session})
    message = line.value("message")
    if kind != "assistant" or not isinstance(message, Mapping):
        return NoUsage("no_usage")
    if message.get("model") == _SYNTHETIC:
        return NoUsage("synthetic")
    adapted = anthropic.adapt(message)
    if isinstance(adapted, NoUsage):
        return adapted
    return replace(
        adapted,
        record_id=adapted.record_id or line.label("requestId", "uuid"),
        session=adapted.session or line.label("sessionId"),
        agent=adapted.agent or line.label("agentId"),
    )
