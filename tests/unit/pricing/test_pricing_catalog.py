"""The catalog: the same prices as genai-prices has, and none that it does not have."""

import json
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from pricing_world import config, priced, terms, tokens

from pricing import CostBook, compile_terms
from pricing.costs.catalog import Catalog, snapshot
from pricing.usage.items import INPUT_QUANTITIES, OUTPUT_QUANTITIES
from tests.cards import card_text

INSTANTS = [
    datetime(2024, 3, 1, 3, 30, tzinfo=UTC),
    datetime(2025, 11, 3, 20, 0, tzinfo=UTC),
    datetime(2026, 11, 23, 2, 0, tzinfo=UTC),
]
ANY = "match: {tokens: '*'}, price: {per_million: {input: '1', output: '1'}}"
CATALOG = "tokens: {catalog: genai-prices}"


@pytest.fixture(scope="module")
def catalog():
    """The catalog from plain data, as a document would bring it back."""
    return Catalog(json.loads(json.dumps(snapshot())))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Terms over the catalog without discounts."""
    return terms(tmp_path_factory.mktemp("catalog"), ANY, costs=CATALOG)


def _cost_of_package(provider, model, used, instant, tier=None):
    """What genai-prices says, given its own overlapping totals, with the quantities that have a price."""
    usage = Usage(
        input_tokens=sum(used.get(key, 0) for key in INPUT_QUANTITIES),
        output_tokens=sum(used.get(key, 0) for key in OUTPUT_QUANTITIES),
        cache_read_tokens=used.get("cache_read", 0),
        cache_write_tokens=used.get("cache_write", 0) + used.get("cache_write_1h", 0),
        cache_write_1h_tokens=used.get("cache_write_1h", 0),
    )
    context = {"service_tier": tier} if tier else None
    found = calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=instant, price_context=context
    )
    return Fraction(found.total_price) * 10**9


@pytest.mark.parametrize(
    ("size", "instant", "plain_ones"),
    [(1_000, INSTANTS[2], True), (150_000, INSTANTS[0], False), (150_000, INSTANTS[1], False)],
)
def test_every_priced_model_costs_what_the_package_says(catalog, size, instant, plain_ones):
    """Names, dates, times of day and context cliffs, over all models that have input and output prices.

    Those whose price never changes are compared once.
    """
    used = {"input": size, "cache_read": size, "cache_write": size // 10, "output": size}
    item = tokens(**used)
    seen = 0
    for provider in providers:
        for model in provider.models:
            price = catalog.find(provider.id, model.id, "")
            if not plain_ones and "Tier(" not in repr(model.prices) and not isinstance(model.prices, list):
                continue
            amount = price.at(instant).amount(item) if price else None
            if amount is None:
                continue
            expected = _cost_of_package(provider.id, model.id, used, instant)
            assert abs(Fraction(*amount) - expected) < Fraction(1, 10**6), model.id
            seen += 1
    assert seen > (1900 if plain_ones else 250)


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("openai/gpt-5", "flex"),
        ("openai/gpt-5", "priority"),
        ("openai/gpt-5", ""),
        ("openai/gpt-5", "nonesuch"),
        ("Anthropic/Claude-Sonnet-4-5-20250929", ""),
        ("azure/gpt-4o", ""),
        ("google/claude-sonnet-4-5", ""),
        ("openrouter/anthropic/claude-sonnet-4.5", ""),
        ("openai/gpt-5-20250807", ""),
    ],
)
def test_names_and_tiers_are_matched_as_the_package_does(book, model, tier):
    """Ids, dated names, names in other letters, models of another provider; an unknown tier is none."""
    instant = INSTANTS[-1]
    used = {"input": 1000, "cache_read": 500, "output": 300}
    quote = priced(book, tokens(model, service_tier=tier, occurred_at=instant, **used))
    provider, _, name = model.partition("/")
    expected = _cost_of_package(provider, name, used, instant, tier)
    assert quote.lines[0].cost_exact_nanousd == expected
    assert quote.lines[0].internal["cost_source"] == ("stand_in" if tier == "nonesuch" else "catalog")


def test_batch_is_a_tier_of_service(book):
    """The catalog's `processing: batch` is the tier `batch`: half price."""
    full, half = (
        priced(book, tokens("anthropic/claude-haiku-4-5", input=1000, service_tier=tier)).lines[0]
        for tier in ("", "batch")
    )
    assert half.cost_exact_nanousd * 2 == full.cost_exact_nanousd


@pytest.mark.parametrize(
    ("model", "tier", "used", "dollars_million", "source"),
    [
        ("openrouter/anthropic/claude-sonnet-4.6", "", {"cache_write_1h": 10**6}, "6", "catalog"),
        ("openrouter/anthropic/claude-sonnet-4.6", "", {"cache_write": 10**6}, "3.75", "catalog"),
        ("openrouter/google/gemini-2.5-flash", "", {"cache_write_1h": 10**6}, None, "stand_in"),
        ("openrouter/google/gemini-2.5-flash", "", {"input": 10**6}, None, "catalog"),
        ("azure/gpt-5", "batch", {"input": 10**6}, "0.625", "catalog"),
        ("azure/gpt-5", "priority", {"input": 10**6}, "1.25", "stand_in"),
        ("openrouter/openai/gpt-5", "batch", {"input": 10**6}, "1.25", "stand_in"),
        ("anthropic/claude-opus-4-1", "batch", {"input": 10**6, "output": 10**6}, "45", "catalog"),
        ("openai/gpt-image-1", "", {"output_image": 10**6}, "40", "catalog"),
        ("openai/gpt-image-1.5", "", {"output_image": 10**6, "output": 10**6}, "42", "catalog"),
    ],
)
def test_what_the_catalog_does_not_price_is_derived_or_said(book, model, tier, used, dollars_million, source):
    """By the rule of who makes or serves it where that is known; else another price stands in: it says so."""
    line = priced(book, tokens(model, service_tier=tier, **used)).lines[0]
    assert line.internal["cost_source"] == source
    if dollars_million is not None:
        assert line.cost_exact_nanousd == Fraction(dollars_million) * 10**9


def test_context_cliffs_are_judged_by_request(book):
    """All that went in counts, cached or not, by the request; the output's price is judged by it too."""
    cliff = 200_000
    model = "anthropic/claude-sonnet-4-5"

    def rate(**used):
        return priced(book, tokens(model, output=1, **used)).lines[0].cost_exact_nanousd

    base = rate(input=cliff) - 3000 * cliff
    assert base == 15_000
    assert rate(input=cliff - 1, cache_read=2) == 6000 * (cliff - 1) + 600 * 2 + 22_500
    assert rate(input=2 * cliff, requests=2) == 3000 * 2 * cliff + 15_000
    assert rate(input=2 * cliff + 1, requests=2) == 6000 * (2 * cliff + 1) + 22_500


def test_prices_by_request_are_kept(book):
    """Where the catalog has a price of a request, it costs that much for each."""
    model = "perplexity/sonar"
    none, one, three = (
        priced(book, tokens(model, input=10, requests=requests)).lines[0].cost_exact_nanousd
        for requests in (0, 1, 3)
    )
    assert one == _cost_of_package("perplexity", "sonar", {"input": 10}, INSTANTS[-1])
    assert three - none == 3 * (one - none) > 0


@pytest.mark.parametrize("model", ["github-copilot/gpt-4o", "nobody/gpt-4o", "openai/nonesuch", "gpt-4o", ""])
def test_a_model_without_prices_is_unknown_and_not_free(book, model):
    """The package would price it at nothing, or not find it; here its cost is unknown."""
    assert not book.costs.known_model(model)
    costs = priced(book, tokens(model, input=1)).lines[0].costs
    assert (costs.asked, costs.served, costs.known) == (None, None, False)


def test_an_embedding_model_has_no_price_for_output(book):
    """A quantity that the catalog does not price is unknown, not 0."""
    model = "openai/text-embedding-3-small"
    assert priced(book, tokens(model, input=1000)).lines[0].costs.known
    assert not priced(book, tokens(model, input=1000, output=1)).lines[0].costs.known


def test_a_discount_is_the_providers_and_models_of_our_own_have_none(tmp_path):
    """List keeps the catalog's price, asked is ours; a model of our own goes before the catalog's."""
    costs = """
tokens:
  catalog: genai-prices
  discounts: {anthropic: "10%"}
  models: {anthropic/claude-own: {per_million: {input: "1"}}}
"""
    made = terms(tmp_path, ANY, costs=costs)
    for model, listed, ours in [
        ("anthropic/claude-haiku-4-5", "1000000", "900000"),
        ("anthropic/claude-own", "1000000", "1000000"),
        ("openai/gpt-4o", "2500000", "2500000"),
    ]:
        internal = priced(made, tokens(model, input=1000)).lines[0].internal
        assert (internal["list_nanousd"], internal["asked_nanousd"]) == (listed, ours)


def test_a_document_restores_the_book(tmp_path):
    """The version covers the prices that it resolved; its document brings them back without the package."""
    card = card_text(ANY)
    made = config(tmp_path / "a", CATALOG, card)
    restored = CostBook.from_document(made.costs.document)
    assert (restored.version, restored.document) == (made.costs.version, made.costs.document)
    item = tokens("anthropic/claude-sonnet-4-5", input=1000, cache_read=7)
    before, after = (
        priced(compile_terms(made.cards["test"], book), item).lines[0].costs
        for book in (made.costs, restored)
    )
    assert before == after
    document = json.loads(made.costs.document)
    document["catalog"]["providers"][0]["models"][0][1][0][1]["input"] = "99"
    assert CostBook.from_document(json.dumps(document)).version != made.costs.version


def test_look_ups_are_remembered_but_not_for_ever(book):
    """Names come from callers: what is stored of them is bounded."""
    for number in range(10_000):
        book.costs.model(f"nobody/{number}", "")
        book.rules["tokens"].first(tokens(f"nobody/{number}"), ())
    assert len(book.costs._known) <= 4096
    assert len(book.rules["tokens"]._known) <= 8192
