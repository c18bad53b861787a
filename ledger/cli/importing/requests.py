"""What a row asks for: a customer, or a grant of what is left of a lot, as a request of the back office.

A request is checked as the server checks it, so that a dry run reports what a real one would be refused for.
Its id is made of the row's own: the same row is never booked twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final, Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import decode_customers, decode_grants
from ledger.api.messages.limits import AMOUNT_MICROS_MAX
from ledger.api.messages.rehearsal import rehearse_grant
from ledger.api.messages.validation import InvalidArgumentError
from ledger.cli.importing.row_files import BrokenLine, TextRow
from ledger.cli.output.amounts import micros, nanousd, show_credits
from ledger.v1.wallet_service_pb2 import GrantKind

Request = TypeVar("Request", admin.CreateCustomerRequest, admin.IssueGrantRequest)

_KIND: Final = "GRANT_KIND_"
_KINDS: Final = [
    name.removeprefix(_KIND) for name in GrantKind.DESCRIPTOR.values_by_name if name != f"{_KIND}UNSPECIFIED"
]
_WHOLE: Final = re.compile("-?[0-9]{1,10}")
"""As it is written elsewhere: neither 1_000 nor digits of another script."""
_CUSTOMERS_REQUEST: Final = "import"
"""The request that makes a customer: one of its id, so that no row's own id is needed."""
_GRANTS_REQUEST: Final = "import/"
"""Before the row's id."""


class _WrongFieldError(Exception):
    """A field that cannot be read: its column, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ImportKind(Generic[Request]):
    """A kind of rows."""

    what: str
    columns: Mapping[str, bool]
    """And whether each is required, in the order in which they are named to people."""
    make: Callable[[Mapping[str, str]], Request]
    """Raises _WrongFieldError."""
    check: Callable[[Request, datetime], object]
    """As the server does with any row. Raises InvalidArgumentError."""
    rehearse: Callable[[Request, datetime], object]
    """As the server and the books do with a row that was not imported before. Raises InvalidArgumentError."""
    row_id: str
    """The column whose values are unique."""
    fields: Mapping[str, str]
    """Columns, by the names of their fields where those differ."""

    @property
    def required(self) -> list[str]:
        return [column for column, is_required in self.columns.items() if is_required]

    def read(self, row: TextRow, now: datetime, *, is_rehearsal: bool) -> Request | list[BrokenLine]:
        """The request of a row, or what is wrong with the row."""
        missing = [column for column in self.required if not row.values.get(column)]
        if missing:
            return [BrokenLine(row.line, column, "is required") for column in missing]
        try:
            request = self.make(row.values)
            (self.rehearse if is_rehearsal else self.check)(request, now)
        except _WrongFieldError as wrong:
            return [BrokenLine(row.line, *wrong.args)]
        except InvalidArgumentError as wrong:
            return [BrokenLine(row.line, self.column(path), problem) for path, problem in wrong.violations]
        return request

    def column(self, path: str) -> str:
        """The column of a field of the request."""
        return self.fields.get(path, path.removeprefix("customer."))


def _customer(values: Mapping[str, str]) -> admin.CreateCustomerRequest:
    return admin.CreateCustomerRequest(
        request_id=_CUSTOMERS_REQUEST,
        customer=admin.Customer(
            customer_id=values["customer_id"],
            display_name=values.get("display_name", ""),
            plan=values["plan"],
            rate_card=values.get("rate_card", ""),
            zone=values.get("zone", ""),
            multiplier=values.get("multiplier", ""),
        ),
    )


def _grant(values: Mapping[str, str]) -> admin.IssueGrantRequest:
    kind = values["kind"].upper()
    if kind not in _KINDS:
        raise _WrongFieldError("kind", f"is {kind!r}; one of {', '.join(_KINDS)} is required")
    return admin.IssueGrantRequest(
        request_id=f"{_GRANTS_REQUEST}{values['id']}",
        customer_id=values["customer_id"],
        amount_micros=_micros("credits", values["credits"]),
        kind=GrantKind.Value(f"{_KIND}{kind}"),
        paid_total_usd=values.get("paid_total_usd", ""),
        effective_at=_instant("effective_at", values.get("effective_at", "")),
        expires_at=_instant("expires_at", values.get("expires_at", "")),
        priority=_whole("priority", values.get("priority", "")),
        scope=values.get("scope", ""),
        external_reference=values.get("external_reference", ""),
        note=values.get("note", ""),
    )


def paid_nanousd(request: admin.CreateCustomerRequest | admin.IssueGrantRequest) -> int:
    """What was paid for a grant."""
    return nanousd(request.paid_total_usd or "0") if isinstance(request, admin.IssueGrantRequest) else 0


def granted_micros(request: admin.CreateCustomerRequest | admin.IssueGrantRequest) -> int:
    """The credits of a grant."""
    return request.amount_micros if isinstance(request, admin.IssueGrantRequest) else 0


def _micros(column: str, text: str) -> int:
    try:
        amount = micros(text)
        if 0 < amount <= AMOUNT_MICROS_MAX:
            return amount
    except (ArithmeticError, ValueError):
        pass
    raise _WrongFieldError(
        column,
        f"is {text[:40]!r}; credits above 0 with at most 6 decimal places are required, e.g. 12.5; "
        f"{show_credits(AMOUNT_MICROS_MAX)} at most",
    )


def _whole(column: str, text: str) -> int:
    if _WHOLE.fullmatch(text or "0"):
        number = int(text or "0")
        if -(2**31) <= number < 2**31:
            return number
    raise _WrongFieldError(column, f"is {text[:40]!r}; a whole number of 32 bits is required")


def _instant(column: str, text: str) -> Timestamp | None:
    """An instant: a day is its first one in UTC, and a time without an offset is of UTC."""
    if not text:
        return None
    try:
        if len(text) == len("2026-11-29"):
            when = datetime.combine(date.fromisoformat(text), time.min, tzinfo=UTC)
        else:
            when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        made = Timestamp()
        made.FromDatetime(when)
    except (ValueError, OverflowError):
        raise _WrongFieldError(
            column,
            f"is {text[:40]!r}; a day or an instant is required: 2026-11-29, 2026-11-29T12:00:00Z",
        ) from None
    return made


CUSTOMERS: Final = ImportKind(
    what="customers",
    columns={
        "customer_id": True,
        "plan": True,
        "display_name": False,
        "rate_card": False,
        "zone": False,
        "multiplier": False,
    },
    make=_customer,
    check=lambda request, _now: decode_customers.create_customer(request),
    rehearse=lambda request, _now: decode_customers.create_customer(request),
    row_id="customer_id",
    fields={},
)
GRANTS: Final = ImportKind(
    what="grants",
    columns={
        "id": True,
        "customer_id": True,
        "credits": True,
        "kind": True,
        "paid_total_usd": False,
        "effective_at": False,
        "expires_at": False,
        "priority": False,
        "scope": False,
        "external_reference": False,
        "note": False,
    },
    make=_grant,
    check=decode_grants.issue_grant,
    rehearse=rehearse_grant,
    row_id="id",
    fields={"request_id": "id", "amount_micros": "credits"},
)
