"""A month's statement as its reader sees it: rows that lead from the opening to the closing balance.

Amounts have the sign that they have for the balance: what was granted or given back adds to it, what was used
or expired takes from it. All ways to print a statement are made of these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.cli.output.usage_text import label, show_quantities
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2 import Balance
from ledger.v1.wallet_service_pb2 import StatementLineType

_GRANTS: Final[Mapping[int, str]] = {
    wallet.GRANT_KIND_PAID: "Paid",
    wallet.GRANT_KIND_PROMO: "Promotion",
    wallet.GRANT_KIND_SUBSCRIPTION: "Subscription",
    wallet.GRANT_KIND_ADJUSTMENT: "Adjustment",
}
_SECTIONS: Final[Mapping[int, str]] = {
    StatementLineType.STATEMENT_LINE_TYPE_GRANT: "Granted",
    StatementLineType.STATEMENT_LINE_TYPE_USAGE: "Used",
    StatementLineType.STATEMENT_LINE_TYPE_NOT_COLLECTED: "Not collected",
    StatementLineType.STATEMENT_LINE_TYPE_REFUND: "Refunded",
    StatementLineType.STATEMENT_LINE_TYPE_REVERSAL: "Reversed",
    StatementLineType.STATEMENT_LINE_TYPE_PERIOD_CLOSED: "Settled at the close of a period",
}
"""In the order in which they are printed."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One amount of a statement, and what it is of."""

    section: str
    credits_micros: int
    title: str = ""
    kind: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    items: int | None = None
    quantities: str = ""
    measured: str = ""


@dataclass(frozen=True, slots=True)
class StatementSheet:
    """A whole statement of one customer."""

    customer_id: str
    month: str
    """YYYY-MM."""
    zone: str
    begins_at: datetime
    ends_at: datetime
    as_of: datetime | None
    """None: it is final."""
    label_keys: Sequence[str]
    opening_micros: int
    closing_micros: int
    rows: Sequence[SheetRow]

    @property
    def state(self) -> str:
        """Whether it may change."""
        if self.as_of is None:
            return "Final"
        return f"Not final: as of {self.as_of.astimezone(ZoneInfo(self.zone)):%Y-%m-%d %H:%M:%S %Z}"

    @property
    def off_micros(self) -> int:
        """How far the rows lead beyond the closing balance: 0, or the statement is wrong."""
        return self.opening_micros + sum(row.credits_micros for row in self.rows) - self.closing_micros

    @property
    def sections(self) -> dict[str, int]:
        """What the rows of each section add up to, in micro-credits."""
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[row.section] = sums.get(row.section, 0) + row.credits_micros
        return sums


def sheet_of(
    customer_id: str, month: str, label_keys: Sequence[str], statement: wallet.GetStatementResponse
) -> StatementSheet:
    """A statement whose pages are added up."""
    return StatementSheet(
        customer_id=customer_id,
        month=month,
        zone=statement.zone,
        begins_at=_instant(statement.begins_at),
        ends_at=_instant(statement.ends_at),
        as_of=_instant(statement.as_of) if statement.HasField("as_of") else None,
        label_keys=label_keys,
        opening_micros=_net(statement.opening),
        closing_micros=_net(statement.closing),
        rows=[*_lines(statement, label_keys), *_totals(statement)],
    )


def _lines(statement: wallet.GetStatementResponse, label_keys: Sequence[str]) -> Iterator[SheetRow]:
    places = {number: place for place, number in enumerate(_SECTIONS)}
    for line in sorted(statement.lines, key=lambda line: places[line.type]):
        is_grant = line.type == StatementLineType.STATEMENT_LINE_TYPE_GRANT
        yield SheetRow(
            section=_SECTIONS[line.type],
            credits_micros=line.credits_micros if is_grant else -line.credits_micros,
            title=_GRANTS.get(line.grant_kind, "") if is_grant else line.title,
            kind=line.kind,
            name=line.name,
            labels={key: label(line.labels, key) for key in label_keys},
            items=line.items if line.kind else None,
            quantities=show_quantities(line.quantities),
            measured=f"{line.measured} {line.unit}" if line.unit else "",
        )


def _totals(statement: wallet.GetStatementResponse) -> Iterator[SheetRow]:
    for section, amount_micros in (
        ("Expired", statement.expired_micros),
        ("Taken back", statement.voided_micros),
        ("Paid back in money", statement.refunded_micros),
    ):
        if amount_micros:
            yield SheetRow(section, -amount_micros)
    # It left grants that ended, and is in new ones: both, so that rows add up to the balance.
    if statement.rolled_over_micros:
        yield SheetRow("Rolled over from grants that ended", -statement.rolled_over_micros)
        yield SheetRow("Rolled over to new grants", statement.rolled_over_micros)


def _net(balance: Balance) -> int:
    return balance.available_micros + balance.held_micros + balance.pending_micros - balance.debt_micros


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
