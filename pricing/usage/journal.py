"""What the journal stores of usage, and usage made of it again: enough to price it anew, and no more.

A line's public facts are its kind, name and quantities; its internal ones say what served it, whose key it
was and, under the key `usage`, what else is not as usual: bytes of a row matter.

| key | field | as |
|---|---|---|
| `at` | `occurred_at` | microseconds since 1970 |
| `tier` | `service_tier` | text |
| `state` | `state` | text |
| `run` | `run_id` | text |
| `start` | `started_at` | microseconds since 1970 |
| `from` | `resized_from` | text |
| `result` | `result` | text |
| `subject` | `subject` | text |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pricing.exact import format_nanos, parse_nanos
from pricing.usage.items import OURS, Compute, Item, KeyOwner, Outcome, Result, Tokens, Units

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KINDS: Mapping[type[Item], str] = {
    Tokens: "tokens",
    Compute: "compute",
    Units: "units",
    Outcome: "outcome",
}
_KEY_OWNERS = {str(owner): owner for owner in KeyOwner}


def kind_of(item: Item) -> str:
    """tokens, compute, units or outcome."""
    return _KINDS[type(item)]


def name_of(item: Item) -> str:
    """What was asked for: a model, a resource, a meter, an outcome."""
    if isinstance(item, Tokens):
        return item.model
    if isinstance(item, Compute):
        return item.resource
    return item.meter if isinstance(item, Units) else item.name


def quantities_of(item: Item) -> dict[str, str]:
    """The quantities as they were reported; durations in seconds."""
    if isinstance(item, Tokens):
        quantities = {}
        for key, quantity in item.quantities.items():
            quantities[key] = str(quantity)
        quantities["requests"] = str(item.requests)
        return quantities
    if isinstance(item, Compute):
        return {
            "duration_seconds": format_nanos(item.duration_nanos),
            "count": format_nanos(item.count_nanos),
        }
    if isinstance(item, Units):
        return {"quantity": format_nanos(item.quantity_nanos)}
    return {"count": str(item.count)}


def facts_of(item: Item) -> dict[str, object]:
    """What is stored under `usage`, as JSON values; empty if all is as usual."""
    facts: dict[str, object] = {}
    if isinstance(item, Tokens):
        if item.service_tier:
            facts["tier"] = item.service_tier
    elif isinstance(item, Compute):
        facts |= _facts_of_compute(item)
    elif isinstance(item, Outcome):
        facts["result"] = str(item.result)
        if item.subject:
            facts["subject"] = item.subject
    if item.occurred_at is not None:
        facts["at"] = (item.occurred_at - _EPOCH) // _MICROSECOND
    return facts


def stored_of(item: Item) -> tuple[dict[str, object], dict[str, object]]:
    """Public and internal facts that `item_of` makes the usage of again."""
    kind = kind_of(item)
    public: dict[str, object] = {"kind": kind, "name": name_of(item), "quantities": quantities_of(item)}
    internal: dict[str, object] = {"usage": facts_of(item)}
    if isinstance(item, (Tokens, Compute)):
        internal["served_by"] = item.served_by or ""
    if isinstance(item, Tokens):
        internal["key_owner"] = str(item.key_owner)
    return public, internal


def _facts_of_compute(item: Compute) -> dict[str, object]:
    facts: dict[str, object] = {}
    if item.state != "active":
        facts["state"] = item.state
    if item.run_id is not None:
        facts["run"] = item.run_id
    if item.started_at is not None:
        facts["start"] = (item.started_at - _EPOCH) // _MICROSECOND
    if item.resized_from is not None:
        facts["from"] = item.resized_from
    return facts


def item_of(public: Mapping[str, Any], internal: Mapping[str, Any]) -> Item:
    """The usage that a line of the journal is of.

    Takes the line's public facts and its internal ones. Raises KeyError or ValueError for what is no line.
    """
    kind, name, quantities = public["kind"], public["name"], public["quantities"]
    facts: Mapping[str, Any] = internal.get("usage") or {}
    served_by = internal.get("served_by") or None
    occurred_at = _instant(facts, "at")
    match kind:
        case "tokens":
            tokens = {key: int(quantity) for key, quantity in quantities.items()}
            requests = tokens.pop("requests")
            key_owner = _KEY_OWNERS[internal.get("key_owner") or OURS]
            return Tokens(name, tokens, served_by, key_owner, facts.get("tier", ""), requests, occurred_at)
        case "compute":
            return Compute(
                name,
                parse_nanos(quantities["duration_seconds"]),
                parse_nanos(quantities["count"]),
                served_by,
                facts.get("run"),
                facts.get("state", "active"),
                _instant(facts, "start"),
                facts.get("from"),
                occurred_at,
            )
        case "units":
            return Units(name, parse_nanos(quantities["quantity"]), occurred_at)
        case "outcome":
            result, subject = Result(facts["result"]), facts.get("subject", "")
            return Outcome(name, result, subject, int(quantities["count"]), occurred_at)
        case _:
            raise ValueError(f"{kind!r} is no kind of usage")


def _instant(facts: Mapping[str, Any], key: str) -> datetime | None:
    return _EPOCH + facts[key] * _MICROSECOND if key in facts else None
