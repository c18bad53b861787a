"""Usage messages as pricing's items."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pricing
from ledger.api.messages import limits, validation
from ledger.api.messages.validation import Problems
from ledger.books.making import make
from ledger.v1 import usage_pb2 as pb

STATES: Final = ("active", "idle", "waiting", "asleep")
"""What a machine may be doing."""

_FIRST_QUANTITY: Final = 10
"""From this field number on, the fields of `TokenUsage` are quantities."""

_NAMES: Final = {
    field.number: field.name for field in pb.TokenUsage.DESCRIPTOR.fields if field.number >= _FIRST_QUANTITY
}
"""Of the quantities."""
_KEY_OWNERS: Final = {
    pb.KEY_OWNER_UNSPECIFIED: pricing.KeyOwner.OURS,
    pb.KEY_OWNER_OURS: pricing.KeyOwner.OURS,
    pb.KEY_OWNER_CUSTOMER: pricing.KeyOwner.CUSTOMER,
}
_RESULTS: Final = {
    pb.OUTCOME_RESULT_RESOLVED: pricing.Result.RESOLVED,
    pb.OUTCOME_RESULT_FAILED: pricing.Result.FAILED,
    pb.OUTCOME_RESULT_ESCALATED: pricing.Result.ESCALATED,
    pb.OUTCOME_RESULT_ABANDONED: pricing.Result.ABANDONED,
}


def decode_usage(
    problems: Problems, path: str, usage: pb.UsageList, now: datetime
) -> tuple[pricing.Item, ...]:
    """The items of a usage list; what is wrong with any of them is noted."""
    usage_items = usage.items
    count = len(usage_items)
    if not 1 <= count <= limits.USAGE_ITEMS_MAX:
        problems.add(f"{path}.items", f"has {count} items; 1 to {limits.USAGE_ITEMS_MAX} are allowed")
        return ()
    items = []
    for index, item in enumerate(usage_items):
        decoded = _item(problems, f"{path}.items[{index}]", item, now)
        if decoded is not None:
            items.append(decoded)
    return tuple(items)


def _item(problems: Problems, path: str, item: pb.UsageItem, now: datetime) -> pricing.Item | None:
    when = None
    if item.HasField("occurred_at"):
        when = validation.occurred_at(problems, f"{path}.occurred_at", item.occurred_at, now)
    match item.WhichOneof("kind"):
        case "tokens":
            return _tokens(problems, f"{path}.tokens", item.tokens, when)
        case "compute":
            return _compute(problems, f"{path}.compute", item.compute, when, now)
        case "units":
            return _units(problems, f"{path}.units", item.units, when)
        case "outcome":
            return _outcome(problems, f"{path}.outcome", item.outcome, when)
        case _:
            problems.add(path, "has no kind; one of tokens, compute, units, outcome is required")
            return None


def _tokens(problems: Problems, path: str, usage: pb.TokenUsage, when: datetime | None) -> pricing.Tokens:
    quantities = {}
    for field, value in usage.ListFields():
        name = _NAMES.get(field.number)
        if name is not None:
            quantities[name] = value
            if not 0 <= value <= limits.QUANTITY_MAX:
                validation.integer(problems, f"{path}.{name}", value, 0, limits.QUANTITY_MAX)
    if not quantities:
        problems.add(
            path, f"has no quantity; at least one of {', '.join(_NAMES.values())} is required (0 is one)"
        )
    requests = 1
    if usage.HasField("requests"):
        requests = validation.integer(problems, f"{path}.requests", usage.requests, 0, limits.QUANTITY_MAX)
    key_owner = _KEY_OWNERS.get(usage.key_owner)
    if key_owner is None:
        problems.add(f"{path}.key_owner", f"is {usage.key_owner}; OURS or CUSTOMER is allowed")
        key_owner = pricing.KeyOwner.OURS
    model = validation.name(problems, f"{path}.model", usage.model)
    served_by, service_tier = usage.served_by, usage.service_tier
    if served_by or service_tier:
        _text(problems, f"{path}.served_by", served_by)
        _text(problems, f"{path}.service_tier", service_tier)
    fields = (model, quantities, served_by or None, key_owner, service_tier, requests, when)
    return make(pricing.Tokens, fields)


def _compute(
    problems: Problems, path: str, usage: pb.ComputeUsage, when: datetime | None, now: datetime
) -> pricing.Compute:
    duration = 0
    if usage.HasField("duration"):
        duration = validation.duration_nanos(problems, f"{path}.duration", usage.duration)
    else:
        problems.add(f"{path}.duration", "is required (0 s is allowed)")
    state = usage.state or STATES[0]
    if state not in STATES:
        problems.add(f"{path}.state", f"is not one of {', '.join(STATES)}")
    started = None
    if usage.HasField("started_at"):
        started = validation.started_at(problems, f"{path}.started_at", usage.started_at, now)
    elif usage.resized_from:
        problems.add(f"{path}.started_at", "is required with resized_from: when the machine was resized")
    return pricing.Compute(
        resource=validation.name(problems, f"{path}.resource", usage.resource),
        duration_nanos=duration,
        count_nanos=validation.decimal_nanos(problems, f"{path}.count", usage.count or "1"),
        served_by=_optional(problems, f"{path}.served_by", usage.served_by),
        run_id=_optional(problems, f"{path}.run_id", usage.run_id),
        state=state,
        started_at=started,
        resized_from=_optional(problems, f"{path}.resized_from", usage.resized_from),
        occurred_at=when,
    )


def _units(problems: Problems, path: str, usage: pb.UnitUsage, when: datetime | None) -> pricing.Units:
    quantity = 0
    if usage.quantity:
        quantity = validation.decimal_nanos(problems, f"{path}.quantity", usage.quantity)
    else:
        problems.add(f"{path}.quantity", 'is required, as a decimal string ("0" is allowed)')
    return pricing.Units(validation.name(problems, f"{path}.meter", usage.meter), quantity, when)


def _outcome(problems: Problems, path: str, outcome: pb.Outcome, when: datetime | None) -> pricing.Outcome:
    result = _RESULTS.get(outcome.result)
    if result is None:
        problems.add(f"{path}.result", f"one of {', '.join(_RESULTS.values())} is required")
        result = pricing.Result.FAILED
    count = 1
    if outcome.HasField("count"):
        count = validation.integer(problems, f"{path}.count", outcome.count, 0, limits.QUANTITY_MAX)
    return pricing.Outcome(
        name=validation.name(problems, f"{path}.name", outcome.name),
        result=result,
        subject=_text(problems, f"{path}.subject", outcome.subject),
        count=count,
        occurred_at=when,
    )


def _text(problems: Problems, path: str, value: str) -> str:
    return validation.text(problems, path, value, limits.NAME_LENGTH_MAX)


def _optional(problems: Problems, path: str, value: str) -> str | None:
    return _text(problems, path, value) if value else None
