"""Rows of an import: read exactly, each wrong one with its line and column, and asked for once."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.cli.importing.requests import CUSTOMERS, GRANTS
from ledger.cli.importing.row_files import RowFileError, RowFormat, TextRow, open_rows
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID

NOW = datetime(2026, 11, 29, tzinfo=UTC)
GRANT = {"id": "lot-1", "customer_id": "acme", "credits": "12.5", "kind": "paid"}


def read(tmp_path: Path, content: bytes, name: str = "rows.csv", form: RowFormat | None = None) -> list:
    """Rows of customers."""
    path = tmp_path / name
    path.write_bytes(content)
    with open_rows(path, form, CUSTOMERS.columns, CUSTOMERS.required) as rows:
        return list(rows)


def test_csv_is_read_as_it_is_written(tmp_path):
    """A mark of the encoding, quotes, line ends in them, blank lines: each row has its first line."""
    content = b'\xef\xbb\xbfplan,customer_id,display_name\r\nteam, a ,"A, ""Inc""\r\nB"\r\n\r\nteam,b,\r\n'
    assert read(tmp_path, content) == [
        TextRow(2, {"plan": "team", "customer_id": "a", "display_name": 'A, "Inc"\r\nB'}),
        TextRow(5, {"plan": "team", "customer_id": "b", "display_name": ""}),
    ]


def test_a_bad_line_loses_no_other(tmp_path):
    """Too few fields, a quote that is none, what is no UTF-8: each is reported, and the next row is read."""
    content = b'customer_id,plan\na\n"b"x,team\n\xff,team\nc,team\n'
    *wrong, right = read(tmp_path, content)
    assert [(row.line, row.field) for row in wrong] == [(2, ""), (3, ""), (4, "customer_id")]
    assert right == TextRow(5, {"customer_id": "c", "plan": "team"})


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("customer_id", "plan is missing"),
        ("", "customer_id is missing"),
        ("customer_id,plan,colour", "'colour'"),
        ("customer_id,plan,plan", "more than one"),
        ('customer_id,"plan"x', "line 1"),
    ],
)
def test_headers_are_checked_before_any_row(tmp_path, header, says):
    """A column that nobody knows is likely a mistyped one: nothing is imported of such a file."""
    with pytest.raises(RowFileError, match=says):
        read(tmp_path, f"{header}\na,team\n".encode())


def test_a_file_that_is_not_there(tmp_path):
    """Is said by its name."""
    path = tmp_path / "none.csv"
    with pytest.raises(RowFileError, match=r"none\.csv: No such file"), open_rows(path, None, {}, []):
        pass


def test_numbers_of_json_pass_through_no_float(tmp_path):
    """They are taken as written; null is empty, and what is no text or number is reported by its field."""
    lines = [
        '{"customer_id": "a", "plan": "team", "multiplier": 0.100000000000000001, "zone": null}',
        '{"customer_id": "b", "plan": true}',
        '{"customer_id": "c", "colour": "red"}',
        "[]",
        "{",
        "[" * 100_000,
    ]
    rows = read(tmp_path, "\n".join(lines).encode(), "rows.jsonl")
    assert rows[0] == TextRow(
        1, {"customer_id": "a", "plan": "team", "multiplier": "0.100000000000000001", "zone": ""}
    )
    wrong = [(row.line, row.field) for row in rows[1:]]
    assert wrong == [(2, "plan"), (3, "colour"), (4, ""), (5, ""), (6, "")]
    assert read(tmp_path, lines[0].encode(), "rows.txt", RowFormat.JSONL) == rows[:1]


def test_a_field_that_is_stated_twice_is_not_guessed(tmp_path):
    """An object with two amounts is refused by the field's name, for nobody knows which is meant."""
    lines = ['{"customer_id": "a", "plan": "team", "plan": "pro"}', '{"customer_id": "b", "plan": "team"}']
    wrong, right = read(tmp_path, "\n".join(lines).encode(), "rows.jsonl")
    assert (wrong.line, wrong.field) == (1, "plan")
    assert right == TextRow(2, {"customer_id": "b", "plan": "team"})


@pytest.mark.parametrize("form", [RowFormat.CSV, RowFormat.JSONL])
def test_a_line_without_end_is_read_over(tmp_path, form):
    """It is one wrong row, of which the beginning alone is held; the next row is read."""
    is_csv = form is RowFormat.CSV
    header, row = (b"customer_id,plan\n", b"a,team\n") if is_csv else (b"", b'{"plan": "team"}\n')
    length = 32 * 1024 * 1024
    content = header + b"x" * length + b"\n" + row
    tracemalloc.start()
    wrong, right = read(tmp_path, content, form=form)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    first = 2 if header else 1
    assert (wrong.line, wrong.field) == (first, "")
    assert (right.line, right.values["plan"]) == (first + 1, "team")
    assert peak < length / 2


def test_amounts_are_spoken_of_in_the_files_unit():
    """Credits, as the column has them: not the micro-credits of a request."""
    [wrong] = GRANTS.read(TextRow(7, {**GRANT, "credits": "-1"}), NOW, is_rehearsal=True)
    assert "'-1'" in wrong.problem
    assert "1,000,000,000.000000" in wrong.problem


def test_a_row_of_a_grant():
    """Its request is named by the row's id; days and instants without an offset are of UTC."""
    values = {
        **GRANT,
        "effective_at": "2025-01-31",
        "expires_at": "2099-01-31T12:00:00+01:00",
        "priority": "-1",
        "external_reference": "INV-7",
        "note": "moved",
    }
    request = GRANTS.read(TextRow(2, values), NOW, is_rehearsal=True)
    assert (request.request_id, request.customer_id) == ("import/lot-1", "acme")
    assert (request.amount_micros, request.kind, request.priority) == (12_500_000, GRANT_KIND_PAID, -1)
    assert (request.external_reference, request.note) == ("INV-7", "moved")
    assert request.effective_at.ToDatetime() == datetime(2025, 1, 31)  # noqa: DTZ001 -- protobuf's UTC
    assert request.expires_at.ToDatetime() == datetime(2099, 1, 31, 11)  # noqa: DTZ001 -- protobuf's UTC


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 122}, "id"),
        ({"customer_id": "a\x00b"}, "customer_id"),
        ({"credits": "0.0000001"}, "credits"),
        ({"credits": "NaN"}, "credits"),
        ({"credits": "1e30"}, "credits"),
        ({"credits": "-1"}, "credits"),
        ({"credits": "many"}, "credits"),
        ({"kind": "unspecified"}, "kind"),
        ({"kind": "GIFT"}, "kind"),
        ({"paid_total_usd": "$5"}, "paid_total_usd"),
        ({"kind": "promo", "paid_total_usd": "5"}, "paid_total_usd"),
        ({"effective_at": "yesterday"}, "effective_at"),
        ({"effective_at": "0001-01-01T00:00:00+14:00"}, "effective_at"),
        ({"expires_at": "2026-11-28"}, "expires_at"),
        ({"effective_at": "2099-01-02", "expires_at": "2099-01-01"}, "expires_at"),
        ({"priority": "first"}, "priority"),
        ({"priority": "2147483648"}, "priority"),
        ({"priority": "1_0"}, "priority"),
        ({"priority": "\u0663"}, "priority"),
        ({"expires_at": "9999-12-31T23:59:59.999999"}, "expires_at"),
        ({"scope": "everything"}, "scope"),
    ],
)
def test_what_is_wrong_with_a_grant_is_said_of_its_column(fields, column):
    """By the rules of the server and of the books, before either is asked."""
    [wrong] = GRANTS.read(TextRow(7, {**GRANT, **fields}), NOW, is_rehearsal=True)
    assert (wrong.line, wrong.field) == (7, column)


def test_a_grant_that_has_ended_since_may_have_been_imported():
    """Only a rehearsal refuses it: whether it was there before knows the server alone."""
    values = {**GRANT, "effective_at": "2026-01-01", "expires_at": "2026-11-28"}
    assert GRANTS.read(TextRow(2, values), NOW, is_rehearsal=False).request_id == "import/lot-1"


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        ({"plan": ""}, ["plan"]),
        ({"zone": "Mars/Phobos", "multiplier": "0"}, ["zone", "multiplier"]),
        ({"display_name": "x" * 257}, ["display_name"]),
    ],
)
def test_what_is_wrong_with_a_customer_is_said_of_its_columns(fields, columns):
    """All of it at once."""
    values = {"customer_id": "acme", "plan": "team", **fields}
    wrong = CUSTOMERS.read(TextRow(7, values), NOW, is_rehearsal=False)
    assert [each.field for each in wrong] == columns
