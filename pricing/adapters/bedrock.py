"""Amazon Bedrock's Converse.

Input excludes what was read from the cache and what was written to it; `cacheDetails` tells writes by time to
live. The response does not name the model: the request does (`modelId`), or the log of invocations.

A record is a pair `{"request": …, "response": …}`, a response with its `modelId` beside it, a line of the log
of model invocations, or the list of all events of `ConverseStream` with the `modelId` in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pricing.adapters.common import (
    Adapted,
    AdapterError,
    Fields,
    Finding,
    FindingKind,
    NoUsage,
    check_total,
    count_of,
    names_in,
    required,
    tokens,
    who,
    writes,
)
from pricing.adapters.vocabulary import CACHE_READ, CACHE_WRITE, model_of, tier_of

_CONTENT = names_in(
    """
    $metadata ResponseMetadata accountId additionalModelResponseFields errorCode identity
    inferenceRegion input metrics operation output region schemaType schemaVersion stopReason timestamp trace
    """
)
_LIVES = {"5m": "short", "1h": "hour"}
_AGAIN = ("cacheReadInputTokenCount", "cacheWriteInputTokenCount", "serverToolUsage")


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one record. Raises AdapterError."""
    findings: list[Finding] = []
    outer = Fields(_merged(record) if isinstance(record, list) else record, "", findings)
    request = outer.inside("request")
    response = outer.inside("response") if outer.has("response") else outer
    name = request.text("modelId") or response.text("modelId") or outer.text("modelId")
    record_id = response.text("requestId") or _request_id(response)
    response = _logged(response)
    if not response.has("usage"):
        return _why_none(outer, response)
    if name is None:
        raise AdapterError(outer.at("modelId"), "is missing", "the name of a model")
    usage = response.inside("usage")
    quantities = _quantities(usage)
    model = model_of("aws", name.rpartition("/")[2])
    item = tokens(model, quantities, service_tier=_tier(request, response))
    whose = who(request.inside("requestMetadata"), outer.inside("requestMetadata"))
    for known in (outer, response):
        known.passed(*_CONTENT)
    request.pass_all()
    outer.tell_unread()
    return Adapted((item,), tuple(findings), record_id, *whose)


def _quantities(usage: Fields) -> dict[str, int]:
    written_by_life: dict[str, int] = {}
    for entry in usage.each("cacheDetails"):
        life = _LIVES.get(entry.label("ttl") or "")
        if life is None:
            entry.find(FindingKind.UNKNOWN, "ttl", "a time to live that is not known")
        else:
            written_by_life[life] = written_by_life.get(life, 0) + required(entry, "inputTokens")
    written = count_of((usage, CACHE_WRITE))
    total, all_input, all_output = (
        usage.count("totalTokens"),
        required(usage, "inputTokens"),
        usage.count("outputTokens") or 0,
    )
    found = {
        "input": all_input,
        "cache_read": count_of((usage, CACHE_READ)),
        **writes(
            usage,
            "cacheWriteInputTokens",
            written or None,
            written_by_life.get("short"),
            written_by_life.get("hour"),
        ),
        "output": all_output,
    }
    usage.passed(*_AGAIN)
    if total != all_input + all_output:  # releases differ in whether the caches are in the total
        check_total(usage, "totalTokens", total, sum(found.values()))
    return found


def _tier(request: Fields, response: Fields) -> str:
    """The tier that served, else the one asked for; speed is said by the configuration of performance."""
    speed = response.inside("performanceConfig").label("latency")
    if speed not in {None, "standard"}:
        return tier_of(speed)
    served = response.inside("serviceTier").label("type")
    asked = request.inside("serviceTier").label("type")
    tier = tier_of(served, asked)
    if tier and not served:
        text = f"the response names no tier: {tier!r} was asked for, and is taken"
        response.find(FindingKind.ASSUMED, "serviceTier", text)
    return tier


def _request_id(response: Fields) -> str | None:
    """The id that the SDKs put beside a response."""
    for place, name in (("ResponseMetadata", "RequestId"), ("$metadata", "requestId")):
        inner = response.peek(place)
        found = inner.get(name) if isinstance(inner, Mapping) else None
        if isinstance(found, str) and found:
            return found
    return None


def _logged(response: Fields) -> Fields:
    """What the log of invocations has of an answer; else the answer itself."""
    output = response.peek("output")
    if response.has("usage") or not isinstance(output, Mapping) or "outputBodyJson" not in output:
        return response
    logged = response.inside("output")
    logged.passed("outputContentType", "outputTokenCount", "outputBodyS3Path")
    body = logged.peek("outputBodyJson")
    if isinstance(body, list):
        logged.passed("outputBodyJson")
        return Fields(_merged(body), logged.at("outputBodyJson"), [])
    return logged.inside("outputBodyJson")


def _why_none(outer: Fields, response: Fields) -> NoUsage:
    """Why a record has no usage; raises AdapterError where it must have one."""
    if outer.has("errorCode") or response.has("message"):
        return NoUsage("error")
    raise AdapterError(response.at("usage"), "is missing", "an object")


def _merged(events: list[Any]) -> dict[str, Any]:
    """What the events of a stream tell: usage is in `metadata`, the last of them."""
    found: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Mapping):
            metadata = event.get("metadata")
            if isinstance(metadata, Mapping):
                found |= metadata
            if isinstance(event.get("modelId"), str):
                found["modelId"] = event["modelId"]
    return found
