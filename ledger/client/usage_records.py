"""Usage of what providers' packages answer with, of what is logged and what is traced, by the adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ledger.client.errors import UsageError
from ledger.client.usage_items import item_of_adapters
from ledger.v1.usage_pb2 import UsageItem
from pricing.adapters import Adapted, AdapterError, NoUsage, anthropic, litellm, openai, otel
from pricing.adapters.vocabulary import model_of
from pricing.usage.items import Tokens, Units

_BARE: Final = frozenset({"input_tokens", "prompt_tokens"})
"""What a usage object has, and a response around it has not."""
_LOGGED: Final = frozenset({"call_type", "custom_llm_provider", "model_group"})
"""What a record that LiteLLM logs has, and its answer has not."""
_OTLP: Final = frozenset({"resourceSpans", "spanId", "traceId"})
_ASKS_FOR_USAGE: Final = (
    "of a stream the last chunk has it, if stream_options={'include_usage': True} asks for it"
)
_Adapt = Callable[[Any], Adapted | NoUsage]


class Warned(NamedTuple):
    """Something to look at in a record that was counted."""

    kind: str
    """The same for the same thing in another record."""
    text: str


class Read(NamedTuple):
    """The usage of what was given."""

    items: tuple[UsageItem, ...]
    warnings: tuple[Warned, ...] = ()


def of_openai(record: object, model: str | None = None) -> Read:
    """A response, its usage alone, or all that a stream sent. Raises UsageError."""
    plain = _record("openai", record)
    if isinstance(plain, list):
        return _read("openai", openai.adapt, [_asked(event, model) for event in plain])
    return _read("openai", openai.adapt, _asked(_whole("openai", plain, model), model))


def of_anthropic(record: object, model: str | None = None) -> Read:
    """A message, its usage alone, or all events of a stream. Raises UsageError."""
    return _read(
        "anthropic", anthropic.adapt, _asked(_whole("anthropic", _record("anthropic", record), model), model)
    )


def of_litellm(record: object, model: str | None = None) -> Read:
    """An answer, its usage alone, all chunks of a stream, or what LiteLLM logs. Raises UsageError.

    An answer has OpenAI's form and a bare name: whose model it is, the object knows beside its fields.
    """
    last = _last_with_usage(record) if isinstance(record, list | tuple) else record
    plain = _plain_record("litellm", last)
    asked = None if model is None else litellm.named(model)
    if plain.keys() & _LOGGED:
        return _read("litellm", litellm.adapt, plain, asked)
    if plain.keys() & _BARE:
        return _read("litellm", litellm.adapt, _whole("litellm", plain, model))
    if not plain.get("usage"):
        raise UsageError(f"litellm: has no usage: {_ASKS_FOR_USAGE}")
    hidden = getattr(last, "_hidden_params", None) or {}
    found = hidden.get("litellm_model_name")
    provider = hidden.get("custom_llm_provider") or _provider(model or found)
    logged = {
        "id": plain.get("id"),
        "model": plain.get("model"),
        "custom_llm_provider": provider,
        "cache_hit": hidden.get("cache_hit"),
    }
    if asked is None and found:
        asked = litellm.named(found)
    return _read("litellm", litellm.adapt, {**logged, "response": plain}, asked)


def _last_with_usage(chunks: Sequence[object]) -> object:
    """Usage is cumulative over a stream."""
    with_usage = (chunk for chunk in reversed(chunks) if _plain_record("litellm", chunk).get("usage"))
    found = next(with_usage, None)
    if found is None:
        raise UsageError(f"litellm: no chunk has usage: {_ASKS_FOR_USAGE}")
    return found


def of_otel(record: object) -> Read:
    """A span of OpenTelemetry's package, its attributes alone, OTLP/JSON, or several. Raises UsageError.

    Of spans within each other the deepest count: give them together, or those of calls alone.
    """
    spans = [span for one in each(record) for span in _spans(one)]
    tree = otel.Tree()
    for span in spans:
        tree.add(span)
    tree.close()
    read = [_read("otel", lambda span: otel.adapt(span, tree), span) for span in spans]
    items = (item for one in read for item in one.items)
    return Read(tuple(items), tuple(warned for one in read for warned in one.warnings))


def each(given: object) -> Sequence[object]:
    """What was given, one or several."""
    return given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else (given,)


def _spans(record: object) -> Iterable[otel.Span]:
    if isinstance(record, Mapping):
        if not record.keys() & _OTLP:
            return [otel.Span("", "", "", record)]
        return [_found(span) for span in otel.spans(record)]
    attributes, context = getattr(record, "attributes", None), getattr(record, "context", None)
    if not isinstance(attributes, Mapping) or context is None:
        raise UsageError(f"otel: is {type(record).__name__} (allowed: a span, its attributes, or OTLP/JSON)")
    parent = getattr(record, "parent", None)
    above = "" if parent is None else f"{parent.span_id:016x}"
    return [otel.Span(f"{context.trace_id:032x}", f"{context.span_id:016x}", above, attributes)]


def _found(span: otel.Span | AdapterError) -> otel.Span:
    if isinstance(span, AdapterError):
        raise UsageError(f"otel: {span}")
    return span


def _read(source: str, adapt: _Adapt, record: object, model: str | None = None) -> Read:
    """What an adapter makes of a record; `model` is what was asked for, where the record cannot say it."""
    try:
        adapted = adapt(record)
    except AdapterError as refused:
        raise UsageError(f"{source}: {refused}") from None
    warnings = tuple(
        Warned(f"{source} {found.kind} {found.path}", f"{source}: {found.kind}: {found}")
        for found in adapted.findings
    )
    if isinstance(adapted, NoUsage):
        text = f"{source}: nothing is counted: {adapted.reason}"
        return Read((), (*warnings, Warned(text, text)))
    first, *others = adapted.items
    return Read(tuple(map(item_of_adapters, (_asked_for(first, model), *others))), warnings)


def _asked_for(item: Tokens | Units, model: str | None) -> Tokens | Units:
    if model is None or not isinstance(item, Tokens):
        return item
    asked = model if "/" in model else model_of(_provider(item.model) or "", model)
    return item._replace(model=asked, served_by=None if item.ran == asked else item.ran)


def _provider(model: str | None) -> str | None:
    provider, slash, _ = (model or "").partition("/")
    return provider if slash else None


def _whole(source: str, plain: object, model: str | None) -> object:
    """A response; of a usage object alone one is made with the model, which it does not name."""
    if not isinstance(plain, Mapping) or not plain.keys() & _BARE:
        return plain
    if model is None:
        raise UsageError(f"{source}: a usage object names no model: give model='provider/name' with it")
    return {"model": model, "usage": plain}


def _asked(record: object, model: str | None) -> object:
    """A record with what was asked for beside what answered."""
    if model is None:
        return record
    if isinstance(record, Mapping) and record.get("response") is not None:
        return {**record, "request": {"model": model}}
    return {"request": {"model": model}, "response": record}


def _record(source: str, given: object) -> Any:
    """An object, or a list of them, as JSON has them. Raises UsageError: a stream itself has no usage."""
    plain = _plain(given)
    if not isinstance(plain, Mapping | list):
        allowed = "an answer, its usage, or a list of all that its stream sent"
        raise UsageError(f"{source}: is {type(given).__name__} (allowed: {allowed})")
    return plain


def _plain_record(source: str, given: object) -> Mapping[str, Any]:
    """One object. Raises UsageError."""
    plain = _record(source, given)
    if not isinstance(plain, Mapping):
        raise UsageError(f"{source}: is a list within a list (allowed: a list of all that a stream sent)")
    return plain


def _plain(value: object) -> Any:
    """Objects of packages as JSON has them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(warnings=False)
