"""From the objects of providers' packages, and from what a program measures, to items of usage."""

from __future__ import annotations

import json
import logging
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from ledger.cli.replaying.csv_records import Record, RecordFormat
from ledger.cli.replaying.provider_records import open_provider_records
from ledger.client.errors import CreditsError, UsageError
from ledger.client.usage import Converted, convert
from ledger.v1.usage_pb2 import OUTCOME_RESULT_FAILED, ComputeUsage, TokenUsage, UsageItem

SAMPLE = Path(__file__).parents[3] / "ledger" / "sample" / "records"
_RECORD = Path(__file__).parent / "recorded" / "litellm.json"
RECORDED = json.loads(_RECORD.read_text(encoding="utf-8"))["records"]
"""Objects of LiteLLM's package with the items that they are: a test of the distribution holds that its
package makes such objects, and the client such items of them."""
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-2025-08-07",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {
        "prompt_tokens": 2600,
        "completion_tokens": 300,
        "total_tokens": 2900,
        "prompt_tokens_details": {"cached_tokens": 2000},
        "completion_tokens_details": {"reasoning_tokens": 120},
    },
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1.0,
    "model": "gpt-5",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 30,
        "output_tokens": 30,
        "service_tier": "standard",
    },
}
ANTHROPIC_MODEL = "anthropic/claude-sonnet-4-5"
ANTHROPIC_SERVED = "anthropic/claude-sonnet-4-5-20250929"


class Recorded:
    """An object of LiteLLM's package, as far as it is looked at."""

    def __init__(self, fields: dict[str, Any], hidden: dict[str, Any]) -> None:
        self._fields = fields
        self._hidden_params = hidden

    def model_dump(self, *, warnings: bool) -> dict[str, Any]:
        return self._fields


def tokens(model: str, served_by: str = "", **quantities: int) -> tuple[UsageItem, ...]:
    """One item of tokens of one request."""
    return (UsageItem(tokens=TokenUsage(model=model, served_by=served_by, requests=1, **quantities)),)


def provided(kind: str, plain: dict[str, Any]) -> Any:
    """An object of a provider's package. It takes seconds to import, so only who makes one does."""
    module, _, name = kind.rpartition(".")
    return getattr(import_module(module), name).model_validate(plain)


completion = partial(provided, "openai.types.chat.ChatCompletion")


def chunk(**fields: Any) -> Any:
    plain = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", "choices": []}
    return provided("openai.types.chat.ChatCompletionChunk", plain | fields)


IN_CHAT = {"input": 600, "cache_read": 2000, "output": 180, "reasoning": 120}
IN_MESSAGE = {"input": 20, "cache_read": 200, "cache_write": 30, "output": 30}


@pytest.mark.parametrize("form", [completion, dict, UserDict], ids=["object", "dict", "map"])
def test_chat_completions_of_openai(form) -> None:
    """As the package has them, or as a dict: what was asked for is said, what served is in the answer."""
    found = convert(openai=form(CHAT), model="openai/gpt-5")
    assert found.items == tokens("openai/gpt-5", "openai/gpt-5-2025-08-07", **IN_CHAT)
    assert found.warnings == ()
    assert convert(openai=form(CHAT)).items == tokens("openai/gpt-5-2025-08-07", **IN_CHAT)


def test_their_usage_alone() -> None:
    """It needs a model, which it does not name: bare, it is OpenAI's."""
    usage = completion(CHAT).usage
    for model in ("openai/gpt-5", "gpt-5"):
        assert convert(openai=usage, model=model).items == tokens("openai/gpt-5", **IN_CHAT)
    with pytest.raises(UsageError, match="names no model: give model='provider/name'"):
        convert(openai=usage)


def test_a_provider_that_is_called_by_openais_package() -> None:
    """The model that was asked for says whose it is: the bare name in the answer is its too."""
    found = convert(openai=completion(CHAT | {"model": "chat"}), model="deepseek/chat")
    assert found.items == tokens("deepseek/chat", **IN_CHAT)


def test_streams_of_openai() -> None:
    """All chunks, or the last; one without usage counts nothing, and says so. No usage at all is refused."""
    usage = chunk(usage=CHAT["usage"])
    for record in ([chunk(), usage], usage):
        assert convert(openai=record, model="openai/gpt-5").items == tokens("openai/gpt-5", **IN_CHAT)
    nothing = convert(openai=chunk())
    assert (nothing.items, nothing.warnings) == ((), ("openai: nothing is counted: no_usage",))
    with pytest.raises(UsageError, match="openai: is None"):
        convert(openai=chunk().usage, model="openai/gpt-5")


def test_responses_of_openai() -> None:
    """The other API: its object, its usage, and the event that ends a stream."""
    response = provided("openai.types.responses.Response", RESPONSE)
    expected = tokens("openai/gpt-5", input=6, cache_read=4, output=3, reasoning=2)
    ended = [{"type": "response.created"}, {"type": "response.completed", "response": RESPONSE}]
    for record in (response, response.usage, ended):
        assert convert(openai=record, model="openai/gpt-5").items == expected


def test_embeddings_of_openai() -> None:
    """They have no output."""
    vector = {"object": "embedding", "index": 0, "embedding": [0.1]}
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    answer = provided(
        "openai.types.CreateEmbeddingResponse",
        {"object": "list", "model": "text-embedding-3-small", "data": [vector], "usage": usage},
    )
    assert convert(openai=answer).items == tokens("openai/text-embedding-3-small", input=8, output=0)


@pytest.mark.parametrize("kind", ["anthropic.types.Message", "anthropic.types.beta.BetaMessage"])
def test_messages_of_anthropic(kind: str) -> None:
    """The object, and its usage alone."""
    message = provided(kind, MESSAGE)
    expected = tokens(ANTHROPIC_MODEL, ANTHROPIC_SERVED, **IN_MESSAGE)
    assert convert(anthropic=message, model=ANTHROPIC_MODEL).items == expected
    assert convert(anthropic=message).items == tokens(ANTHROPIC_SERVED, **IN_MESSAGE)
    alone = convert(anthropic=message.usage, model="claude-sonnet-4-5")
    assert (alone.items, alone.warnings) == (tokens(ANTHROPIC_MODEL, **IN_MESSAGE), ())


def test_streams_of_anthropic() -> None:
    """All events: what was read is in the first, what was written in the last."""
    begun = {"type": "message_start", "message": MESSAGE | {"usage": MESSAGE["usage"] | {"output_tokens": 1}}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}}
    expected = tokens(ANTHROPIC_MODEL, ANTHROPIC_SERVED, **IN_MESSAGE)
    assert convert(anthropic=[begun, ended], model=ANTHROPIC_MODEL).items == expected


@pytest.mark.parametrize("name", RECORDED)
def test_objects_of_litellm(name: str) -> None:
    """Counts are OpenAI's whoever answers; whose model it is the object knows, by the catalog's names."""
    record = RECORDED[name]
    objects = [Recorded(**each) for each in record["objects"]]
    model = {"model": record["model"]} if "model" in record else {}
    found = convert(litellm=objects if name.endswith("stream") else objects[0], **model)
    assert [MessageToDict(item) for item in found.items] == record["items"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("openai/gpt-5", "openai/gpt-5"),
        ("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gemini/gemini-2.5-pro", "google/gemini-2.5-pro"),
    ],
)
def test_one_call_is_of_one_model_in_whatever_form_it_comes(prefix: str, model: str) -> None:
    """An answer, its usage, a stream, a log and a dict are priced as the same, by the catalog's name."""
    forms = [RECORDED[f"{prefix}: {form}"]["items"] for form in ("answer", "usage", "stream", "logged")]
    forms.append([MessageToDict(item) for item in _answer(prefix, model=prefix).items])
    for items in forms:
        (item,) = items
        assert item["tokens"]["model"] == model
        assert item["tokens"] | {"servedBy": ""} == forms[0][0]["tokens"] | {"servedBy": ""}


def _answer(name: str, **beside: str) -> Converted:
    return convert(litellm=RECORDED[f"{name}: answer"]["objects"][0]["fields"], **beside)


def test_an_answer_of_litellms_own_cache() -> None:
    """It is priced as asked, and served by `cache`."""
    (record,) = RECORDED["openai/gpt-5: answer"]["objects"]
    hit = Recorded(record["fields"], {**record["hidden"], "cache_hit": True})
    assert convert(litellm=hit).items == tokens("openai/gpt-5", "cache", **IN_CHAT)


def test_a_stream_of_litellm_without_usage() -> None:
    """Refused, as chunks and as the last one alone, with what asks for it. Chunks may be in a tuple."""
    chunks = tuple(Recorded(**each) for each in RECORDED["openai/gpt-5: stream"]["objects"])
    assert convert(litellm=chunks).items == tokens("openai/gpt-5", **IN_CHAT)
    for without in (chunks[:1], [], chunks[0]):
        with pytest.raises(UsageError, match=r"usage: of a stream .* stream_options"):
            convert(litellm=without)


def test_what_litellm_logs() -> None:
    """The payload that a callback is given."""
    payload = {
        "id": "1",
        "call_type": "acompletion",
        "model": "gpt-5",
        "custom_llm_provider": "openai",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "metadata": {"usage_object": RESPONSE["usage"]},
    }
    expected = tokens("openai/gpt-5", input=6, cache_read=4, output=3, reasoning=2)
    assert convert(litellm=payload).items == expected


def _span(attributes: dict[str, Any], above: Any = None) -> ReadableSpan:
    provider = TracerProvider()
    context = None
    if above is not None:
        context = set_span_in_context(NonRecordingSpan(above.context))
    span = provider.get_tracer("test").start_span("chat", context=context, attributes=attributes)
    span.end()
    provider.shutdown()
    assert isinstance(span, ReadableSpan)
    return span


def test_spans_of_opentelemetry() -> None:
    """The package's object, its attributes, and OTLP/JSON; of spans within each other the deepest counts."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    }
    agent = _span(attributes | {"gen_ai.operation.name": "invoke_agent"})
    call = _span(attributes, agent)
    values = {int: "intValue", str: "stringValue"}
    told = [{"key": key, "value": {values[type(value)]: value}} for key, value in attributes.items()]
    expected = tokens("openai/gpt-5", input=10, output=5)
    for record in (call, attributes, {"traceId": "t", "spanId": "s", "attributes": told}, [agent, call]):
        assert convert(otel=record).items == expected
    with pytest.raises(UsageError, match="otel: is str"):
        convert(otel="a span")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("openai_usage.jsonl", RecordFormat.OPENAI), ("anthropic_usage.jsonl", RecordFormat.ANTHROPIC)],
)
def test_real_records_are_the_usage_that_a_replay_sends(name: str, kind: RecordFormat) -> None:
    """Each record of the sample: the same items, so the same credits."""
    path = SAMPLE / name
    with open_provider_records([path], kind) as records:
        replayed = {each.row: each.usage for each in records.take(None) if isinstance(each, Record)}
    lines = path.read_text(encoding="utf-8").splitlines()
    assert replayed
    for row, usage in replayed.items():
        record = json.loads(lines[row - 1])
        work = {"openai": record} if kind is RecordFormat.OPENAI else {"anthropic": record}
        assert convert(**work).items == usage


def test_what_a_program_measures() -> None:
    """Machines, units and outcomes; a measured time is taken to the nanosecond."""
    (sandbox,) = convert(compute="sandbox", seconds=0.1 + 0.2, count=Decimal("0.5")).items
    assert (sandbox.compute.duration.nanos, sandbox.compute.count) == (300_000_000, "0.5")
    (pages,) = convert(meter="page", quantity=Decimal("2.50")).items
    assert pages.units.quantity == "2.5"
    (failed,) = convert(outcome="issue.resolved", subject="17", result="failed", count=2).items
    assert (failed.outcome.result, failed.outcome.count) == (OUTCOME_RESULT_FAILED, 2)


@given(st.integers(0, 10**24 - 1))
def test_quantities_are_exact(billionths: int) -> None:
    """Whatever the API takes goes through unchanged, whatever the context of decimals."""
    quantity = Decimal(billionths).scaleb(-9)
    (item,) = convert(meter="page", quantity=quantity).items
    assert Decimal(item.units.quantity) == quantity


@given(st.floats(0, 10**9))
def test_measured_times_are_right_to_the_nanosecond(seconds: float) -> None:
    """Half a nanosecond off at the most."""
    (item,) = convert(compute="sandbox", seconds=seconds).items
    taken = item.compute.duration.seconds + Decimal(item.compute.duration.nanos).scaleb(-9)
    assert abs(taken - Decimal(repr(seconds))) <= Decimal("0.5e-9")


def test_items_as_they_are() -> None:
    """As messages, or as JSON has them; they are copied, and dated where they have no date."""
    own = UsageItem(compute=ComputeUsage(resource="h100"))
    at = datetime(2026, 11, 29, tzinfo=UTC)
    first, second = convert(usage=[own, {"units": {"meter": "page", "quantity": "3"}}], occurred_at=at).items
    assert first.compute == own.compute
    assert not own.HasField("occurred_at")
    assert second.units.quantity == "3"
    assert second.occurred_at.ToDatetime(UTC) == at


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({}, "give one of usage, openai, anthropic, litellm, otel, compute, meter, outcome; there are none"),
        ({"compute": "sandbox", "outcome": "done"}, "there are compute, outcome"),
        ({"compute": "sandbox"}, "seconds: is missing: it goes with compute"),
        ({"compute": "sandbox", "seconds": 1, "subject": "x"}, "subject: does not go with compute"),
        ({"compute": "sandbox", "seconds": -0.5}, r"seconds: is -0.5\d* \(allowed: 0 or more"),
        ({"compute": "sandbox", "seconds": float("nan")}, "seconds: is NaN"),
        ({"compute": "sandbox", "seconds": float("inf")}, "seconds: is Infinity"),
        ({"compute": "sandbox", "seconds": True}, "seconds: is True"),
        ({"compute": "sandbox", "seconds": 1, "count": 0.5}, r"count: is 0.5 \(allowed: a Decimal"),
        ({"compute": "", "seconds": 1}, "compute: is '' "),
        ({"meter": "page", "quantity": Decimal("1e-10")}, "quantity: is 1E-10"),
        ({"meter": "page", "quantity": 10**15}, "quantity: is 10{15} "),
        ({"meter": "page", "quantity": Decimal("sNaN")}, "quantity: is sNaN"),
        ({"outcome": "done", "count": Decimal("1.5")}, r"count: is 1.5 \(allowed: a whole number"),
        ({"outcome": "done", "result": "good"}, "result: is 'good' .allowed: resolved, failed"),
        ({"usage": "x"}, "usage: is str"),
        ({"usage": {"token": {}}}, 'usage: .*no field named "token"'),
        ({"usage": [], "occurred_at": None, "model": "x"}, "model: does not go with usage"),
        ({"meter": "page", "quantity": 1, "occurred_at": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        (
            {"meter": "page", "quantity": 1, "occurred_at": "2026-01-01"},
            "occurred_at: is str .allowed: a date",
        ),
        ({"meter": "\ud800", "quantity": 1}, "meter: is "),
        ({"outcome": "done", "result": ["failed"]}, "result: is "),
        ({"usage": {"tokens": {"model": "\ud800"}}}, "usage: "),
        (
            {"openai": {"model": "m", "usage": {"prompt_tokens": 9.0, "completion_tokens": 1}}},
            "prompt_tokens: is 9.0",
        ),
        (
            {"openai": 7},
            "openai: is int .allowed: an answer, its usage, or a list of all that its stream sent",
        ),
        ({"anthropic": iter(())}, "anthropic: is tuple_iterator .allowed: an answer"),
        ({"litellm": iter(())}, "litellm: is tuple_iterator .allowed: an answer"),
        ({"litellm": [[]]}, "litellm: is a list within a list"),
    ],
)
def test_what_cannot_be_counted_is_refused(work: dict[str, Any], said: str) -> None:
    """Never a silent zero. It says where and what is allowed, and is a CreditsError and a ValueError."""
    with pytest.raises(UsageError, match=said) as refused:
        convert(**work)
    assert isinstance(refused.value, CreditsError)
    assert isinstance(refused.value, ValueError)


def test_what_is_to_be_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    """Comes back with each record, and is logged once a kind and path."""
    record = {
        "model": "m",
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "dreamt": 7},
    }
    with caplog.at_level(logging.WARNING, "ledger.client.usage"):
        for _ in range(2):
            (warning,) = convert(openai=record).warnings
    text = "openai: uncounted: usage.dreamt: 7, a number that is not counted"
    assert warning == text
    assert [each.getMessage() for each in caplog.records] == [f"{text} (such is logged once)"]
