"""Gemini, as Google answers: `usageMetadata` of `generateContent`.

`promptTokenCount` includes what was read from a cache; what a tool put into the prompt
(`toolUsePromptTokenCount`) and what was thought (`thoughtsTokenCount`) are counted beside it and beside the
output. Tokens are reported by modality: a document counts as images, a video as text, as they are sold.

A record is a response as it was sent, a pair `{"request": …, "response": …}`, a line of a batch's output, or
the list of all that a stream sent, of which the last usage counts: it is cumulative.
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
    TokenSide,
    check_total,
    names_in,
    required,
    split_input,
    split_output,
    tokens,
    who,
)
from pricing.adapters.vocabulary import asked_of, served_for, tier_of

_CONTENT = names_in(
    """
    automaticFunctionCallingHistory candidates createTime modelStatus parsed promptFeedback responseId
    sdkHttpResponse
    """
)
_HELD = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "TEXT": "text", "VIDEO": "text"}
"""What a modality is sold as."""
_TRAFFIC = "on_demand_"


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one record. Raises AdapterError."""
    findings: list[Finding] = []
    outer = Fields(_last_usage(record) if isinstance(record, list) else record, "", findings)
    request, response, batch = _open(outer)
    if not response.has("usageMetadata"):
        if response.has("error") or outer.has("error"):
            return NoUsage("error")
        if response.has("candidates"):
            return NoUsage("no_usage")
        raise AdapterError(response.at("usageMetadata"), "is missing", "an object")
    served = response.text("modelVersion")
    name = request.text("model") or served
    if name is None:
        raise AdapterError(response.at("modelVersion"), "is missing", "the name of a model")
    asked = asked_of("google", name.removeprefix("models/"))
    usage = response.inside("usageMetadata")
    tier = "batch" if batch else _tier(usage, request)
    item = tokens(
        asked,
        _quantities(usage, findings),
        served_by=served_for(asked, served.removeprefix("models/")) if served else None,
        service_tier=tier,
    )
    if _grounded(response.peek("candidates")):
        text = "it was grounded in a search, billed by the prompt or by the query, as the model has it"
        response.find(FindingKind.UNCOUNTED, "candidates", text)
    whose, record_id = who(request.inside("labels"), request), response.text("responseId")
    response.passed(*_CONTENT)
    request.pass_all()
    outer.tell_unread()
    return Adapted((item,), tuple(findings), record_id, *whose)


def _quantities(usage: Fields, findings: list[Finding]) -> dict[str, int]:
    prompt = required(usage, "promptTokenCount")
    tools, thought = usage.count("toolUsePromptTokenCount") or 0, usage.count("thoughtsTokenCount") or 0
    answered = usage.count("candidatesTokenCount") or 0
    held, cached, said = (
        _by_modality(usage, name)
        for name in ("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails")
    )
    by_tools = _by_modality(usage, "toolUsePromptTokensDetails")
    known = bool(cached)
    side = TokenSide(
        prompt + tools,
        usage.at("promptTokenCount"),
        cache_read=usage.count("cachedContentTokenCount") or 0,
        audio=held.get("audio", 0) + by_tools.get("audio", 0),
        image=held.get("image", 0) + by_tools.get("image", 0),
        cached_audio=cached.get("audio", 0) if known else None,
        cached_image=cached.get("image", 0) if known else None,
    )
    output = split_output(
        answered + thought,
        usage.at("candidatesTokenCount"),
        reasoning=thought,
        audio=said.get("audio", 0),
        image=said.get("image", 0),
    )
    check_total(usage, "totalTokenCount", usage.count("totalTokenCount"), side.whole + answered + thought)
    return {**split_input(side, findings), **output}


def _by_modality(usage: Fields, name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in usage.each(name):
        modality, count = entry.label("modality") or "", entry.count("tokenCount") or 0
        if modality not in _HELD:
            text = f"{modality!r} is not known: its tokens count as text"
            entry.find(FindingKind.ASSUMED, "modality", text)
        kind = _HELD.get(modality, "text")
        found[kind] = found.get(kind, 0) + count
    return found


def _tier(usage: Fields, request: Fields) -> str:
    served = usage.label("serviceTier")
    traffic = (usage.label("trafficType") or "").lower()
    if served is None and traffic:
        served = traffic.removeprefix(_TRAFFIC) or traffic
    asked = request.label("serviceTier", "service_tier")
    tier = tier_of(served, asked)
    if tier and not served:
        text = f"the response names no tier: {tier!r} was asked for, and is taken"
        usage.find(FindingKind.ASSUMED, "serviceTier", text)
    return tier


def _grounded(candidates: object) -> bool:
    """Whether an answer was found by a search."""
    return any(
        isinstance(one, Mapping)
        and isinstance(grounds := one.get("groundingMetadata"), Mapping)
        and bool(grounds.get("webSearchQueries"))
        for one in (candidates if isinstance(candidates, list) else ())
    )


def _open(outer: Fields) -> tuple[Fields, Fields, bool]:
    """The request, the response, and whether it is a line of a batch."""
    request = outer.inside("request")
    if not outer.has("response"):
        return request, outer, False
    batch = outer.has("key") or outer.has("processed_time")
    outer.passed("key", "processed_time", "status")
    return request, outer.inside("response"), batch


def _last_usage(events: list[Any]) -> object:
    """Of all that a stream sent, the last that tells usage; else the last of all."""
    if not events:
        raise AdapterError("the record", "is an empty list", "a response, or all that a stream sent")
    with_usage = (one for one in reversed(events) if isinstance(one, Mapping) and one.get("usageMetadata"))
    return next(with_usage, events[-1])
