"""Records as providers document and send them, and what each becomes; the shipped ones and their answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from genai_prices import extract_usage

from pricing import Tokens, Units
from pricing.adapters import Adapted, AdapterError, FindingKind, NoUsage, anthropic, litellm, openai, otel

RECORDS = Path(__file__).parents[3] / "ledger" / "sample" / "records"


def adapted(one: Adapted | NoUsage) -> Adapted:
    assert isinstance(one, Adapted), one
    return one


def quantities(one: Adapted | NoUsage) -> dict[str, int]:
    item = adapted(one).items[0]
    assert isinstance(item, Tokens)
    return dict(item.quantities)


def reported(one: Adapted | NoUsage) -> list[tuple[str, str]]:
    return [(finding.kind.value, finding.path) for finding in one.findings]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDS / name).read_text(encoding="utf-8").splitlines()]


def test_shipped_records_are_the_rounds_that_are_known():
    """The usage objects of 19 real calls come to the disjoint counts that were recorded of them."""
    with (RECORDS / "agent_rounds.csv").open(encoding="utf-8", newline="") as stream:
        rounds = list(csv.DictReader(stream))
    records = [
        *(anthropic.adapt(line) for line in lines("anthropic_usage.jsonl")),
        *(openai.adapt(line) for line in lines("openai_usage.jsonl")),
    ]
    assert len(records) == len(rounds) == 19
    for one, row in zip(records, rounds, strict=True):
        (item,) = adapted(one).items
        assert isinstance(item, Tokens)
        assert (item.model, item.served_by, item.service_tier, item.requests) == (row["model"], None, "", 1)
        read = item.quantities
        assert read["input"] == int(row["input_uncached_tokens"])
        assert read.get("cache_read", 0) == int(row["cache_read_tokens"])
        assert read.get("cache_write", 0) == int(row["cache_write_tokens"])
        assert read.get("reasoning", 0) == int(row["reasoning_tokens_within_output"])
        assert read["output"] + read.get("reasoning", 0) == int(row["output_tokens"])
        assert not one.findings


# --- OpenAI ------------------------------------------------------------------------------------------------

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-5.6-2026-07-01",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}],
    "usage": {
        "prompt_tokens": 2600,
        "completion_tokens": 300,
        "total_tokens": 2900,
        "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 120,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 10,
            "rejected_prediction_tokens": 20,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}


def chat(**changed: Any) -> dict[str, Any]:
    return {**CHAT, **changed}


def test_chat_completion():
    """Cached, written and reasoning tokens are taken out of what includes them; predicted ones are output."""
    one = adapted(openai.adapt(CHAT))
    assert quantities(one) == {
        "input": 200,
        "cache_read": 2000,
        "cache_write": 400,
        "output": 180,
        "reasoning": 120,
    }
    assert (one.record_id, one.findings) == ("chatcmpl-1", ())


def test_asked_for_and_served():
    """A pair of request and response tells what was asked for; the tier is what was given, not asked."""
    request = {"model": "gpt-5.6", "service_tier": "auto", "messages": [], "user": "ada"}
    one = adapted(openai.adapt({"request": request, "response": chat(service_tier="flex")}))
    (item,) = one.items
    assert isinstance(item, Tokens)
    assert (item.model, item.served_by) == ("openai/gpt-5.6", "openai/gpt-5.6-2026-07-01")
    assert (item.service_tier, one.user, one.findings) == ("flex", "ada", ())


def test_response_with_hosted_tools_and_whose_it_was():
    """Searches are units beside the tokens; what a tool is billed by, and is not told, is reported."""
    record = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.4",
        "output": [
            {"type": "web_search_call", "status": "completed", "action": {"type": "search"}},
            {"type": "web_search_call", "status": "completed", "action": {"type": "open_page"}},
            {"type": "file_search_call"},
            {"type": "code_interpreter_call"},
            {"type": "message", "content": []},
        ],
        "usage": {
            "input_tokens": 90,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 97,
        },
        "metadata": {"customer_id": "acme", "session": "s-1"},
        "conversation": {"id": "conv_1"},
        "safety_identifier": "u-1",
    }
    one = adapted(openai.adapt(record))
    assert one.items[1:] == (Units("file_search", 10**9), Units("web_search", 10**9))
    assert reported(one) == [("uncounted", "output[3]")]
    assert (one.user, one.session) == ("acme", "s-1")
    event = {"type": "response.completed", "sequence_number": 9, "response": record}
    assert adapted(openai.adapt(event)).items == one.items


def test_batch_line():
    """A line of a batch's output is of the tier batch; one that failed has no usage."""
    line = {"id": "batch_req_1", "custom_id": "c", "response": {"status_code": 200, "request_id": "r"}}
    line["response"]["body"] = CHAT
    one = adapted(openai.adapt({**line, "error": None}))
    assert one.items[0].service_tier == "batch"
    assert (one.record_id, one.findings) == ("chatcmpl-1", ())
    line["response"]["body"] = {"error": {"message": "no"}}
    assert openai.adapt(line) == NoUsage("error")


def test_streams_of_openai():
    """Of a stream the last usage counts, for it is cumulative; chunks without any have none."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5.4", "choices": []}
    usages = [None, {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}]
    usages.append({"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14})
    chunks = [{**chunk, "usage": usage} for usage in usages]
    assert openai.adapt(chunks[0]) == NoUsage("no_usage")
    assert quantities(openai.adapt(chunks)) == {"input": 5, "output": 9}
    assert openai.adapt({"type": "response.output_text.delta", "delta": "a"}) == NoUsage("no_usage")
    created = {"type": "response.created", "response": {"status": "in_progress", "usage": None}}
    assert openai.adapt(created) == NoUsage("in_progress")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, {"input": 8, "output": 0}),
        (
            {
                "input_tokens": 250,
                "output_tokens": 1056,
                "total_tokens": 1306,
                "input_tokens_details": {"image_tokens": 194, "text_tokens": 56},
                "output_tokens_details": {"image_tokens": 1056, "text_tokens": 0},
            },
            {"input": 56, "input_image": 194, "output": 0, "output_image": 1056},
        ),
        (
            {
                "total_tokens": 253,
                "input_tokens": 132,
                "output_tokens": 121,
                "input_token_details": {
                    "text_tokens": 119,
                    "audio_tokens": 13,
                    "cached_tokens": 64,
                    "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4},
                },
                "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
            },
            {"input": 59, "cache_read": 64, "input_audio": 9, "output": 30, "output_audio": 91},
        ),
    ],
    ids=["embeddings", "images", "realtime"],
)
def test_other_usage_of_openai(usage: dict[str, Any], counted: dict[str, int]):
    """Embeddings have no output; tokens of images and of audio are distinguished from text and the cached."""
    one = openai.adapt({"model": "m", "usage": usage})
    assert quantities(one) == counted
    assert not one.findings


def test_models_of_others():
    """A name that says whose the model is keeps it."""
    assert (
        adapted(openai.adapt(chat(model="anthropic/claude-haiku-4.5")))
        .items[0]
        .model.startswith("anthropic/")
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "the record: is an empty list (allowed: a response, or all that a stream sent)"),
        ("x", "the record: is 'x' (allowed: an object)"),
        (chat(usage=[1]), "usage: is a list (allowed: an object)"),
        ({"id": "1", "model": "m"}, "usage: is missing (allowed: an object)"),
        (chat(model=None), "model: is missing (allowed: the name of a model)"),
        (chat(usage={}), "usage.input_tokens: is missing (allowed: a whole number of 0 to 10**15)"),
        (
            chat(usage={"prompt_tokens": 3, "completion_tokens": 1.0}),
            "usage.completion_tokens: is 1.0 (allowed: a whole number of 0 to 10**15)",
        ),
        (
            chat(usage={"prompt_tokens": True}),
            "usage.prompt_tokens: is true (allowed: a whole number of 0 to 10**15)",
        ),
        (
            {"model": "m", "usage": {"input_tokens": 10**5000}},
            "usage.input_tokens: is a number of more than 40 digits (allowed: a whole number of 0 to 10**15)",
        ),
        (
            chat(usage={"prompt_tokens": 3}),
            "usage.completion_tokens: is missing (allowed: a whole number of 0 to 10**15)",
        ),
        (
            chat(
                usage={
                    "prompt_tokens": 3,
                    "completion_tokens": 1,
                    "prompt_tokens_details": {"cached_tokens": 4},
                }
            ),
            "usage.prompt_tokens: is 3, and includes cache_read 4 (allowed: 4 or more)",
        ),
        (
            chat(usage={"type": "duration", "seconds": 9}),
            "usage.type: is 'duration' (allowed: tokens)",
        ),
        (
            {"response": {"body": chat(usage={"prompt_tokens": -1})}},
            "response.body.usage.prompt_tokens: is -1 (allowed: a whole number of 0 to 10**15)",
        ),
    ],
)
def test_refusals_name_the_path_and_what_is_allowed(record: object, message: str):
    """What cannot be counted is refused in one line."""
    with pytest.raises(AdapterError) as refused:
        openai.adapt(record)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("details", "said", "message"),
    [
        (
            {"cached_tokens": 9, "audio_tokens": 3, "cached_tokens_details": {"audio_tokens": 4}},
            {},
            "input_tokens: includes 4 cached tokens of audio, of 3 in all and 9 cached (allowed: at most 3)",
        ),
        (
            {"cached_tokens": 2, "image_tokens": 9, "cached_tokens_details": {"image_tokens": 3}},
            {},
            "input_tokens: includes 3 cached tokens of images, of 9 in all and 2 cached (allowed: at most 2)",
        ),
        (
            {"cached_tokens": 8, "audio_tokens": 8, "cached_tokens_details": {"audio_tokens": 5}},
            {},
            "input_tokens: is 10, and includes cache_read 8 + input_audio 3 (allowed: 11 or more)",
        ),
        (
            {"audio_tokens": 6, "image_tokens": 5},
            {},
            "input_tokens: is 10, and includes audio 6 + image 5",
        ),
        (
            {"cache_creation_tokens": 2, "cache_creation_token_details": {"ephemeral_1h_input_tokens": 3}},
            {},
            "input_tokens_details.cache_creation_tokens: is 2, and includes ephemeral_1h_input_tokens 3",
        ),
        (
            {},
            {"reasoning_tokens": 3, "audio_tokens": 3},
            "output_tokens: is 5, and includes reasoning 3 + output_audio 3 (allowed: 6 or more)",
        ),
        (
            {},
            {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 3},
            "output_tokens: is 5, and includes accepted_prediction_tokens 3 + rejected_prediction_tokens 3",
        ),
    ],
)
def test_parts_that_contradict_each_other(details: dict[str, Any], said: dict[str, int], message: str):
    """No part may exceed what includes it, one by one or together."""
    usage = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": details}
    with pytest.raises(AdapterError) as refused:
        openai.adapt(chat(usage={**usage, "output_tokens_details": said}))
    assert str(refused.value).startswith(f"usage.{message}")


def test_bounds_of_a_count():
    """10**15 is the most that an item may have; one more is refused."""
    most = {"prompt_tokens": 10**15, "completion_tokens": 0}
    assert quantities(openai.adapt(chat(usage=most))) == {"input": 10**15, "output": 0}
    with pytest.raises(AdapterError, match=f"usage.prompt_tokens: is {10**15 + 1}"):
        openai.adapt(chat(usage={**most, "prompt_tokens": 10**15 + 1}))


def test_another_reader_comes_to_the_same():
    """The catalog's package reads provider objects, too: the wholes and the parts agree."""
    records = [
        ("openai", "chat", CHAT),
        *(("anthropic", "default", line) for line in lines("anthropic_usage.jsonl")),
    ]
    for provider, flavor, record in records:
        read = quantities({"openai": openai, "anthropic": anthropic}[provider].adapt(record))
        other = extract_usage(
            {**record, "model": "gpt-5.4" if provider == "openai" else record["model"]},
            provider_id=provider,
            api_flavor=flavor,
        ).usage
        assert other.input_tokens == sum(read.get(key, 0) for key in ("input", "cache_read", "cache_write"))
        assert other.output_tokens == read["output"] + read.get("reasoning", 0)
        assert (other.cache_read_tokens, other.cache_write_tokens) == (
            read["cache_read"],
            read["cache_write"],
        )


# --- Anthropic ---------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 23000, "output_tokens": 1000}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8", "content": []}


def message(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**MESSAGE, "usage": usage, **more}


def test_cache_writes_by_time_to_live():
    """Writes for an hour are distinguished from those for 5 minutes."""
    split = {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100}
    usage = {"input_tokens": 50, "cache_read_input_tokens": 100_000, "output_tokens": 5}
    one = anthropic.adapt(message({**usage, "cache_creation_input_tokens": 248, "cache_creation": split}))
    assert quantities(one) == {
        "input": 50,
        "cache_read": 100_000,
        "cache_write": 148,
        "cache_write_1h": 100,
        "output": 5,
    }
    assert (
        quantities(anthropic.adapt(message({**usage, "cache_creation_input_tokens": 248})))["cache_write"]
        == 248
    )
    short = anthropic.adapt(message({**usage, "cache_creation_input_tokens": 300, "cache_creation": split}))
    assert quantities(short)["cache_write"] == 200
    assert reported(short) == [("mismatch", "usage.cache_creation_input_tokens")]
    with pytest.raises(AdapterError, match="cache_creation_input_tokens: is 240, and includes"):
        anthropic.adapt(message({**usage, "cache_creation_input_tokens": 240, "cache_creation": split}))


def test_server_tools_are_units():
    """What tools of the provider are billed by becomes units; none of them, nothing."""
    tools = {"web_search_requests": 3, "web_fetch_requests": 0, "code_execution_requests": 1}
    one = adapted(anthropic.adapt(message({**USAGE, "server_tool_use": tools})))
    assert one.items[1:] == (Units("code_execution", 10**9), Units("web_search", 3 * 10**9))
    assert not one.findings


def test_compaction_is_beside_the_usage():
    """The documented example: the top level does not include the compaction, which is billed."""
    iterations = [{"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500}]
    iterations.append({"type": "message", **USAGE})
    (item,) = adapted(anthropic.adapt(message({**USAGE, "iterations": iterations}))).items
    assert isinstance(item, Tokens)
    assert (dict(item.quantities), item.requests) == ({"input": 203_000, "output": 4500}, 2)


def test_fallback_model():
    """The model asked for is the one that declined; what it had said is billed on its own."""
    served = {"type": "fallback_message", "model": "claude-opus-4-8", **USAGE}
    declined = {"type": "message", "model": "claude-fable-5", "input_tokens": 22_000, "output_tokens": 40}
    one = adapted(anthropic.adapt(message({**USAGE, "iterations": [declined, served]})))
    main, other = one.items
    assert isinstance(main, Tokens)
    assert isinstance(other, Tokens)
    assert (main.model, main.served_by) == ("anthropic/claude-fable-5", "anthropic/claude-opus-4-8")
    assert (dict(main.quantities), main.requests) == ({"input": 23_000, "output": 1000}, 1)
    assert (other.model, dict(other.quantities)) == (main.model, {"input": 22_000, "output": 40})
    silent = anthropic.adapt(message({**USAGE, "iterations": [{**declined, "output_tokens": 0}, served]}))
    assert len(adapted(silent).items) == 1
    assert reported(silent) == [("assumed", "usage.iterations[0].type")]


def test_iterations_that_do_not_add_up():
    """The usage counts, and the difference is reported; so is a kind that nobody knows, with its numbers."""
    one = anthropic.adapt(
        message({**USAGE, "iterations": [{"type": "message", **USAGE, "output_tokens": 9}]})
    )
    assert quantities(one)["output"] == 1000
    assert reported(one) == [("mismatch", "usage.iterations")]
    odd = anthropic.adapt(message({**USAGE, "iterations": [{"type": "dream", "input_tokens": 7}]}))
    assert reported(odd) == [
        ("unknown", "usage.iterations[0].type"),
        ("uncounted", "usage.iterations[0].input_tokens"),
    ]


@pytest.mark.parametrize(
    ("said", "tier", "kinds"),
    [
        ({"service_tier": "standard", "speed": "standard"}, "", []),
        ({"service_tier": "batch"}, "batch", []),
        ({"service_tier": "standard", "speed": "fast"}, "fast", []),
        ({"service_tier": "priority", "speed": "fast"}, "fast", ["assumed"]),
        ({"inference_geo": "us"}, "", ["uncounted"]),
    ],
)
def test_tiers_of_anthropic(said: dict[str, str], tier: str, kinds: list[str]):
    """Fast is a tier; a place that costs more is reported, as no quantity says it."""
    one = adapted(anthropic.adapt(message({**USAGE, **said})))
    assert one.items[0].service_tier == tier
    assert [kind for kind, _ in reported(one)] == kinds


def test_streams_of_anthropic():
    """All events together make the message: counts of a delta are cumulative. A part alone is refused."""
    start = {"type": "message_start", "message": message({"input_tokens": 25, "output_tokens": 1})}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    delta["usage"] = {"output_tokens": 15, "input_tokens": None}
    one = adapted(anthropic.adapt([start, {"type": "ping"}, delta, {"type": "message_stop"}]))
    assert (quantities(one), one.record_id) == ({"input": 25, "output": 15}, "msg_1")
    for part in (start, delta, [start]):
        with pytest.raises(AdapterError, match="a part of a stream"):
            anthropic.adapt(part)
    assert anthropic.adapt({"type": "content_block_delta", "index": 0}) == NoUsage("no_usage")
    assert anthropic.adapt([start, {"type": "error", "error": {}}]) == NoUsage("error")


def test_batch_results_and_pairs_of_anthropic():
    """A batch's results tell their tier in the usage; those that failed have none. A pair tells the user."""
    line = {
        "custom_id": "c",
        "result": {"type": "succeeded", "message": message({**USAGE, "service_tier": "batch"})},
    }
    one = adapted(anthropic.adapt(line))
    assert (one.items[0].service_tier, one.findings) == ("batch", ())
    assert anthropic.adapt({"custom_id": "c", "result": {"type": "expired"}}) == NoUsage("expired")
    request = {"model": "claude-opus", "metadata": {"user_id": "u-7"}, "max_tokens": 9}
    pair = adapted(anthropic.adapt({"request": request, "response": message(USAGE)}))
    assert (pair.user, pair.items[0].model, pair.findings) == ("u-7", "anthropic/claude-opus", ())


def test_a_refusal_before_any_output_is_not_billed():
    """So it is no usage; one after some output is."""
    assert anthropic.adapt(message({**USAGE, "output_tokens": 0}, stop_reason="refusal")) == NoUsage(
        "refusal"
    )
    assert adapted(anthropic.adapt(message(USAGE, stop_reason="refusal"))).items


# --- LiteLLM -----------------------------------------------------------------------------------------------

LOGGED = {
    "id": "chatcmpl-9",
    "call_type": "acompletion",
    "status": "success",
    "model": "eu.anthropic.claude-opus-4-5-20251101-v1:0",
    "custom_llm_provider": "bedrock",
    "model_group": "opus",
    "prompt_tokens": 98_805,
    "completion_tokens": 5120,
    "total_tokens": 103_925,
    "response_cost": 0.04708,
    "cache_hit": "False",
    "end_user": "acme",
    "trace_id": "t-1",
    "metadata": {
        "user_api_key_user_id": "u-1",
        "usage_object": {
            "prompt_tokens": 98_805,
            "completion_tokens": 5120,
            "total_tokens": 103_925,
            "prompt_tokens_details": {
                "audio_tokens": None,
                "cached_tokens": 66_360,
                "cache_creation_tokens": 32_435,
            },
            "completion_tokens_details": {"reasoning_tokens": 1710},
            "cache_read_input_tokens": 66_360,
            "cache_creation_input_tokens": 32_435,
        },
    },
}


GPT = {"model": "gpt-5.4", "custom_llm_provider": "openai"}


def test_litellm_record():
    """The counts of a call whose cost was reported wrongly: 10 tokens of input, not 98,805."""
    one = adapted(litellm.adapt(LOGGED))
    (item,) = one.items
    assert isinstance(item, Tokens)
    assert quantities(one) == {
        "input": 10,
        "cache_read": 66_360,
        "cache_write": 32_435,
        "output": 3410,
        "reasoning": 1710,
    }
    assert item.model == "litellm/opus"
    assert item.served_by == "aws/eu.anthropic.claude-opus-4-5-20251101-v1:0"
    assert (one.record_id, one.user, one.session, one.findings) == ("chatcmpl-9", "acme", "t-1", ())


@pytest.mark.parametrize(
    ("changed", "asked", "served"),
    [
        ({"model_group": None}, "aws/eu.anthropic.claude-opus-4-5-20251101-v1:0", None),
        ({**GPT, "model": "openai/gpt-5.4", "model_group": "gpt-5.4"}, "openai/gpt-5.4", None),
        ({"model": "gemini/g-3", "custom_llm_provider": None, "model_group": None}, "google/g-3", None),
        ({**GPT, "cache_hit": True}, "litellm/opus", "cache"),
    ],
)
def test_models_of_litellm(changed: dict[str, Any], asked: str, served: str | None):
    """The proxy's own names are its own; an answer from its cache was served by none."""
    item = adapted(litellm.adapt({**LOGGED, **changed})).items[0]
    assert isinstance(item, Tokens)
    assert (item.model, item.served_by) == (asked, served)


def test_litellm_without_a_usage_object():
    """All of it counts as uncached, which is reported; one that says otherwise counts, and is reported."""
    one = litellm.adapt({**LOGGED, "metadata": {}})
    assert quantities(one) == {"input": 98_805, "output": 5120}
    assert reported(one) == [("assumed", "prompt_tokens")]
    other = litellm.adapt({**LOGGED, "prompt_tokens": 10})
    assert quantities(other) == quantities(litellm.adapt(LOGGED))
    assert reported(other) == [("mismatch", "prompt_tokens")]
    assert litellm.adapt({"model": "a/b", "status": "failure", "prompt_tokens": 0}) == NoUsage("failure")
    with pytest.raises(AdapterError, match="custom_llm_provider: is missing"):
        litellm.adapt({**LOGGED, "custom_llm_provider": None})


# --- OpenTelemetry -----------------------------------------------------------------------------------------


def span(name: str, parent: str = "", **attributes: Any) -> dict[str, Any]:
    """A span as OTLP/JSON has it; `__` stands for a point."""
    listed = []
    for key, value in attributes.items():
        kind = {int: "intValue", float: "doubleValue"}.get(type(value), "stringValue")
        listed.append(
            {"key": key.replace("__", "."), "value": {kind: str(value) if kind == "intValue" else value}}
        )
    return {"traceId": "5b8a", "spanId": name, "parentSpanId": parent, "attributes": listed}


def call(name: str, parent: str = "", operation: str = "chat", **usage: Any) -> dict[str, Any]:
    named = {f"gen_ai.usage.{key}": value for key, value in usage.items()}
    return span(
        name,
        parent,
        gen_ai__operation__name=operation,
        gen_ai__provider__name="azure.ai.openai",
        gen_ai__request__model="gpt-5.4",
        gen_ai__response__model="gpt-5.4-2026-03-05",
        gen_ai__conversation__id="conv-1",
        gen_ai__agent__name="coder",
        server__port=443,
        **named,
    )


COUNTS = {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1}


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def all_of(*records: dict[str, Any]) -> list[Adapted | NoUsage]:
    tree, found = otel.Tree(), []
    for one in (one for record in records for one in otel.spans(record)):
        if isinstance(one, AdapterError):
            raise one
        tree.add(one)
        found.append(one)
    tree.close()
    return [otel.adapt(one, tree) for one in found]


def test_span_of_a_model():
    """Asked for and served, session and agent; attributes that are no usage are none of ours."""
    (one,) = all_of(export(call("a", input_tokens=100, output_tokens=180)))
    (item,) = adapted(one).items
    assert isinstance(item, Tokens)
    assert (item.model, item.served_by) == ("azure/gpt-5.4", "azure/gpt-5.4-2026-03-05")
    assert quantities(one) == {"input": 100, "output": 180}
    assert (adapted(one).record_id, adapted(one).session, adapted(one).agent) == ("5b8a/a", "conv-1", "coder")
    assert not one.findings


def test_spans_of_agents_are_not_counted_beside_those_of_models():
    """An agent, a framework's own span of the call, and the call: one of them counts, whatever the order."""
    agent = call("agent", operation="invoke_agent", input_tokens=300, output_tokens=30)
    framework = call("framework", "agent", input_tokens=100, output_tokens=10)
    calls = [call("one", "framework", input_tokens=100, output_tokens=10)]
    calls.append(call("two", "agent", input_tokens=200, output_tokens=20))
    for records in ([agent, framework, *calls], [*calls, framework, agent]):
        found = all_of(*(export(one) for one in records))
        counted = [quantities(one) for one in found if isinstance(one, Adapted)]
        assert counted == [{"input": 100, "output": 10}, {"input": 200, "output": 20}]
        assert [one for one in found if isinstance(one, NoUsage)] == [NoUsage("aggregate")] * 2


def test_an_agent_that_says_more_than_its_calls():
    """What an agent's span says beyond the spans within it is reported: a call may have none of its own."""
    agent = call("agent", operation="invoke_agent", input_tokens=300, output_tokens=30)
    found = all_of(export(agent, call("one", "agent", input_tokens=100, output_tokens=10)))
    assert reported(found[0]) == [("mismatch", "attributes.gen_ai.usage")]
    assert "330 tokens, where the spans within it, which are counted, say 110" in found[0].findings[0].text
    (alone,) = all_of(export(agent))
    assert quantities(alone) == {"input": 300, "output": 30}


def test_a_call_that_a_tool_made_within_a_call():
    """A model's span that is open while its tool calls a model is a call of its own."""
    tool = span("tool", "outer", gen_ai__operation__name="execute_tool")
    inner = call("inner", "tool", input_tokens=5, output_tokens=5)
    found = all_of(call("outer", input_tokens=100, output_tokens=10), tool, inner)
    assert [type(one) for one in found] == [Adapted, NoUsage, Adapted]
    agent = call("agent", "outer", operation="invoke_agent", input_tokens=5, output_tokens=5)
    found = all_of(call("outer", input_tokens=100, output_tokens=10), agent)
    assert [type(one) for one in found] == [Adapted, Adapted]


def test_names_of_other_versions():
    """Names of before are read; where two say different things, the newer one counts and it is reported."""
    attributes = {
        "gen_ai.system": "anthropic",
        "gen_ai.response.model": "claude",
        "gen_ai.usage.prompt_tokens": 7,
    }
    attributes |= {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.completion_tokens": 1}
    (one,) = all_of(span("a", **attributes))
    assert quantities(one) == {"input": 9, "output": 1}
    assert adapted(one).items[0].model == "anthropic/claude"
    assert reported(one) == [("mismatch", "attributes.gen_ai.usage.prompt_tokens")]


def test_what_a_span_says_of_usage_and_nobody_knows():
    """Usage of unknown name is reported, on spans without tokens too."""
    found = all_of(
        call("a", input_tokens=9, output_tokens=1, **{"video.input_tokens": 3}),
        span("b", **{"gen_ai.usage.seconds": 0.5, "gen_ai.usage.cost": 0.5}),
    )
    assert [reported(one) for one in found] == [
        [("uncounted", "attributes.gen_ai.usage.video.input_tokens")],
        [("uncounted", "attributes.gen_ai.usage.seconds")],
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (call("a", output_tokens=1), "attributes.gen_ai.usage.input_tokens: is missing"),
        (call("a", input_tokens=1), "attributes.gen_ai.usage.output_tokens: is missing"),
        (call("a", input_tokens=1.5, output_tokens=1), "attributes.gen_ai.usage.input_tokens: is 1.5"),
        (call("a", input_tokens=-1, output_tokens=1), "attributes.gen_ai.usage.input_tokens: is -1"),
        (span("a", **COUNTS), "attributes.gen_ai.request.model: is missing"),
        (span("a", gen_ai__request__model="m", **COUNTS), "attributes.gen_ai.provider.name: is missing"),
        ({"spanId": "a"}, "traceId: is missing (allowed: a span, or a request with resourceSpans)"),
        ({"resourceSpans": {}}, "resourceSpans: is an object (allowed: a list of objects)"),
        (
            {"resourceSpans": [{"scopeSpans": [{"spans": 1}]}]},
            "resourceSpans[0].scopeSpans[0].spans: is no list",
        ),
    ],
)
def test_spans_that_cannot_be_counted(record: dict[str, Any], message: str):
    """They are refused by the name of the attribute."""
    with pytest.raises(AdapterError) as refused:
        all_of(record)
    assert message in str(refused.value)


def test_one_span_that_is_none_leaves_the_others():
    """It is reported by its place in the request."""
    first, second, third = otel.spans(export(call("a"), {"spanId": "b"}, call("c")))
    assert isinstance(first, otel.Span)
    assert isinstance(third, otel.Span)
    assert str(second).startswith("resourceSpans[0].scopeSpans[0].spans[1].traceId: is missing")
    assert list(otel.spans({"resourceSpans": [{"scopeSpans": [{"scope": {}}]}, {}]})) == []


def test_embeddings_have_no_output():
    """A span of embeddings need not say any."""
    (one,) = all_of(call("a", operation="embeddings", input_tokens=12))
    assert quantities(one) == {"input": 12, "output": 0}


def test_kinds_of_findings_are_words():
    """They are what a summary groups by."""
    assert {kind.value for kind in FindingKind} == {"uncounted", "unknown", "mismatch", "assumed"}
