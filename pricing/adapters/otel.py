"""OpenTelemetry spans with `gen_ai.*` attributes, as OTLP/JSON.

By the semantic conventions input includes what was read from and written to a cache, and output includes
reasoning; the names of all their versions are read, and those of instrumentations that had their own before.
Input that is smaller than what was cached can only have been counted without it, as older instrumentations of
Anthropic do: it is read so, and reported.

A call of a model is often reported by several spans, one within the other: a framework's, an agent's, and
that of the call itself. The deepest one with usage counts, its ancestors do not, and where theirs is not the
sum of those within, that is reported. A call that a tool or an agent made while a model's span was open is
another call: that span counts beside it. So a `Tree` is made of all spans first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
    split_input,
    split_output,
    tokens,
    who,
)
from pricing.adapters.vocabulary import (
    CACHE_READ,
    CACHE_WRITE,
    MONEY,
    NOT_CACHED,
    REASONING,
    model_of,
    provider_id,
    served_for,
    tier_of,
)

_USAGE = "gen_ai.usage."
_AI_SDK = "ai.usage."
_OF_INPUT = (f"{_AI_SDK}inputTokenDetails.", f"{_USAGE}details.", _AI_SDK)
_OF_OUTPUT = (f"{_AI_SDK}outputTokenDetails.", f"{_USAGE}details.", _AI_SDK)
"""Where else than in `gen_ai.usage.` counts stand under the names that all formats share."""
_INPUT = (
    f"{_USAGE}input_tokens",
    f"{_USAGE}prompt_tokens",
    f"{_AI_SDK}inputTokens",
    f"{_AI_SDK}promptTokens",
)
_OUTPUT = (
    f"{_USAGE}output_tokens",
    f"{_USAGE}completion_tokens",
    f"{_AI_SDK}outputTokens",
    f"{_AI_SDK}completionTokens",
)
_CACHE_READ = (
    f"{_USAGE}cache_read.input_tokens",
    f"{_USAGE}input_tokens.cached",
    *(f"{place}{name}" for place in (_USAGE, *_OF_INPUT) for name in CACHE_READ),
)
_CACHE_WRITE = (
    f"{_USAGE}cache_write.input_tokens",
    f"{_USAGE}cache_creation.input_tokens",
    f"{_USAGE}input_tokens.cache_write",
    *(f"{place}{name}" for place in (_USAGE, *_OF_INPUT) for name in CACHE_WRITE),
)
_REASONING = (
    f"{_USAGE}reasoning.output_tokens",
    f"{_USAGE}output_tokens.reasoning",
    *(f"{place}{name}" for place in (_USAGE, *_OF_OUTPUT) for name in REASONING),
)
_TOTALS = (f"{_USAGE}total_tokens", f"{_AI_SDK}totalTokens", f"{_AI_SDK}tokens")
_OPERATION = "gen_ai.operation.name"
_KNOWN = (
    f"{_USAGE}text.input_tokens",
    f"{_USAGE}text.output_tokens",
    f"{_USAGE}text.cache_read.input_tokens",
    f"{_AI_SDK}outputTokenDetails.textTokens",
    *(f"{place}{name}" for place in (_USAGE, *_OF_INPUT) for name in NOT_CACHED),
    *(f"{_USAGE}{name}" for name in MONEY),
)
_TIERS = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.response.service_tier",
    "aws.bedrock.response.service_tier",
)
_ASKED_TIERS = (
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
    "gen_ai.request.service_tier",
)
_INFERENCE = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations that are one call of a model."""
_PASSES = frozenset({"execute_tool", "invoke_agent", "invoke_workflow", "create_agent"})
"""Operations within which a model is called anew."""
_AI_SDK_CALL = ".do"
"""What the AI SDK's spans of one call have in their `ai.operationId`, and those above them do not."""
_DEPTH_MAX = 1000
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_VALUES = ("stringValue", "doubleValue", "boolValue", "arrayValue", "kvlistValue", "bytesValue")


class Span(NamedTuple):
    """One span, its attributes as plain values."""

    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What names it everywhere."""
        return f"{self.trace_id}/{self.span_id}"


def spans(record: object) -> Iterator[Span | AdapterError]:
    """The spans of an export request (`resourceSpans`), or a single one; of one that is none, why."""
    try:
        found = list(_found(record))
    except AdapterError as refused:
        yield refused
        return
    for path, span in found:
        try:
            yield _span(Fields(span, path, []))
        except AdapterError as refused:
            yield refused


def _found(record: object) -> Iterator[tuple[str, object]]:
    """The path of each span and what is there."""
    request = Fields(record, "", [])
    if not request.has("resourceSpans"):
        yield "", record
        return
    for resource in request.each("resourceSpans"):
        for scope in resource.each("scopeSpans"):
            path, listed = scope.at("spans"), scope.value("spans")
            if not isinstance(listed, list | None):
                raise AdapterError(path, "is no list", "a list of spans")
            for index, span in enumerate(listed or ()):
                yield f"{path}[{index}]", span


@dataclass(slots=True)
class _Node:
    parent_id: str
    passes: bool
    inference: bool
    total: int | None
    """Of its own usage; None if it has none, or none that can be read."""
    has_usage: bool
    within: int = 0
    """The sum of the usage of the nearest spans within it."""
    covered: bool = False


@dataclass(slots=True)
class Tree:
    """Which spans are reported again by spans within them. Feed it all, then `close` it."""

    _nodes: dict[str, _Node] = field(default_factory=dict)

    def add(self, span: Span) -> None:
        """Notes a span; one that comes again changes nothing."""
        operation = span.attributes.get(_OPERATION)
        has_usage = _has_usage(span)
        parent = f"{span.trace_id}/{span.parent_id}" if span.parent_id else ""
        node = _Node(
            parent,
            operation in _PASSES,
            operation in _INFERENCE,
            _total(span) if has_usage else None,
            has_usage,
        )
        self._nodes.setdefault(span.key, node)

    def close(self) -> Tree:
        """Finds what covers what, once all spans are there."""
        for node in self._nodes.values():
            if node.has_usage:
                self._cover(node)
        return self

    def _cover(self, node: _Node) -> None:
        passed = node.passes
        above = self._nodes.get(node.parent_id)
        for _ in range(_DEPTH_MAX):
            if above is None:
                return
            if above.has_usage and not (passed and above.inference):
                above.covered = True
                above.within += node.total or 0
                return
            passed = passed or above.passes
            above = self._nodes.get(above.parent_id)

    def within(self, span: Span) -> int | None:
        """The usage of the spans within this one that count instead of it; None where it counts itself."""
        node = self._nodes.get(span.key)
        return node.within if node is not None and node.covered else None


def adapt(span: Span, tree: Tree) -> Adapted | NoUsage:
    """Adapts one span. Raises AdapterError."""
    findings: list[Finding] = []
    fields = Fields(span.attributes, "attributes", findings)
    if not _has_usage(span):
        _tell_unread(fields)
        return NoUsage("no_usage", tuple(findings))
    within = tree.within(span)
    if within is not None:
        total = _total(span)
        if total is not None and total != within:
            text = f"{total} tokens, where the spans within it, which are counted, say {within}"
            fields.find(FindingKind.MISMATCH, _USAGE.removesuffix("."), text)
        return NoUsage("aggregate", tuple(findings))
    if _sums_up(span):
        text = "a sum over calls, none of which has a span here: it counts as one request"
        fields.find(FindingKind.ASSUMED, _USAGE.removesuffix("."), text)
    quantities = _quantities(fields, findings)
    asked, served = _models(fields)
    whose = who(fields)
    adapted = Adapted(
        (
            tokens(
                asked,
                quantities,
                served_by=served,
                service_tier=_tier(fields),
            ),
        ),
        record_id=span.key,
        user=whose.user or fields.label("user.id", "enduser.id"),
        session=whose.session or fields.label("gen_ai.conversation.id", "session.id"),
        agent=whose.agent or fields.label("gen_ai.agent.name"),
    )
    _tell_unread(fields)
    return replace(adapted, findings=tuple(findings))


def _tell_unread(fields: Fields) -> None:
    """Only what is said of usage: a span has attributes of all kinds."""
    usage = (_USAGE, _AI_SDK)
    fields.passed(*(name for name in fields.names() if not name.startswith(usage)), *_KNOWN)
    fields.tell_unread()


def _quantities(fields: Fields, findings: list[Finding]) -> dict[str, int]:
    input_at = next((name for name in _INPUT if fields.has(name)), _INPUT[0])
    output_at = next((name for name in _OUTPUT if fields.has(name)), _OUTPUT[0])
    all_input, all_output = _first(fields, _INPUT), _first(fields, _OUTPUT)
    read, written = _first(fields, _CACHE_READ) or 0, _first(fields, _CACHE_WRITE) or 0
    total_at = next((name for name in _TOTALS if fields.has(name)), _TOTALS[0])
    total = _first(fields, _TOTALS)
    if all_input is None:
        raise AdapterError(fields.at(input_at), "is missing", "a whole number of 0 to 10**15")
    if all_output is None and fields.value(_OPERATION) != "embeddings" and total != all_input:
        raise AdapterError(fields.at(output_at), "is missing", "a whole number of 0 to 10**15")
    whole = all_input
    if whole < read + written:
        text = f"{whole}, less than the {read + written} that were cached: these are counted beside it"
        fields.find(FindingKind.ASSUMED, input_at, text)
        whole += read + written
    cached = {what: fields.count(f"{_USAGE}{what}.cache_read.input_tokens") for what in ("audio", "image")}
    side = TokenSide(
        whole,
        fields.at(input_at),
        cache_read=read,
        cache_write=written,
        audio=fields.count(f"{_USAGE}audio.input_tokens") or 0,
        image=fields.count(f"{_USAGE}image.input_tokens") or 0,
        cached_audio=cached["audio"],
        cached_image=cached["image"],
    )
    output = split_output(
        all_output or 0,
        fields.at(output_at),
        reasoning=_first(fields, _REASONING) or 0,
        audio=fields.count(f"{_USAGE}audio.output_tokens") or 0,
        image=fields.count(f"{_USAGE}image.output_tokens") or 0,
    )
    check_total(fields, total_at, total, whole + (all_output or 0))
    return {**split_input(side, findings), **output}


def _first(fields: Fields, names: Iterable[str]) -> int | None:
    return agreed(*((fields, name) for name in names))


def _models(fields: Fields) -> tuple[str, str]:
    """The model asked for and the one that served."""
    asked = fields.texts("gen_ai.request.model", "ai.model.id")
    served = fields.texts("gen_ai.response.model", "ai.response.model")
    provider = fields.texts("gen_ai.provider.name", "gen_ai.system", "ai.model.provider")
    name = asked or served
    if name is None:
        raise AdapterError(fields.at("gen_ai.request.model"), "is missing", "the name of a model")
    if provider is None:
        raise AdapterError(fields.at("gen_ai.provider.name"), "is missing", "the name of a provider")
    model = _of_client(provider_id(provider), name)
    return model, served_for(model, served or name)


def _of_client(provider: str, name: str) -> str:
    """The model asked for; many hosts are called by OpenAI's client: there, a name may say whose it is."""
    return name if provider == "openai" and "/" in name else model_of(provider, name)


def _tier(fields: Fields) -> str:
    """The tier that served, else the one that was asked for, which may not be the one that served."""
    served, asked = fields.texts(*_TIERS), fields.texts(*_ASKED_TIERS)
    tier = tier_of(served, asked)
    if tier and not served:
        text = f"the response names no tier: {tier!r} was asked for, and is taken"
        fields.find(FindingKind.ASSUMED, _ASKED_TIERS[0], text)
    return tier


def _sums_up(span: Span) -> bool:
    """Whether a span is one that sums up calls: an agent's, a tool's, or the outer ones of the AI SDK."""
    operation = span.attributes.get("ai.operationId")
    outer = isinstance(operation, str) and _AI_SDK_CALL not in operation and "ai.embed" not in operation
    return span.attributes.get(_OPERATION) in _PASSES or outer


def _has_usage(span: Span) -> bool:
    return any(span.attributes.get(name) is not None for name in (*_INPUT, *_OUTPUT))


def _total(span: Span) -> int | None:
    """All tokens of a span's own usage; None where they cannot be read."""
    fields = Fields(span.attributes, "", [])
    try:
        all_input, all_output = _first(fields, _INPUT) or 0, _first(fields, _OUTPUT) or 0
        cached = (_first(fields, _CACHE_READ) or 0) + (_first(fields, _CACHE_WRITE) or 0)
    except AdapterError:
        return None
    return all_input + all_output + (cached if all_input < cached else 0)


def _span(fields: Fields) -> Span:
    trace_id, span_id = fields.text("traceId"), fields.text("spanId")
    for name, value in (("traceId", trace_id), ("spanId", span_id)):
        if value is None:
            raise AdapterError(fields.at(name), "is missing", "a span, or a request with resourceSpans")
    attributes: dict[str, Any] = {}
    for entry in fields.each("attributes"):
        key = entry.text("key")
        if key is None or key in attributes:
            raise AdapterError(entry.at("key"), "is missing or comes twice", "a name of its own")
        attributes[key] = _plain(entry.inside("value"))
    return Span(trace_id or "", span_id or "", fields.text("parentSpanId") or "", attributes)


def _plain(value: Fields) -> Any:
    """A value of OTLP/JSON, whose whole numbers may be texts."""
    whole = value.value("intValue")
    if whole is not None:
        return int(whole) if isinstance(whole, str) and _WHOLE.fullmatch(whole) else whole
    return next((value.peek(name) for name in _VALUES if value.has(name)), None)
