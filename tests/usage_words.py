"""Usage in words, so that a table of it can be read: items with `;` between them.

    warehouse/m 2h x3 run=a state=idle     compute: a duration (ms, s, m, h), a count, a run, a state
    warehouse/l 2h start=08:30 from=warehouse/m   its start, on 23 November 2026, and what it was resized from
    acme/model input=1000 output=10        tokens by quantity; key=CUSTOMER: on their key; by=acme/x: served
    web_search 2.5                         units
    ticket.resolved RESOLVED x2 of=t-1     an outcome: its result, a count, its subject

`at=2026-11-02T12:00Z` says when an item happened; `[workload=jobs]` labels the items that follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from fractions import Fraction

from pricing import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units
from pricing.usage.items import TOKEN_QUANTITIES

_NANOS = 10**9
_SECONDS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
_DURATION = re.compile(r"([0-9.]+)(ms|s|m|h)")
_LABEL = re.compile(r"\[(\w+)=([^\]]*)\]\s*")

DAY = datetime(2026, 11, 23, tzinfo=UTC)
"""Of times of the day."""

Labelled = tuple[Item, Mapping[str, str]]


def items(usage: str) -> Iterator[Labelled]:
    """The items of a row, each with the labels that it is used under."""
    labels: dict[str, str] = {}
    for words in usage.split(";"):
        rest = words.strip()
        while label := _LABEL.match(rest):
            labels = {**labels, label[1]: label[2]}
            rest = rest[label.end() :]
        yield _item(*rest.split()), labels


def _item(name: str, *words: str) -> Item:
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    bare = [word for word in words if "=" not in word]
    count = next((word[1:] for word in bare if re.fullmatch(r"x[0-9.]+", word)), "1")
    occurred_at = datetime.fromisoformat(fields.pop("at")) if "at" in fields else None
    results = [word for word in bare if word in Result.__members__]
    if results:
        return Outcome(name, Result(results[0]), fields.get("of", ""), int(count), occurred_at)
    duration = _DURATION.fullmatch(bare[0]) if bare else None
    if duration is not None:
        nanos = int(Fraction(duration[1]) * _SECONDS[duration[2]] * _NANOS)
        return Compute(
            name,
            nanos,
            int(Decimal(count) * _NANOS),
            run_id=fields.get("run"),
            state=fields.get("state", "active"),
            started_at=_time_of_day(fields["start"]) if "start" in fields else None,
            resized_from=fields.get("from"),
            occurred_at=occurred_at,
        )
    quantities = {key: int(amount) for key, amount in fields.items() if key in TOKEN_QUANTITIES}
    if quantities:
        return Tokens(
            name,
            quantities,
            fields.get("by"),
            KeyOwner(fields.get("key", "OURS")),
            requests=int(fields.get("requests", "1")),
            occurred_at=occurred_at,
        )
    return Units(name, int(Decimal(bare[0]) * _NANOS), occurred_at)


def _time_of_day(text: str) -> datetime:
    return datetime.combine(DAY, time.fromisoformat(text), UTC)
