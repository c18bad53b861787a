"""Usage reports: what may be asked of them, and where a page of one ends."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from ledger.api.messages import limits, paging, validation
from ledger.api.messages.validation import Problems
from ledger.store.reading.usage_report import UsageKey, UsagePlace, UsageQuery
from ledger.v1 import wallet_service_pb2 as pb

_NO_DAY: Final = date(2026, 1, 1)
"""Stands in for one that is wrong: the request is refused."""

SEQUENCE_MAX: Final = 2**62
"""Above all that are; what is added to it still fits into 64 bits."""

YEARS: Final = range(2000, 2101)
"""Of the days that may be asked for: every zone knows when they begin."""

YEARS_ALLOWED: Final = f"{YEARS[0]} to {YEARS[-1]}"


def query(problems: Problems, request: pb.GetUsageReportRequest) -> UsageQuery:
    """What a request asks for. Internal labels are stored, and no customer can ask for them."""
    first = validation.day(problems, "first_day", request.first_day)
    if not request.first_day:
        problems.add("first_day", "is required, as YYYY-MM-DD")
    last = validation.day(problems, "last_day", request.last_day)
    first = first or last or _NO_DAY
    last = last or first
    days = (last - first).days + 1
    if not 1 <= days <= limits.USAGE_DAYS_MAX:
        problems.add("last_day", f"makes {days} days; 1 to {limits.USAGE_DAYS_MAX} are allowed")
    if first.year not in YEARS or last.year not in YEARS:
        problems.add("first_day", f"is out of the calendar; {YEARS_ALLOWED} are allowed")
    labels = validation.label_filter(problems, "labels", request.labels)
    return UsageQuery(first, last, label_keys(problems, request), labels)


def label_keys(
    problems: Problems, request: pb.GetUsageReportRequest | pb.GetStatementRequest
) -> tuple[str, ...]:
    """The labels by which a report tells its rows apart."""
    keys = tuple(request.label_keys)
    if len(keys) > limits.USAGE_LABEL_KEYS_MAX:
        most = limits.USAGE_LABEL_KEYS_MAX
        problems.add("label_keys", f"has {len(keys)} keys; at most {most} are allowed")
    for index, key in enumerate(keys[: limits.USAGE_LABEL_KEYS_MAX]):
        path = f"label_keys[{index}]"
        validation.name(problems, path, key, limits.LABEL_KEY_LENGTH_MAX)
        validation.reportable_label(problems, path, key)
        if key in keys[:index]:
            problems.add(path, "is named before")
    return keys


def place(problems: Problems, request: pb.GetUsageReportRequest, query: UsageQuery) -> UsagePlace | None:
    """Where a page begins; None of the first page.

    A day is named by how many days of the report have begun with it; 0, where no row of the part was
    reported yet.
    """
    days = (query.last_day - query.first_day).days + 1
    first: tuple[int | str, ...] = (
        "",
        SEQUENCE_MAX,
        SEQUENCE_MAX,
        days,
        *[""] * len(query.label_keys),
        "",
        "",
    )
    zone, through, begin, day, *labels, kind, unit = paging.last_key(problems, request, first)
    if not request.page_token:
        return None
    after = None
    if day:
        last_day = query.first_day + timedelta(int(day) - 1)
        after = UsageKey(last_day, tuple(map(str, labels)), str(kind), str(unit))
    return UsagePlace(str(zone), int(through), int(begin), after)


def next_page_token(request: pb.GetUsageReportRequest, query: UsageQuery, place: UsagePlace | None) -> str:
    """The token of the page that begins there; of none: empty."""
    if place is None:
        return ""
    key = place.after
    day = (key.day - query.first_day).days + 1 if key else 0
    row = (*key.labels, key.kind, key.unit) if key else ("",) * (len(query.label_keys) + 2)
    return paging.next_page_token(request, (place.zone, place.through, place.first, day, *row))
