"""Statements of a month: what may be asked of them, and where a page of one ends."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from ledger.api.messages import limits, paging, validation
from ledger.api.messages.validation import EPOCH, Problems
from ledger.api.public import usage_reports
from ledger.store.reading.month_statement import StatementPlace, StatementQuery
from ledger.v1 import wallet_service_pb2 as pb

_NO_MONTH: Final = date(2026, 1, 1)
"""Stands in for one that is wrong: the request is refused."""

_MICROSECOND: Final = timedelta(microseconds=1)
_AS_OF_MAX: Final = (datetime.max.replace(tzinfo=EPOCH.tzinfo) - EPOCH) // _MICROSECOND


def query(problems: Problems, request: pb.GetStatementRequest, now: datetime) -> StatementQuery:
    """What a request asks for."""
    month = validation.month(problems, "month", request.month)
    if month is not None and month.year not in usage_reports.YEARS:
        problems.add("month", f"is out of the calendar; {usage_reports.YEARS_ALLOWED} are allowed")
    labels = usage_reports.label_keys(problems, request)
    return StatementQuery(month or _NO_MONTH, labels, now - limits.AS_OF_BACK_MIN)


def place(problems: Problems, request: pb.GetStatementRequest) -> StatementPlace | None:
    """Where a page begins; None of the first page. An instant is a number of microseconds, 0 for none."""
    most = usage_reports.SEQUENCE_MAX
    zone, as_of, *numbers = paging.last_key(problems, request, ("", _AS_OF_MAX, most, most, most, most))
    if not request.page_token:
        return None
    micros = int(as_of)
    return StatementPlace(
        str(zone), EPOCH + micros * _MICROSECOND if micros else None, *(int(number) for number in numbers)
    )


def next_page_token(request: pb.GetStatementRequest, place: StatementPlace | None) -> str:
    """The token of the page that begins there; of none: empty."""
    if place is None:
        return ""
    zone, as_of, *numbers = place
    micros = (as_of - EPOCH) // _MICROSECOND if as_of is not None else 0
    return paging.next_page_token(request, (zone, micros, *numbers))
