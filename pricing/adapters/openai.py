"""OpenAI, and those who speak like it: chat completions, responses, embeddings, images, realtime; Codex.

Input includes what was read from a cache, written to one, audio and images; output includes reasoning, audio
and images, and both kinds of predicted tokens (what was rejected is billed as output). Where the total says
that reasoning was counted beside the output, as xAI does, it is added instead.

A record is a response as it was sent, or a pair `{"request": …, "response": …}`, an event of a stream that
holds the whole response, a line of a batch's output file (its service tier is `batch`), or a list of all that
a stream sent, of which the last usage counts: it is cumulative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pricing.adapters.common import (
    Adapted,
    AdapterError,
    Fields,
    Finding,
    FindingKind,
    NoUsage,
    Side,
    agreed,
    check_total,
    names_in,
    required,
    rest,
    split_input,
    split_output,
    tokens,
    units,
    who,
)
from pricing.items import Units

_STANDARD_TIERS = frozenset({"auto", "default", "standard"})
_CONTENT = names_in(
    """
    audio background billing choices completed_at conversation created created_at data error
    frequency_penalty incomplete_details input instructions max_completion_tokens max_output_tokens
    max_tool_calls modalities n object output_audio_format output_format output_modalities output_text
    parallel_tool_calls presence_penalty previous_response_id prompt prompt_cache_key
    prompt_cache_retention quality reasoning request_id response_format seed size source status
    status_details store system_fingerprint temperature text tool_choice tools top_logprobs top_p total
    truncation verbosity voice
    """
)
"""Fields of a response that are not usage. `total` is the running total of Codex's records."""
_METERS = {"web_search_call": "web_search", "file_search_call": "file_search"}
"""Hosted tools that are billed by the call, and the meter of each."""
_BILLED_OTHERWISE = frozenset({"code_interpreter_call", "image_generation_call"})
"""Hosted tools that are billed by something that a response does not tell."""
_WITHOUT_USAGE = frozenset({"failed", "cancelled", "in_progress", "queued", "incomplete"})
"""States of a response that may have none."""


class Usage(NamedTuple):
    """A usage object, read."""

    quantities: Mapping[str, int]
    given: int
    """All input."""
    answered: int
    """All output."""


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one record. Raises AdapterError."""
    findings: list[Finding] = []
    outer = Fields(_last_usage(record) if isinstance(record, list) else record, "", findings)
    request, response, tier = _open(outer)
    if not response.has("usage"):
        return _without_usage(response)
    metadata = (request.inside("metadata"), response.inside("metadata"))
    conversation = response.inside("conversation")
    whose = who(*metadata, request, response)
    served = response.text("model")
    asked = request.text("model") or served
    if asked is None:
        raise AdapterError(response.at("model"), "is missing", "the name of a model")
    said = response.text("service_tier") or ""
    usage = read_usage(response.inside("usage"), findings)
    item = tokens(
        _model(asked),
        usage.quantities,
        served_by=_model(served) if served else None,
        service_tier=tier or ("" if said in _STANDARD_TIERS else said),
    )
    adapted = Adapted(
        (item, *_hosted_tools(response)),
        tuple(findings),
        response.text("id"),
        user=whose.user,
        session=whose.session or conversation.label("id"),
        agent=whose.agent,
    )
    response.passed(*_CONTENT)
    for known in (request, conversation, *metadata):
        known.pass_all()
    outer.tell_unread()
    return replace(adapted, findings=tuple(findings))


def read_usage(fields: Fields, findings: list[Finding]) -> Usage:
    """Reads a usage object in any of the ways of OpenAI. Raises AdapterError."""
    kind = fields.text("type") or "tokens"
    if kind != "tokens":
        raise AdapterError(fields.at("type"), f"is {kind!r}", "tokens")
    given_at = fields.at("input_tokens" if fields.has("input_tokens") else "prompt_tokens")
    given = required(fields, "input_tokens", "prompt_tokens")
    answered_at = fields.at("output_tokens" if fields.has("output_tokens") else "completion_tokens")
    answered = agreed((fields, "output_tokens"), (fields, "completion_tokens"))
    total = fields.count("total_tokens")
    if answered is None and total != given:
        raise AdapterError(answered_at, "is missing", "a whole number of 0 to 10**15")
    output = _output(fields, Side(answered or 0, answered_at), given, total)
    in_all = sum(output.values())
    check_total(fields, "total_tokens", total, given + in_all)
    return Usage({**_input(fields, Side(given, given_at), findings), **output}, given, in_all)


def _input(fields: Fields, side: Side, findings: list[Finding]) -> dict[str, int]:
    details = _first(fields, "input_tokens_details", "prompt_tokens_details", "input_token_details")
    lifetimes = details.inside("cache_creation_token_details")
    known = details.has("cached_tokens_details")
    cached = details.inside("cached_tokens_details")
    written = agreed(
        (details, "cache_write_tokens"),
        (details, "cache_creation_tokens"),
        (fields, "cache_creation_input_tokens"),
        (fields, "cache_write_input_tokens"),
    )
    written_1h = lifetimes.count("ephemeral_1h_input_tokens") or 0
    whole = side._replace(
        cache_read=agreed(
            (details, "cached_tokens"), (fields, "cached_input_tokens"), (fields, "cache_read_input_tokens")
        )
        or 0,
        cache_write=rest(
            written or 0, details.at("cache_creation_tokens"), {"ephemeral_1h_input_tokens": written_1h}
        ),
        cache_write_1h=written_1h,
        audio=details.count("audio_tokens") or 0,
        image=details.count("image_tokens") or 0,
        cached_audio=(cached.count("audio_tokens") or 0) if known else None,
        cached_image=(cached.count("image_tokens") or 0) if known else None,
    )
    lifetimes.passed("ephemeral_5m_input_tokens")
    for texts in (details, cached):
        texts.passed("text_tokens")
    return split_input(whole, findings)


def _output(fields: Fields, side: Side, given: int, total: int | None) -> dict[str, int]:
    details = _first(fields, "output_tokens_details", "completion_tokens_details", "output_token_details")
    details.passed("text_tokens")
    reasoning = (
        agreed(
            (details, "reasoning_tokens"), (fields, "reasoning_output_tokens"), (fields, "reasoning_tokens")
        )
        or 0
    )
    predicted = {
        name: details.count(name) or 0
        for name in ("accepted_prediction_tokens", "rejected_prediction_tokens")
    }
    rest(side.whole, side.path, predicted)
    answered = side.whole
    if reasoning and total == given + answered + reasoning:
        fields.find(
            FindingKind.ASSUMED, "total_tokens", "reasoning is counted beside the output: it is added"
        )
        answered += reasoning
    audio, image = details.count("audio_tokens") or 0, details.count("image_tokens") or 0
    return split_output(answered, side.path, reasoning=reasoning, audio=audio, image=image)


def _first(fields: Fields, *names: str) -> Fields:
    """The first of several objects that is there, or an empty one."""
    return fields.inside(next((name for name in names if fields.has(name)), names[0]))


def _open(outer: Fields) -> tuple[Fields, Fields, str]:
    """The request, the response and the tier of service that the form of the record tells."""
    request = outer.inside("request")
    if not outer.has("response"):
        return request, outer, ""
    outer.passed("custom_id", "error", "event_id", "id", "sequence_number", "type")
    response = outer.inside("response")
    if not response.has("body"):
        return request, response, ""
    response.passed("status_code", "request_id")
    return request, response.inside("body"), "batch"


def _without_usage(response: Fields) -> NoUsage:
    """Why a record may have no usage; raises AdapterError where it must have one."""
    status, kind = response.label("status"), response.label("type", "object") or ""
    if response.has("error"):
        return NoUsage("error")
    if kind == "chat.completion.chunk" or "." in kind:
        return NoUsage("no_usage")
    if status in _WITHOUT_USAGE:
        return NoUsage(status)
    raise AdapterError(response.at("usage"), "is missing", "an object")


def _last_usage(events: list[Any]) -> object:
    """Of all that a stream sent, the last that tells usage; else the last of all."""
    for event in reversed(events):
        if isinstance(event, Mapping):
            inner = event.get("response")
            if event.get("usage") or (isinstance(inner, Mapping) and inner.get("usage")):
                return event
    if not events:
        raise AdapterError("the record", "is an empty list", "a response, or all that a stream sent")
    return events[-1]


def _hosted_tools(response: Fields) -> list[Units]:
    """The calls of tools that the provider ran and bills for beside the tokens."""
    calls: Counter[str] = Counter()
    output = response.value("output")
    for index, entry in enumerate(output if isinstance(output, list) else []):
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        action = entry.get("action") if isinstance(entry, Mapping) else None
        if kind in _BILLED_OTHERWISE:
            path = f"output[{index}]"
            response.find(FindingKind.UNCOUNTED, path, f"{kind}: what it is billed by is not in the response")
        elif kind in _METERS and not (isinstance(action, Mapping) and action.get("type") != "search"):
            calls[_METERS[kind]] += 1
    return [units(meter, count) for meter, count in sorted(calls.items())]


def _model(name: str) -> str:
    """`provider/name`: OpenAI's, unless the name says whose it is."""
    return name if "/" in name else f"openai/{name}"
