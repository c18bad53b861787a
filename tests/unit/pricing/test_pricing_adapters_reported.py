"""What providers, routers and tools really report: each with the quantities and the cost that are right."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pricing import CostBook, Tokens, Units
from pricing.adapters import (
    Adapted,
    AdapterError,
    NoUsage,
    anthropic,
    bedrock,
    claude_code,
    codex,
    gemini,
    litellm,
    openai,
    otel,
)
from pricing.adapters.vocabulary import provider_id
from pricing.costs.catalog import snapshot
from pricing.costs.item_cost import tokens_costs

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def book() -> CostBook:
    return CostBook({"tokens": {"catalog": "genai-prices"}}, snapshot())


def only(one: object) -> Tokens:
    assert isinstance(one, Adapted), one
    item = one.items[0]
    assert isinstance(item, Tokens)
    return item


def used(one: object) -> dict[str, int]:
    return {key: count for key, count in only(one).quantities.items() if count}


def kinds(one: object) -> list[str]:
    assert isinstance(one, Adapted | NoUsage)
    return [finding.kind.value for finding in one.findings]


def dollars(one: object, book: CostBook) -> Decimal:
    posted = Fraction(*tokens_costs(only(one), book, NOW).posted) / 10**9
    return Decimal(posted.numerator) / Decimal(posted.denominator)


def chat(model: str = "gpt-5", **usage: Any) -> dict[str, Any]:
    return {"id": "c1", "model": model, "usage": {"prompt_tokens": 20, "completion_tokens": 400, **usage}}


def span(**attributes: Any) -> Adapted | NoUsage:
    values = [
        {"key": key, "value": {"intValue": str(one)} if isinstance(one, int) else {"stringValue": one}}
        for key, one in attributes.items()
    ]
    record = {"traceId": "t", "spanId": "s", "attributes": values}
    (found,) = otel.spans(record)
    assert isinstance(found, otel.Span)
    tree = otel.Tree()
    tree.add(found)
    return otel.adapt(found, tree.close())


@pytest.mark.parametrize(
    ("asked", "named", "served"),
    [
        ("deepseek/deepseek-chat", "deepseek-chat", None),
        ("moonshotai/kimi-k2", "kimi-k2-0905", "moonshotai/kimi-k2-0905"),
        ("groq/openai/gpt-oss-120b", "openai/gpt-oss-120b", None),
        ("own/llama", "llama-3-8b", "own/llama-3-8b"),
        ("openrouter/openai/gpt-5", "openai/gpt-5", None),
        ("gpt-5", "gpt-5-2025-08-07", "openai/gpt-5-2025-08-07"),
    ],
)
def test_a_bare_name_in_a_response_belongs_to_the_provider_that_was_asked(asked, named, served):
    """In every form: whoever answers by a name alone is who was asked."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    pair = {"request": {"model": asked}, "response": {"model": named, "usage": usage}}
    assert only(openai.adapt(pair)).served_by == served
    if "/" in asked:
        assert only(anthropic.adapt(pair)).served_by == served
        assert only(openai.adapt(pair)).model == asked


@pytest.mark.parametrize(
    ("served", "asked", "right", "found"),
    [
        ("flex", None, "0.1125", []),
        ("priority", "flex", "0.45", []),
        ("default", "flex", "0.225", []),
        (None, "flex", "0.1125", ["assumed"]),
    ],
)
def test_the_tier_that_served_counts_before_the_one_asked_for(book, served, asked, right, found):
    """Wherever a record names both; where only the asked one is known, it is taken and that is reported."""
    usage = {"prompt_tokens": 100_000, "completion_tokens": 10_000, "total_tokens": 110_000}
    logged = litellm.adapt(
        {
            "model": "gpt-5",
            "custom_llm_provider": "openai",
            "model_parameters": {"service_tier": asked} if asked else {},
            "response": {"service_tier": served} if served else {},
            "metadata": {"usage_object": usage},
            **usage,
        }
    )
    pair = {"request": {"service_tier": asked}, "response": {"model": "gpt-5", "usage": usage}}
    pair["response"]["service_tier"] = served
    attributes = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 100_000,
        "gen_ai.usage.output_tokens": 10_000,
        "openai.request.service_tier": asked or "",
        "openai.response.service_tier": served or "",
    }
    for one in (logged, openai.adapt(pair), span(**attributes)):
        assert dollars(one, book) == Decimal(right)
        assert kinds(one) == found


def test_output_of_the_images_api_is_images(book):
    """Where the usage does not tell it apart."""
    usage = {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}
    record = {
        "request": {"model": "gpt-image-1.5"},
        "response": {"created": 1, "data": [{"b64_json": "…"}], "usage": usage},
    }
    one = openai.adapt(record)
    assert used(one) == {"input": 50, "output_image": 4160}
    assert (dollars(one, book), kinds(one)) == (Decimal("0.13337"), [])


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("openai.responses", "openai"),
        ("openai.chat", "openai"),
        ("anthropic.messages", "anthropic"),
        ("google.generative-ai", "google"),
        ("google.vertex.chat", "google"),
        ("amazon-bedrock", "aws"),
        ("azure-openai.responses", "azure"),
        ("azure.ai.openai", "azure"),
        ("xai.chat", "x-ai"),
        ("mistral.chat", "mistral"),
        ("groq.chat", "groq"),
        ("my.own.host", "my.own.host"),
    ],
)
def test_providers_by_the_names_that_tools_give_them(name, provider):
    """The kind of the call is no part of a provider's name."""
    assert provider_id(name) == provider


def test_spans_of_the_ai_sdk():
    """Provider, cached and reasoning tokens are read; a call's outer span alone is reported."""
    attributes = {
        "gen_ai.system": "openai.responses",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 20_000,
        "gen_ai.usage.output_tokens": 100,
        "ai.usage.cachedInputTokens": 16_000,
        "ai.usage.reasoningTokens": 60,
        "ai.operationId": "ai.generateText.doGenerate",
    }
    one = span(**attributes)
    assert only(one).model == "openai/gpt-5"
    assert used(one) == {"input": 4000, "cache_read": 16_000, "output": 40, "reasoning": 60}
    assert kinds(one) == []
    assert kinds(span(**{**attributes, "ai.operationId": "ai.generateText"})) == ["assumed"]


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.cache_read_tokens",
        "gen_ai.usage.details.input_cached_tokens",
        "gen_ai.usage.details.cached_tokens",
    ],
)
def test_names_of_cached_tokens_in_spans(name):
    """Synonyms count once, also where several say it."""
    usage = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 1, name: 90}
    named = {"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-haiku-4-5"}
    for more in ({}, {"gen_ai.usage.cache_read.input_tokens": 90}):
        one = span(**named, **usage, **more)
        assert (used(one), kinds(one)) == ({"input": 10, "cache_read": 90, "output": 1}, [])


@pytest.mark.parametrize(
    "said",
    [
        {"prompt_cache_hit_tokens": 15, "prompt_cache_miss_tokens": 5},
        {"cached_tokens": 15},
        {"cache_read_tokens": 15, "prompt_tokens_details": {"cached_tokens": 0}},
        {"prompt_cache_hit_tokens": 15, "prompt_tokens_details": {"cached_tokens": 15}},
    ],
)
def test_names_of_cached_tokens_in_objects(said):
    """DeepSeek's, Moonshot's, and those of others; a 0 that a tool fills in hides nothing."""
    assert used(openai.adapt(chat(**said))) == {"input": 5, "cache_read": 15, "output": 400}


def test_a_batch_with_its_summed_usage(book):
    """Tier batch, as many requests as were completed; without their number it is refused."""
    usage = {"input_tokens": 400_000, "output_tokens": 1000, "total_tokens": 401_000}
    record = {
        "id": "batch_1",
        "object": "batch",
        "model": "gpt-5",
        "request_counts": {"total": 101, "completed": 100, "failed": 1},
        "usage": usage,
    }
    one = openai.adapt(record)
    assert (only(one).service_tier, only(one).requests, kinds(one)) == ("batch", 100, [])
    assert dollars(one, book) == Decimal("0.255")
    with pytest.raises(AdapterError, match=r"request_counts\.completed: is missing"):
        openai.adapt({**record, "request_counts": {}})
    assert openai.adapt({"id": "b", "object": "batch", "status": "validating"}) == NoUsage("no_usage")


def test_searches_in_forms_of_openai():
    """Units where their number is known; else a finding that says that the price may be wrong."""
    cited = [{"message": {"annotations": [{"type": "url_citation"}]}}]
    search = openai.adapt({**chat("gpt-5-search-api"), "choices": cited})
    assert isinstance(search, Adapted)
    assert search.items[1:] == (Units("web_search", 10**9),)
    reported = openai.adapt(chat(prompt_tokens_details={"web_search_requests": 3}))
    assert isinstance(reported, Adapted)
    assert reported.items[1:] == (Units("web_search", 3 * 10**9),)
    other = openai.adapt({**chat("gpt-5"), "choices": cited})
    assert kinds(other) == ["uncounted"]


@pytest.mark.parametrize(
    ("record", "right"),
    [
        (chat("gemini-2.5-flash", total_tokens=1120), {"input": 20, "output": 400, "reasoning": 700}),
        (
            chat("sonar-deep-research", completion_tokens=7000, total_tokens=7020, reasoning_tokens=74_000),
            {"input": 20, "output": 7000, "reasoning": 74_000},
        ),
        (
            chat("grok-4", completion_tokens_details={"reasoning_tokens": 300}),
            {"input": 20, "output": 400, "reasoning": 300},
        ),
    ],
)
def test_reasoning_beside_the_output(record, right):
    """Both are counted, and that it was read so is reported."""
    one = openai.adapt(record)
    assert (used(one), kinds(one)) == (right, ["assumed"])


@pytest.mark.parametrize(
    ("lives", "right", "kind"),
    [
        ({"ephemeral_1h_input_tokens": 100}, {"cache_write_1h": 300}, "assumed"),
        ({"ephemeral_5m_input_tokens": 100}, {"cache_write": 300}, "assumed"),
        (
            {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 50},
            {"cache_write": 250, "cache_write_1h": 50},
            "mismatch",
        ),
    ],
)
def test_writes_of_which_only_some_are_told_by_life(lives, right, kind):
    """The rest live like those that are reported, where these are of one life; in every form."""
    usage = {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 300}
    own = anthropic.adapt({"model": "claude", "usage": {**usage, "cache_creation": lives}})
    details = {"cache_creation_tokens": 300, "cache_creation_token_details": lives}
    other = openai.adapt(
        chat("claude", prompt_tokens=300, completion_tokens=0, prompt_tokens_details=details)
    )
    for one in (own, other):
        assert (used(one), kinds(one)) == (right, [kind])


def test_gemini():
    """Prompt with what was cached and what tools put in; thoughts beside the answer; by modality."""
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 600,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 900},
            {"modality": "AUDIO", "tokenCount": 100},
        ],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 600}],
        "toolUsePromptTokenCount": 50,
        "candidatesTokenCount": 30,
        "thoughtsTokenCount": 70,
        "totalTokenCount": 1150,
        "trafficType": "ON_DEMAND",
    }
    record = {"candidates": [], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r"}
    one = gemini.adapt(record)
    right = {"input": 350, "cache_read": 600, "input_audio": 100, "output": 30, "reasoning": 70}
    assert (used(one), kinds(one), only(one).model) == (right, [], "google/gemini-2.5-flash")
    first = {"usageMetadata": {"promptTokenCount": 1000}, "modelVersion": "gemini-2.5-flash"}
    assert used(gemini.adapt([first, record])) == right
    assert only(gemini.adapt({"key": "k", "response": record})).service_tier == "batch"
    flex = {**record, "usageMetadata": {**usage, "trafficType": "ON_DEMAND_FLEX"}}
    assert only(gemini.adapt(flex)).service_tier == "flex"


def test_bedrock():
    """Input beside the caches, writes by time to live, the model by the request."""
    usage = {
        "inputTokens": 10,
        "cacheReadInputTokens": 200,
        "cacheWriteInputTokens": 300,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 200}],
        "outputTokens": 5,
        "totalTokens": 515,
    }
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    response = {"usage": usage, "stopReason": "end_turn", "metrics": {"latencyMs": 9}, "output": {}}
    right = {"input": 10, "cache_read": 200, "cache_write": 200, "cache_write_1h": 100, "output": 5}
    arn = f"arn:aws:bedrock:us-east-1:1:inference-profile/{model}"
    logged = {"modelId": arn, "requestId": "q", "output": {"outputBodyJson": response}}
    for record in ({"request": {"modelId": model}, "response": response}, logged):
        one = bedrock.adapt(record)
        assert (used(one), kinds(one), only(one).model) == (right, [], f"aws/{model}")
    with pytest.raises(AdapterError, match="modelId: is missing"):
        bedrock.adapt(response)


def test_lines_of_claude_code():
    """A line of an answer is a message; others have no usage."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 2}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8"}
    line = {"type": "assistant", "sessionId": "s", "message": {**message, "usage": usage}}
    one = claude_code.adapt(line)
    assert isinstance(one, Adapted)
    assert (used(one), one.record_id, one.session) == (
        {"input": 3, "cache_read": 9, "output": 2},
        "msg_1",
        "s",
    )
    within = {
        "type": "progress",
        "sessionId": "s",
        "data": {"message": {k: line[k] for k in ("type", "message")}},
    }
    assert claude_code.adapt(within) == one
    assert claude_code.adapt({"type": "user", "message": {}}) == NoUsage("no_usage")
    synthetic = {**line, "message": {**message, "model": "<synthetic>", "usage": usage}}
    assert claude_code.adapt(synthetic) == NoUsage("synthetic")


def counts(given: int, wrote: int) -> dict[str, int]:
    return {"input_tokens": given, "output_tokens": wrote, "total_tokens": given + wrote}


def test_lines_of_codex():
    """The totals decide: one that is said again is no call, one that skips a call counts it."""
    transcript = codex.Transcript()

    def token_count(last: dict[str, int], total: dict[str, int]) -> Adapted | NoUsage:
        info = {"last_token_usage": last, "total_token_usage": total}
        return transcript.adapt({"type": "event_msg", "payload": {"type": "token_count", "info": info}})

    meta = {"type": "session_meta", "payload": {"id": "s", "model_provider": "openai"}}
    assert transcript.adapt(meta) == NoUsage("no_usage")
    transcript.adapt({"type": "turn_context", "payload": {"model": "gpt-5.4"}})
    first = token_count(counts(10, 1), counts(10, 1))
    assert (used(first), only(first).model, kinds(first)) == (
        {"input": 10, "output": 1},
        "openai/gpt-5.4",
        [],
    )
    assert token_count(counts(10, 1), counts(10, 1)) == NoUsage("repeated")
    assert used(token_count(counts(20, 2), counts(30, 3))) == {"input": 20, "output": 2}
    gap = token_count(counts(20, 2), counts(100, 10))
    assert (used(gap), kinds(gap)) == ({"input": 70, "output": 7}, ["assumed"])


def test_running_totals_beside_a_usage():
    """The form with `usage` and `total` of one call each: an unchanged total is no call."""
    transcript = codex.Transcript()
    record = {"model": "gpt-5.4", "usage": counts(10, 1), "total": counts(10, 1)}
    assert used(transcript.adapt_response(record)) == {"input": 10, "output": 1}
    assert transcript.adapt_response(json.loads(json.dumps(record))) == NoUsage("repeated")
    other = transcript.adapt_response({**record, "total": counts(20, 2)})
    assert (used(other), kinds(other)) == ({"input": 10, "output": 1}, [])
