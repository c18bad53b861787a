"""Our adapters and costs beside the catalog's own: a drift of either shows.

Each model that the project's documents name, in each form that the catalog's package can read of its
provider, is read and priced by both. Where they differ for a reason, it is listed, and is seen to differ.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from genai_prices import extract_usage
from genai_prices.data import providers

from pricing import CostBook, Tokens
from pricing.adapters import Adapted, anthropic, bedrock, gemini, openai
from pricing.costs.catalog import snapshot
from pricing.costs.item_cost import tokens_costs

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = CostBook({"tokens": {"catalog": "genai-prices"}}, snapshot())
FLAVORS = {
    provider.id: {extractor.api_flavor for extractor in provider.extractors or ()} for provider in providers
}
BARE = re.compile(r"\b([a-z][a-z-]*)/([A-Za-z0-9][\w.:/-]*[\w])")


def named() -> list[str]:
    """The models of the catalog that the documents and the shipped cards name."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("ledger/sample/config/**/*.yaml")]
    texts = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = {f"{provider}/{name}" for provider, name in BARE.findall(texts) if provider in FLAVORS}
    return sorted(name for name in found if BOOK.known_model(name))


def chat(name: str) -> dict[str, Any]:
    return {
        "model": name,
        "usage": {
            "prompt_tokens": 5000,
            "completion_tokens": 700,
            "total_tokens": 5700,
            "prompt_tokens_details": {"cached_tokens": 3000},
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
    }


def responses(name: str) -> dict[str, Any]:
    usage = chat(name)["usage"]
    return {
        "model": name,
        "usage": {
            "input_tokens": 5000,
            "output_tokens": 700,
            "total_tokens": 5700,
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens_details": usage["completion_tokens_details"],
        },
    }


def message(name: str) -> dict[str, Any]:
    return {
        "model": name,
        "usage": {
            "input_tokens": 2000,
            "cache_read_input_tokens": 3000,
            "cache_creation_input_tokens": 900,
            "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 300},
            "output_tokens": 700,
        },
    }


def generated(name: str) -> dict[str, Any]:
    return {
        "modelVersion": name,
        "usageMetadata": {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 3000,
            "candidatesTokenCount": 500,
            "thoughtsTokenCount": 200,
            "totalTokenCount": 5700,
        },
    }


def converse(name: str) -> dict[str, Any]:
    usage = {"inputTokens": 2000, "cacheReadInputTokens": 3000, "outputTokens": 700}
    return {"model": name, "modelId": name, "usage": usage}


FORMS = {
    ("anthropic", "default"): (message, anthropic.adapt),
    ("google", "default"): (generated, gemini.adapt),
    ("aws", "default"): (converse, bedrock.adapt),
    ("", "chat"): (chat, openai.adapt),
    ("", "responses"): (responses, openai.adapt),
}
DIFFERENCES = {
    ("x-ai", "chat"): "the package adds reasoning always; we add it where the total says that it is beside",
}
"""By provider and form, why the package comes to another sum."""


def forms(model: str) -> list[tuple[str, str]]:
    provider = model.partition("/")[0]
    own = [(key, flavor) for key, flavor in FORMS if key in {provider, ""} and flavor in FLAVORS[provider]]
    return own if provider != "anthropic" else [("anthropic", "default")]


def both(model: str, form: tuple[str, str]) -> tuple[Fraction, Fraction]:
    """What a record costs by us and by the package, in dollars."""
    provider, _, name = model.partition("/")
    make, adapt = FORMS[form]
    record = make(name)
    asked = record if "modelId" in record else {"request": {"model": model}, "response": record}
    one = adapt({key: value for key, value in asked.items() if "modelId" not in record or key != "model"})
    assert isinstance(one, Adapted)
    (item,) = one.items
    assert isinstance(item, Tokens)
    ours = Fraction(*tokens_costs(item, BOOK, NOW).posted) / 10**9
    found = extract_usage(record, provider_id=provider, api_flavor=form[1])
    return ours, Fraction(found.calc_price(genai_request_timestamp=NOW).total_price)


CASES = [(model, form) for model in named() for form in forms(model)]


@pytest.mark.parametrize(
    ("model", "form"), CASES, ids=lambda value: value if isinstance(value, str) else value[1]
)
def test_a_record_costs_what_the_package_says(model, form):
    """Read and priced by both, to a thousandth of a nano-dollar; else the difference is a listed one."""
    ours, theirs = both(model, form)
    provider = model.partition("/")[0]
    assert (abs(ours - theirs) < Fraction(1, 10**12)) == ((provider, form[1]) not in DIFFERENCES)


@pytest.mark.parametrize(
    ("model", "form"),
    [("x-ai/grok-4", ("", "chat")), ("deepseek/deepseek-chat", ("", "chat")), ("openai/gpt-5", ("", "chat"))],
)
def test_models_of_each_way_to_count(model, form):
    """Those of the listed differences differ, so that the list is needed; others do not."""
    ours, theirs = both(model, form)
    assert (ours != theirs) == ((model.partition("/")[0], form[1]) in DIFFERENCES)


def test_the_documents_name_models():
    """So that the comparison is one."""
    assert len(CASES) >= 5
