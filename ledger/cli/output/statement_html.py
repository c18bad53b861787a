"""A month's statement as a page that prints well: one file, without scripts, with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from html import escape
from zoneinfo import ZoneInfo

from ledger.cli.output.amounts import show_credits
from ledger.cli.output.statement_sheet import SheetRow, StatementSheet

_STYLE = """
@page { size: A4; margin: 18mm 15mm; }
body { font: 10pt/1.4 system-ui, sans-serif; color: #111;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #ccc;
  overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
tr.total { font-weight: 600; border-top: 2px solid #111; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NUMBER = ' class="number"'


def statement_html(sheet: StatementSheet) -> str:
    """The page. All that was written by others is escaped."""
    zone = ZoneInfo(sheet.zone)
    last_day = (sheet.ends_at - timedelta(microseconds=1)).astimezone(zone)
    facts = {
        "Customer": sheet.customer_id,
        "Period": f"{sheet.begins_at.astimezone(zone):%Y-%m-%d} to {last_day:%Y-%m-%d}, {sheet.zone}",
        "State": sheet.state,
    }
    title = f"Statement {sheet.month}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(f'{title}, {sheet.customer_id}')}</title>",
            f"<style>\n{_STYLE}\n</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>\n<dl>",
            *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()),
            "</dl>",
            *_summary(sheet),
            *_details(sheet),
            "</body>\n</html>\n",
        ]
    )


def _summary(sheet: StatementSheet) -> Iterable[str]:
    yield "<h2>Summary</h2>\n<table>"
    yield _head(["", "Credits"], numbers=1)
    yield "<tbody>"
    yield _row(["Opening balance", show_credits(sheet.opening_micros)], numbers=1)
    for section, micros in sheet.sections.items():
        yield _row([section, show_credits(micros)], numbers=1)
    yield _row(["Closing balance", show_credits(sheet.closing_micros)], numbers=1, of=' class="total"')
    yield "</tbody>\n</table>"


def _details(sheet: StatementSheet) -> Iterable[str]:
    if not sheet.rows:
        return
    yield "<h2>Details</h2>\n<table>"
    yield _head(["", "What", *sheet.label_keys, "Quantities", "Items", "Credits"], numbers=2)
    yield "<tbody>"
    for row in sheet.rows:
        yield _row(
            [
                row.section,
                _what(row),
                *(row.labels.get(key, "") for key in sheet.label_keys),
                "; ".join(filter(None, (row.quantities, row.measured))),
                "" if row.items is None else f"{row.items:,}",
                show_credits(row.credits_micros),
            ],
            numbers=2,
        )
    yield "</tbody>\n</table>"


def _what(row: SheetRow) -> str:
    names = " ".join(filter(None, (row.kind, row.name)))
    return f"{row.title} ({names})" if row.title and names else row.title or names


def _head(cells: list[str], numbers: int) -> str:
    return f"<thead><tr>{_cells('th', cells, numbers)}</tr></thead>"


def _row(cells: list[str], numbers: int, of: str = "") -> str:
    return f"<tr{of}>{_cells('td', cells, numbers)}</tr>"


def _cells(tag: str, cells: list[str], numbers: int) -> str:
    """Cells, of which the last `numbers` are numbers."""
    first_number = len(cells) - numbers
    return "".join(
        f"<{tag}{_NUMBER if place >= first_number else ''}>{escape(cell)}</{tag}>"
        for place, cell in enumerate(cells)
    )
