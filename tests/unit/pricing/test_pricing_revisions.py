"""An older version comes back as the next: the same content, under another revision."""

from __future__ import annotations

import json

import pytest

import pricing

RULES = "rules: [{name: n, match: {units: page}, price: {each: '1'}}]"
LINES = f"credit: ü\ncredit_price_usd: '1'\n{RULES}\n"
FLOW = f"credit: c, credit_price_usd: '1', {RULES}}}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"# ours\ncard: a\nrevision: 3 # third\n{LINES}", f"# ours\ncard: a\nrevision: 12 # third\n{LINES}"),
        (f"# ours\ncard: a\n{LINES}", f"# ours\nrevision: 12\ncard: a\n{LINES}"),
        (f"{LINES}card: a\nrevision: 3", f"{LINES}card: a\nrevision: 12"),
        ("  card: a\n  credit: c\n  credit_price_usd: '1'\n  " + RULES, None),
        (f"{{card: a, {FLOW}", f"{{revision: 12, card: a, {FLOW}"),
        (f"{{card: a, revision: 3, {FLOW}", f"{{card: a, revision: 12, {FLOW}"),
    ],
)
def test_a_card_keeps_its_words(before, after):
    """But for the revision the text stays as it was written, comments and all."""
    card = pricing.RateCard.from_document(before)
    revised = pricing.RateCard.from_document(pricing.revised_text(before, 12))
    assert revised.document == (after or "  revision: 12\n" + before)
    assert (card.revision, revised.revision) == (3 if "revision" in before else 1, 12)
    assert pricing.differing_cards(card, revised) == ()


def test_a_cost_book_keeps_its_catalog():
    """The prices that it resolved when it was first published come back with it."""
    old = pricing.read_costs_text("tokens: {catalog: genai-prices}\nunits: {page: {each: '1'}}")
    document = json.loads(old.document)
    document["catalog"]["providers"] = document["catalog"]["providers"][:3]
    older = pricing.CostBook.from_document(json.dumps(document))
    revised = pricing.revised_costs(older, 9)
    assert revised.revision == 9
    assert json.loads(revised.document)["catalog"] == document["catalog"]
    assert pricing.differing_costs(older, revised) == ()
