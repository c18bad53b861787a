"""A month's statement as CSV: a row for each amount, between the opening and the closing balance."""

from __future__ import annotations

import csv
import io
import re
from typing import Final

from ledger.cli.output.amounts import credit_text
from ledger.cli.output.statement_sheet import SheetRow, StatementSheet

_FORMULA: Final = re.compile("(^|;)(?= *[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-])")
"""Before what a spreadsheet takes for a formula, in some languages also in full width: where a text begins,
and after a semicolon, which parts cells in some of them."""


def statement_csv(sheet: StatementSheet) -> str:
    """Amounts are decimal numbers with their sign; they add up from the first row's to the last one's.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\r\n").writerow
    keys = sheet.label_keys
    columns = ("section", "title", "kind", "name", *keys, "items", "quantities", "measured", "credits")
    write([harmless(column) for column in columns])
    opening = SheetRow("Opening balance", sheet.opening_micros)
    closing = SheetRow("Closing balance", sheet.closing_micros)
    for row in (opening, *sheet.rows, closing):
        texts = (row.section, row.title, row.kind, row.name, *(row.labels.get(key, "") for key in keys))
        write(
            [
                *map(harmless, texts),
                "" if row.items is None else row.items,
                harmless(row.quantities),
                harmless(row.measured),
                credit_text(row.credits_micros),
            ]
        )
    return text.getvalue()


def harmless(text: str) -> str:
    """A text that no spreadsheet carries out."""
    return _FORMULA.sub(r"\1'", text)
