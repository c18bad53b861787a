"""What the journal keeps of usage is enough to price it again."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from pricing import (
    Compute,
    CostBook,
    KeyOwner,
    Memory,
    Outcome,
    RateCard,
    Result,
    Tokens,
    Units,
    compile_terms,
    item_of,
    price,
)
from pricing.usage.items import TOKEN_QUANTITIES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COSTS = CostBook({}, None)
CARD = RateCard.from_document("""
card: empty
credit: credit
credit_price_usd: "1"
rules: [{name: none, match: {units: none}, price: {each: "1"}}]
""")

names = st.text(min_size=1, max_size=12)
some = st.none() | names
counts = st.integers(0, 10**15)
nanos = st.integers(0, 10**24 - 1)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5.5))])
instants = st.none() | st.builds(
    lambda micros, zone: (NOW + timedelta(microseconds=micros)).astimezone(zone),
    st.integers(-(10**15), 10**15),
    zones,
)
FIELDS = {
    Tokens: {
        "model": names,
        "quantities": st.dictionaries(st.sampled_from(TOKEN_QUANTITIES), counts),
        "served_by": some,
        "key_owner": st.sampled_from(KeyOwner),
        "service_tier": st.text(max_size=12),
        "requests": counts,
        "occurred_at": instants,
    },
    Compute: {
        "resource": names,
        "duration_nanos": nanos,
        "count_nanos": nanos,
        "served_by": some,
        "run_id": some,
        "state": names,
        "started_at": instants,
        "resized_from": some,
        "occurred_at": instants,
    },
    Units: {"meter": names, "quantity_nanos": nanos, "occurred_at": instants},
    Outcome: {
        "name": names,
        "result": st.sampled_from(Result),
        "subject": st.text(max_size=12),
        "count": counts,
        "occurred_at": instants,
    },
}
items = st.one_of([st.builds(kind, **values) for kind, values in FIELDS.items()])


def test_every_field_of_usage_is_tried():
    """The test below knows all fields that an item has: one that is added is to be stored, too."""
    for kind, known in FIELDS.items():
        stated = kind._fields if hasattr(kind, "_fields") else [field.name for field in fields(kind)]
        assert set(known) == set(stated)


@given(items)
def test_usage_is_made_of_its_line_again(item):
    """A line of the journal, written as JSON and read again, is the usage that it was made of."""
    quote = price([item], {}, compile_terms(CARD, COSTS), Memory(), now=NOW)
    line = json.loads(json.dumps([quote.lines[0].public, quote.lines[0].internal]))
    assert item_of(*line) == item


def test_what_is_as_usual_takes_no_room():
    """Of plain usage nothing is stored beside its line."""
    plain = [Tokens("a/b", {"input": 1}), Compute("m", 1), Units("u", 1)]
    quote = price(plain, {}, compile_terms(CARD, COSTS), Memory(), now=NOW)
    assert all("usage" not in line.internal for line in quote.lines)
