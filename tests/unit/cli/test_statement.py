"""A month's statement in print: every form has all amounts, and nothing that was written by others acts."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from ledger.cli.commands.statement import statement_table
from ledger.cli.output.statement_csv import harmless, statement_csv
from ledger.cli.output.statement_html import statement_html
from ledger.cli.output.statement_sheet import StatementSheet, sheet_of
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2 import Balance, Labels
from tests.amounts import CREDIT

KIND = wallet.StatementLineType
FORMULAS = ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1+2", "\uff20SUM(A1)"]


def instant(*parts: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(*parts, tzinfo=UTC))
    return made


def line(line_type: int, micros: int, **fields) -> wallet.StatementLine:
    return wallet.StatementLine(type=line_type, credits_micros=micros, **fields)


def sheet(*lines: wallet.StatementLine, customer_id: str = "acme", **fields) -> StatementSheet:
    """November in New York, from 5 to 104.5 credits."""
    given = {
        "zone": "America/New_York",
        "begins_at": instant(2026, 11, 1, 4),
        "ends_at": instant(2026, 12, 1, 5),
        "opening": Balance(available_micros=7 * CREDIT, debt_micros=2 * CREDIT),
        "granted_micros": 110 * CREDIT,
        "used_micros": 10 * CREDIT,
        "expired_micros": CREDIT // 2,
        "closing": Balance(available_micros=100 * CREDIT, held_micros=4 * CREDIT, pending_micros=CREDIT // 2),
        "lines": [
            line(KIND.STATEMENT_LINE_TYPE_GRANT, 100 * CREDIT, grant_kind=wallet.GRANT_KIND_PAID),
            line(KIND.STATEMENT_LINE_TYPE_GRANT, 10 * CREDIT, grant_kind=wallet.GRANT_KIND_PROMO),
            line(KIND.STATEMENT_LINE_TYPE_REFUND, -2 * CREDIT, kind="tokens", name="m"),
            *lines,
        ],
        **fields,
    }
    return sheet_of(customer_id, "2026-11", ["project"], wallet.GetStatementResponse(**given))


USED = line(
    KIND.STATEMENT_LINE_TYPE_USAGE,
    12 * CREDIT,
    kind="tokens",
    name="m",
    title="Modèle",
    unit="DBU",
    measured="0.5",
    items=1_234,
    quantities={"input": "1200", "output": "7"},
    labels=Labels(project="p"),
)


def test_rows_lead_from_the_opening_to_the_closing_balance():
    """With the sign that they have for the balance; what is missing is reported, not evened out."""
    stated = sheet(USED)
    assert (stated.opening_micros, stated.closing_micros) == (5 * CREDIT, 104_500_000)
    assert stated.sections == {
        "Granted": 110 * CREDIT,
        "Used": -12 * CREDIT,
        "Refunded": 2 * CREDIT,
        "Expired": -CREDIT // 2,
    }
    assert stated.off_micros == 0
    assert sheet().off_micros == 12 * CREDIT


def test_what_rolled_over_left_a_grant_and_came_to_another():
    """Two rows in every form, which leave the balance as it is; none where nothing did."""
    stated = sheet(USED, rolled_over_micros=3 * CREDIT)
    assert stated.sections.items() >= {
        ("Rolled over from grants that ended", -3 * CREDIT),
        ("Rolled over to new grants", 3 * CREDIT),
    }
    assert stated.off_micros == 0
    printed = Console(width=200)
    with printed.capture() as text:
        printed.print(statement_table(stated))
    for form in (statement_csv(stated), statement_html(stated), text.get()):
        assert "Rolled over to new grants" in form
    assert not any(section.startswith("Rolled over") for section in sheet(USED).sections)


def test_csv_adds_up():
    """A program reads every amount exactly: all rows but the last add up to the last."""
    rows = list(csv.DictReader(io.StringIO(statement_csv(sheet(USED)))))
    amounts = [Decimal(row["credits"]) for row in rows]
    assert sum(amounts[:-1]) == amounts[-1] == Decimal("104.5")
    assert rows[3] == {
        "section": "Used",
        "title": "Modèle",
        "kind": "tokens",
        "name": "m",
        "project": "p",
        "items": "1234",
        "quantities": "input 1200, output 7",
        "measured": "0.5 DBU",
        "credits": "-12.000000",
    }


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    """Of labels, names, titles and units: no text begins with what a spreadsheet carries out."""
    hostile = line(
        KIND.STATEMENT_LINE_TYPE_USAGE,
        12 * CREDIT,
        kind="tokens",
        name=text,
        title=text,
        unit=text,
        measured="1",
        items=1,
        labels=Labels(project=text),
        quantities={text: "1"},
    )
    for row in csv.DictReader(io.StringIO(statement_csv(sheet(hostile)), newline="")):
        cells = [cell for name, cell in row.items() if name not in ("credits", "items")]
        assert not [
            cell for cell in cells if cell.strip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        ]
        assert Decimal(row["credits"])
    assert harmless(text) == f"'{text}"
    assert harmless(f"a{text}") == f"a{text}"
    assert harmless(f"a;{text}; b") == f"a;'{text}; b"


def test_the_page_acts_on_nothing():
    """What others wrote is text, in every place; there is no script, and nothing is fetched."""
    bad = "<script>alert(1)</script>\"'&"
    hostile = line(
        KIND.STATEMENT_LINE_TYPE_USAGE,
        12 * CREDIT,
        kind=bad,
        name=bad,
        title=bad,
        unit=bad,
        measured=bad,
        labels=Labels(project=bad),
        quantities={bad: bad},
    )
    page = statement_html(sheet(hostile, customer_id=bad))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") == 10
    assert not re.search(r"<script|<img|<link|src=|href=|url\(|@import", page)
    assert "default-src 'none'" in page


def test_the_page_says_what_it_is_of():
    """The customer, the days of the month in its zone, and whether anything may change yet."""
    page = statement_html(sheet(USED))
    assert "2026-11-01 to 2026-11-30, America/New_York" in page
    assert "<dd>Final</dd>" in page
    assert '<td class="number">1,234</td><td class="number">-12.000000</td>' in page
    assert '<tr class="total"><td>Closing balance</td><td class="number">104.500000</td></tr>' in page
    assert "Not final: as of 2026-11-20 07:00:00 EST" in statement_html(
        sheet(as_of=instant(2026, 11, 20, 12))
    )
