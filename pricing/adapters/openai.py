"""OpenAI, and those who speak like it: chat completions, responses, embeddings, images, realtime; Codex.

Input includes what was read from a cache, written to one, audio and images; output includes reasoning, audio
and images, and both kinds of predicted tokens (what was rejected is billed as output). Where reasoning was
counted beside the output, as xAI, Perplexity and Gemini do, it is added instead, and that is reported.

A record is a response as it was sent, or a pair `{"request": …, "response": …}`, an event of a stream that
holds the whole response, a line of a batch's output file (its service tier is `batch`), a batch itself with
the sum of its usage, or a list of all that a stream sent, of which the last usage counts: it is cumulative.
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
    TokenSide,
    agreed,
    check_total,
    count_of,
    names_in,
    required,
    rest,
    server_tools,
    split_input,
    split_output,
    tokens,
    units,
    who,
    writes,
)
from pricing.adapters.vocabulary import (
    CACHE_READ,
    CACHE_WRITE,
    MONEY,
    NOT_CACHED,
    REASONING,
    SECONDS,
    asked_of,
    served_for,
    tier_of,
)

_CONTENT = names_in(
    """
    audio b64_json background billing choices citations completed_at conversation created created_at data
    error frequency_penalty incomplete_details input instructions max_completion_tokens max_output_tokens
    max_tool_calls modalities n object output_audio_format output_format output_modalities output_text
    parallel_tool_calls presence_penalty previous_response_id prompt prompt_cache_key
    prompt_cache_retention provider quality reasoning request_id response_format search_results seed size
    source status
    status_details store system_fingerprint temperature text tool_choice tools top_logprobs top_p total
    truncation verbosity voice
    """
)
"""Fields of a response that are not usage. `total` is the running total of Codex's, which `codex` reads."""
_BATCH_CONTENT = names_in(
    """
    cancelled_at cancelling_at completion_window endpoint error_file_id errors expired_at expires_at failed_at
    finalizing_at in_progress_at input_file_id output_expires_after output_file_id
    """
)
"""Fields of a batch that are not usage."""
_BESIDE = frozenset({"perplexity"})
"""Providers that always count reasoning beside the output."""
_BESIDE_UNTOLD = frozenset({"perplexity", "x-ai"})
"""Providers that count it so where no total says otherwise."""
_METERS = {"web_search_call": "web_search", "file_search_call": "file_search"}
"""Hosted tools that are billed by the call, and the meter of each."""
_BILLED_OTHERWISE = frozenset({"code_interpreter_call", "image_generation_call"})
"""Hosted tools that are billed by something that a response does not tell."""
_BY_REQUEST = ("perplexity/",)
"""Whose searches are in the price of a request."""
_WITHOUT_USAGE = frozenset({"failed", "cancelled", "in_progress", "queued", "incomplete"})
"""States of a response that may have none."""


class OpenAIUsage(NamedTuple):
    """A usage object, read."""

    quantities: Mapping[str, int]
    all_input: int
    """All input."""
    all_output: int
    """All output as the record says it."""
    tools: Mapping[str, int]
    """What tools of the provider are billed by, by meter."""


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
    name = request.text("model") or served
    if name is None:
        raise AdapterError(response.at("model"), "is missing", "the name of a model")
    asked = asked_of("openai", name)
    requests = _requests_of_batch(response)
    usage = read_usage(response.inside("usage"), findings, model=asked, images=_makes_images(response))
    item = tokens(
        asked,
        usage.quantities,
        served_by=served_for(asked, served) if served else None,
        service_tier=_tier(request, response, tier or ("batch" if requests is not None else "")),
        requests=1 if requests is None else requests,
    )
    tools = _hosted_tools(response, asked, usage.tools)
    adapted = Adapted(
        (item, *(units(meter, count) for meter, count in sorted(tools.items()) if count)),
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


def read_usage(
    fields: Fields, findings: list[Finding], *, model: str = "", images: bool = False
) -> OpenAIUsage:
    """Reads a usage object in any of the ways of OpenAI. Raises AdapterError.

    `model` is the one that was asked for: some providers count reasoning beside the output. `images`: all
    output is images where the object does not tell it apart.
    """
    kind = fields.text("type") or "tokens"
    if kind != "tokens":
        raise AdapterError(fields.at("type"), f"is {kind!r}", "tokens")
    input_at = fields.at("input_tokens" if fields.has("input_tokens") else "prompt_tokens")
    all_input = required(fields, "input_tokens", "prompt_tokens")
    output_at = fields.at("output_tokens" if fields.has("output_tokens") else "completion_tokens")
    all_output = agreed((fields, "output_tokens"), (fields, "completion_tokens"))
    total = fields.count("total_tokens")
    if all_output is None and total != all_input:
        raise AdapterError(output_at, "is missing", "a whole number of 0 to 10**15")
    details = _first(fields, "input_tokens_details", "prompt_tokens_details", "input_token_details")
    searches = count_of((details, ("web_search_requests",)), (fields, ("num_search_queries",)))
    side = TokenSide(all_output or 0, output_at)
    output = _output(
        fields, side, left=None if total is None else total - all_input, model=model, images=images
    )
    in_all = sum(output.values())
    if total != all_input + side.whole or in_all == side.whole:
        check_total(fields, "total_tokens", total, all_input + in_all)
    quantities = {**_input(fields, details, TokenSide(all_input, input_at), findings), **output}
    fields.passed(*NOT_CACHED, *MONEY, *SECONDS, "search_context_size")
    tools = server_tools(fields.inside("server_tool_use"))
    return OpenAIUsage(
        quantities, all_input, side.whole, {"web_search": searches} | {k: v for k, v in tools.items() if v}
    )


def _input(fields: Fields, details: Fields, side: TokenSide, findings: list[Finding]) -> dict[str, int]:
    known = details.has("cached_tokens_details")
    cached = details.inside("cached_tokens_details")
    lifetimes = details.inside("cache_creation_token_details")
    written = writes(
        details,
        "cache_creation_tokens",
        agreed(*((place, name) for place in (details, fields) for name in CACHE_WRITE)),
        lifetimes.count("ephemeral_5m_input_tokens"),
        lifetimes.count("ephemeral_1h_input_tokens"),
    )
    whole = side._replace(
        cache_write=written["cache_write"],
        cache_write_1h=written["cache_write_1h"],
        cache_read=count_of((details, CACHE_READ), (fields, CACHE_READ)),
        audio=details.count("audio_tokens") or 0,
        image=details.count("image_tokens") or 0,
        cached_audio=(cached.count("audio_tokens") or 0) if known else None,
        cached_image=(cached.count("image_tokens") or 0) if known else None,
    )
    for texts in (details, cached):
        texts.passed("text_tokens", *NOT_CACHED)
    return split_input(whole, findings)


def _output(fields: Fields, side: TokenSide, *, left: int | None, model: str, images: bool) -> dict[str, int]:
    """Disjoint quantities of the output; `left` is what the total leaves for it."""
    names = ("output_tokens_details", "completion_tokens_details", "output_token_details")
    is_parted = any(fields.has(name) for name in names)
    details = _first(fields, *names)
    details.passed("text_tokens")
    reasoning = count_of((details, REASONING), (fields, REASONING))
    predicted = {
        name: details.count(name) or 0
        for name in ("accepted_prediction_tokens", "rejected_prediction_tokens")
    }
    rest(side.whole, side.path, predicted)
    beside = _beside(side.whole, reasoning, left, model)
    if beside:
        text = f"{beside} tokens of reasoning are counted beside the output: they are added"
        fields.find(FindingKind.ASSUMED, "total_tokens", text)
    audio, image = details.count("audio_tokens") or 0, details.count("image_tokens") or 0
    if images and not is_parted:
        image = side.whole
    return split_output(
        side.whole + beside, side.path, reasoning=reasoning or beside, audio=audio, image=image
    )


def _beside(all_output: int, reasoning: int, left: int | None, model: str) -> int:
    """How many tokens of reasoning an output does not include, by the total or by whose it is."""
    provider, _, name = model.partition("/")
    if not reasoning:
        # Gemini says in this form what was thought in its total alone.
        return left - all_output if left is not None and left > all_output and "gemini" in name else 0
    is_beside = (
        reasoning > all_output
        or provider in _BESIDE
        or (left is None and provider in _BESIDE_UNTOLD)
        or left == all_output + reasoning
    )
    return reasoning if is_beside else 0


def _tier(request: Fields, response: Fields, form: str) -> str:
    """The tier that the form of the record tells, else the one that served, else the one asked for."""
    served, asked = response.text("service_tier"), request.label("service_tier")
    if form:
        return form
    tier = tier_of(served, asked)
    if tier and not served:
        response.find(
            FindingKind.ASSUMED, "service_tier", f"not reported: {tier!r} was asked for, and is taken"
        )
    return tier


def _requests_of_batch(response: Fields) -> int | None:
    """How many requests the usage of a batch is the sum of; None: the record is no batch."""
    if response.peek("object") != "batch":
        return None
    counts = response.inside("request_counts")
    requests = required(counts, "completed")
    counts.passed("total", "failed")
    response.passed(*_BATCH_CONTENT)
    return requests


def _makes_images(response: Fields) -> bool:
    """Whether it is an answer of the images API."""
    data = response.peek("data")
    first = data[0] if isinstance(data, list) and data else None
    kind = response.peek("type")
    return (isinstance(first, Mapping) and bool({"b64_json", "url"} & first.keys())) or (
        isinstance(kind, str) and kind.startswith(("image_generation.", "image_edit."))
    )


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
    if kind in {"chat.completion.chunk", "batch"} or "." in kind:
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


def _hosted_tools(response: Fields, model: str, reported: Mapping[str, int]) -> Mapping[str, int]:
    """What is billed beside the tokens, by meter: as the usage says it, else by what was done."""
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
    found = {**calls, **{meter: count for meter, count in reported.items() if count}}
    cites = _cites(response.peek("choices")) and not model.startswith(_BY_REQUEST)
    if cites and not found.get("web_search"):
        if "search" in model:
            found["web_search"] = 1
        else:
            text = "pages of the web are cited: how many searches are billed is not in the response"
            response.find(FindingKind.UNCOUNTED, "choices", text)
    return found


def _cites(choices: object) -> bool:
    """Whether an answer cites pages of the web."""
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, Mapping) else None
        notes = message.get("annotations") if isinstance(message, Mapping) else None
        for note in notes if isinstance(notes, list) else ():
            if isinstance(note, Mapping) and note.get("type") == "url_citation":
                return True
    return False
