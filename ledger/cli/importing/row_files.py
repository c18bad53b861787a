"""Files of rows, CSV or one JSON object a line: each row as texts by column, with the line that it begins on.

A line that cannot be read is a `BrokenLine`; the rest still counts. Numbers of JSON are taken as they are
written, so that none passes through a float.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from ledger.errors import ClientError

_JSON_ENDINGS: Final = (".jsonl", ".ndjson", ".json")
_STDIN: Final = Path("-")

_LINE_LENGTH_MAX: Final = 2 * 1024 * 1024
"""Characters: more than all columns of a row can have. What is beyond is read over, so that a file of another
kind, all in one line, is not held in memory."""


class RowFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


class RowFileError(ClientError):
    """The file as a whole is not what is asked for: its header, or that it can be read."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row: what stands in each column; a column that is not named is not in it."""

    line: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A row that is not imported: which field is wrong (or none, for the whole line), and what is allowed."""

    line: int
    field: str
    problem: str


@contextmanager
def open_rows(
    path: Path, form: RowFormat | None, columns: Collection[str], required: Sequence[str]
) -> Iterator[Iterator[TextRow | BrokenLine]]:
    """The rows of a file (`-`: of stdin), which has these columns and no others. Raises RowFileError.

    The format is that which the file's name ends in, if none is given: CSV, but for .jsonl.
    """
    form = form or (RowFormat.JSONL if path.suffix in _JSON_ENDINGS else RowFormat.CSV)
    if path == _STDIN:
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[union-attr]  # a stream of text
        yield _rows(sys.stdin, form, columns, required)
        return
    try:
        stream = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise RowFileError(f"{path}: {error.strerror}") from None
    with stream:
        yield _rows(stream, form, columns, required)


def _rows(
    stream: TextIO, form: RowFormat, columns: Collection[str], required: Sequence[str]
) -> Iterator[TextRow | BrokenLine]:
    lines = _lines(stream)
    rows = _json_rows(lines, columns) if form is RowFormat.JSONL else _csv_rows(lines, columns, required)
    return (_readable(row) if isinstance(row, TextRow) else row for row in rows)


def _lines(stream: TextIO) -> Iterator[str]:
    """The lines of a stream, each up to its longest: what is cut there is neither CSV nor JSON of a row."""
    while line := stream.readline(_LINE_LENGTH_MAX):
        rest = line
        while len(rest) == _LINE_LENGTH_MAX and not rest.endswith(("\n", "\r")):
            rest = stream.readline(_LINE_LENGTH_MAX)
        yield line


def _readable(row: TextRow) -> TextRow | BrokenLine:
    for name, value in row.values.items():
        if any("\ud800" <= character <= "\udfff" for character in value):
            return BrokenLine(row.line, name, "is not UTF-8")
    return row


def _csv_rows(
    lines: Iterator[str], columns: Collection[str], required: Sequence[str]
) -> Iterator[TextRow | BrokenLine]:
    reader = csv.reader(lines, strict=True)
    header = _header(reader, columns, required)
    return _csv_body(reader, header)


def _header(reader: Iterator[list[str]], columns: Collection[str], required: Sequence[str]) -> list[str]:
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise RowFileError(f"line 1: {error}") from None
    allowed = ", ".join(columns)
    unknown = [column for column in header if column not in columns]
    if unknown:
        raise RowFileError(f"line 1: no column is called {unknown[0]!r}; allowed are {allowed}")
    missing = [column for column in required if column not in header]
    if missing:
        raise RowFileError(f"line 1: the column {missing[0]} is missing; allowed are {allowed}")
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise RowFileError(f"line 1: more than one column is called {twice[0]}")
    return header


def _csv_body(reader: Iterator[list[str]], header: list[str]) -> Iterator[TextRow | BrokenLine]:
    line = 2
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BrokenLine(line, "", f"is no CSV: {error}")
        else:
            if values and len(values) != len(header):
                yield BrokenLine(line, "", f"has {len(values)} fields; the header has {len(header)}")
            elif values:
                stripped = (value.strip() for value in values)
                yield TextRow(line, dict(zip(header, stripped, strict=True)))
        line = reader.line_num + 1  # type: ignore[attr-defined]  # a reader of csv


def _json_rows(lines: Iterator[str], columns: Collection[str]) -> Iterator[TextRow | BrokenLine]:
    for line, text in enumerate(lines, start=1):
        if text.strip():
            yield _json_row(line, text, columns)


def _json_row(line: int, text: str, columns: Collection[str]) -> TextRow | BrokenLine:
    values = {}
    try:
        for name, value in _json_fields(text):
            if name not in columns:
                return BrokenLine(line, name, f"is no field; allowed are {', '.join(columns)}")
            if name in values:
                return BrokenLine(line, name, "is named more than once")
            if value is not None and not isinstance(value, str):
                return BrokenLine(line, name, "is neither a text nor a number nor null")
            values[name] = (value or "").strip()
    except ValueError as error:
        return BrokenLine(line, "", str(error))
    return TextRow(line, values)


def _json_fields(text: str) -> Iterable[tuple[str, object]]:
    """The fields of an object, also those that it has twice. Raises ValueError where it is none."""
    try:
        fields = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_Fields
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg}, at character {error.colno}") from None
    except (ValueError, RecursionError):
        raise ValueError("is no JSON that can be read") from None
    if not isinstance(fields, _Fields):
        raise ValueError("is no JSON object")  # noqa: TRY004 -- of what is read, as the others
    return fields


class _Fields(tuple[tuple[str, object], ...]):
    """An object of JSON, as it is written."""

    __slots__ = ()
