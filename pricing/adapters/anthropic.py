"""Anthropic's messages.

Input excludes what was read from the cache and what was written to it; writes are split by time to live
(5 minutes: `cache_write`, an hour: `cache_write_1h`). Output includes thinking.

`usage.iterations` tells the samplings of one message. Those of the message itself add up to the top level;
the others are counted beside it, as they are billed: a compaction on the message's model, an advisor's on its
own. Where a fallback model served, the top level is its; a declined attempt is billed, on its own model, if
it had output, and not at all if it had none. `requests` is the number of samplings, so that a price by the
length of the context is judged by what one of them read.

A record is a message as it was sent, or a pair `{"request": …, "response": …}`, a line of a batch's results,
or the list of all events of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pricing.adapters.common import (
    Adapted,
    AdapterError,
    Fields,
    Finding,
    FindingKind,
    NoUsage,
    add,
    count_of,
    names_in,
    required,
    server_tools,
    split_output,
    tokens,
    units,
    who,
    writes,
)
from pricing.adapters.vocabulary import CACHE_READ, REASONING, asked_of, served_for, tier_of
from pricing.usage.items import OUTPUT_QUANTITIES, Tokens, Units

_CONTENT = names_in(
    """
    container content context_management diagnostics role source stop_details stop_sequence type
    """
)
"""Fields of a message that are not usage."""
_HERE = frozenset({"not_available", "global"})
"""Places of inference that cost nothing more."""
_PARTS = frozenset({"message_start", "message_delta"})
_WHOLE = "a whole message, or the list of all events of a stream"


class _Iterations(NamedTuple):
    own: list[Mapping[str, int]]
    """Samplings of the model that served the message."""
    compactions: list[Mapping[str, int]]
    others: list[tuple[str, Mapping[str, int]]]
    """Samplings of other models, by name."""
    declined: str | None
    """The model that was asked first, where another one served."""


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one record. Raises AdapterError."""
    findings: list[Finding] = []
    outer = Fields(_whole(record), "", findings)
    request, message, kind = _open(outer)
    if not message.has("usage"):
        return _why_none(message, kind)
    metadata = (request.inside("metadata"), message.inside("metadata"))
    whose = who(*metadata, request, message)
    served = message.text("model")
    if served is None:
        raise AdapterError(message.at("model"), "is missing", "the name of a model")
    asked, record_id, ended = request.text("model"), message.text("id"), message.label("stop_reason")
    items = _items(message.inside("usage"), asked, served)
    if ended == "refusal" and not any(_answered(item) for item in items):
        return NoUsage("refusal")
    message.passed(*_CONTENT)
    for known in (request, *metadata):
        known.pass_all()
    outer.tell_unread()
    return Adapted(items, tuple(findings), record_id, *whose)


def _items(usage: Fields, asked: str | None, served: str) -> tuple[Tokens | Units, ...]:
    message = _quantities(usage)
    iterations = _iterations(usage)
    if iterations.own and _wholes(add(iterations.own)) != _wholes(message):
        text = "its samplings of the message do not add up to the usage, which is counted"
        usage.find(FindingKind.MISMATCH, "iterations", text)
    tier = _tier(usage)
    model = asked_of("anthropic", asked or iterations.declined or served)
    item = tokens(
        model,
        add([message, *iterations.compactions]),
        served_by=served_for(model, served),
        service_tier=tier,
        requests=max(1, len(iterations.own)) + len(iterations.compactions),
    )
    others = [
        tokens(served_for(model, name), counts, service_tier=tier) for name, counts in iterations.others
    ]
    tools = server_tools(usage.inside("server_tool_use")).items()
    return (item, *others, *(units(meter, count) for meter, count in tools if count))


def _quantities(usage: Fields) -> dict[str, int]:
    """Disjoint quantities of the usage of a message, or of one of its samplings."""
    lifetimes = usage.inside("cache_creation")
    written = writes(
        usage,
        "cache_creation_input_tokens",
        usage.count("cache_creation_input_tokens"),
        lifetimes.count("ephemeral_5m_input_tokens"),
        lifetimes.count("ephemeral_1h_input_tokens"),
    )
    thinking = count_of((usage.inside("output_tokens_details"), REASONING))
    output = required(usage, "output_tokens")
    return {
        "input": required(usage, "input_tokens"),
        "cache_read": count_of((usage, CACHE_READ)),
        **written,
        **split_output(output, usage.at("output_tokens"), reasoning=thinking),
    }


def _answered(item: Tokens | Units) -> bool:
    """Whether there was output: a message that is refused before any is not billed."""
    return not isinstance(item, Tokens) or bool(sum(item.quantities.get(key, 0) for key in OUTPUT_QUANTITIES))


def _wholes(counts: Mapping[str, int]) -> tuple[int, ...]:
    """What every sampling tells, finer parts added up: not each tells those."""
    written, said = counts["cache_write"] + counts["cache_write_1h"], counts["output"] + counts["reasoning"]
    return counts["input"], counts["cache_read"], written, said


def _iterations(usage: Fields) -> _Iterations:
    entries = [(entry.text("type"), entry) for entry in usage.each("iterations")]
    fell_back = any(kind == "fallback_message" for kind, _ in entries)
    found = _Iterations([], [], [], None)
    declined: str | None = None
    for kind, entry in entries:
        model = entry.text("model")
        if kind == "fallback_message" or (kind == "message" and not fell_back):
            found.own.append(_quantities(entry))
        elif kind == "compaction":
            found.compactions.append(_quantities(entry))
        elif kind in {"advisor_message", "message"}:
            if model is None:
                raise AdapterError(entry.at("model"), "is missing", "the name of a model")
            counts = _quantities(entry)
            if kind == "message":
                declined = declined or model
            if kind == "message" and not counts["output"] + counts["reasoning"]:
                text = "declined before any output, which is not billed: not counted"
                entry.find(FindingKind.ASSUMED, "type", text)
            else:
                found.others.append((model, counts))
        else:
            entry.find(FindingKind.UNKNOWN, "type", "a kind of sampling that is not known: not counted")
    return found._replace(declined=declined)


def _tier(usage: Fields) -> str:
    said = usage.text("service_tier") or "standard"
    speed = usage.text("speed") or "standard"
    place = usage.text("inference_geo")
    if place is not None and place not in _HERE:
        text = f"{place!r}: the provider bills more for it, and no quantity tells"
        usage.find(FindingKind.UNCOUNTED, "inference_geo", text)
    if speed != "standard" and said != "standard":
        usage.find(FindingKind.ASSUMED, "speed", f"{speed!r} is taken for the tier of service, not {said!r}")
    return tier_of(speed if speed != "standard" else said)


def _open(outer: Fields) -> tuple[Fields, Fields, str]:
    """The request, the message and its type; raises AdapterError for a part of a stream."""
    request = outer.inside("request")
    if outer.has("result"):
        result = outer.inside("result")
        kind = result.label("type") or ""
        if not result.has("message"):
            return request, result, kind
        outer.passed("custom_id")
        return request, result.inside("message"), kind
    message = outer.inside("response") if outer.has("response") else outer
    kind = message.label("type") or ""
    if kind in _PARTS:
        raise AdapterError(message.at("type"), f"is {kind!r}, a part of a stream", _WHOLE)
    return request, message, kind


def _why_none(message: Fields, kind: str) -> NoUsage:
    """Why a record has no usage; raises AdapterError where it must have one."""
    if kind in {"error", "errored", "canceled", "expired"}:
        return NoUsage(kind)
    if kind == "ping" or kind.startswith(("content_block", "message_")):
        return NoUsage("no_usage")
    raise AdapterError(message.at("usage"), "is missing", "an object")


def _whole(record: object) -> object:
    """A record with its message whole: all events of a stream are one."""
    if isinstance(record, list):
        return _merged(record)
    if isinstance(record, Mapping) and isinstance(record.get("response"), list):
        return {**record, "response": _merged(record["response"])}
    return record


def _merged(events: list[Any]) -> dict[str, Any]:
    """The message that the events of a stream tell: the counts of `message_delta` are cumulative."""
    found: dict[str, Any] = {"type": "message_start"}
    for index, event in enumerate(events):
        fields = Fields(event, f"[{index}]", [])
        kind = fields.label("type")
        if kind == "error":
            return {"type": "error"}
        if kind == "message_start":
            found = {**_object(fields, "message"), "type": kind}
        elif kind == "message_delta":
            counts = _object(fields, "usage").items()
            found["usage"] = _object(Fields(found, "", []), "usage") | {
                k: v for k, v in counts if v is not None
            }
            found["type"] = "message"
            found["stop_reason"] = fields.inside("delta").value("stop_reason")
    return found


def _object(fields: Fields, name: str) -> dict[str, Any]:
    inner = fields.inside(name)
    return {key: inner.value(key) for key in inner.names()}
