"""Usage records in CSV files, and what each of them means in the API's terms.

A file has one header line and one record a line. What a record says is taken exactly: numbers are decimal
strings with at most 15 integer and 9 fractional digits, no exponent. A line that cannot be read is a
`Skipped` of the reason `broken_row`, with the file, the line and the field; the rest still counts.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TextIO

from ledger.client.errors import UsageError
from ledger.client.usage_items import compute_item, outcome_item
from ledger.errors import ClientError
from ledger.v1.usage_pb2 import TokenUsage, UsageItem

BROKEN_ROW = "broken_row"
NAME_MAX = 60
"""Characters of a session, pod or customer: with a run id of as many, ids stay under the API's 128."""

_DECIMAL = re.compile(r"\d{1,15}(\.\d{1,9})?")


class RecordFormat(StrEnum):
    LLM_REQUESTS = "llm_requests"
    AGENT_SESSIONS = "agent_sessions"
    GPU_JOBS = "gpu_jobs"
    GPU_PODS = "gpu_pods"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OTEL = "otel"
    LITELLM = "litellm"
    GEMINI = "gemini"
    BEDROCK = "bedrock"
    CLAUDE_CODE = "claude_code"
    CODEX = "codex"


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of work: `row` counts the file's records from 1, `key` names this one within the file."""

    row: int
    key: str
    customer: str | None
    estimate: tuple[UsageItem, ...]
    usage: tuple[UsageItem, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is not sent, and why; `message` where a person should look at it."""

    reason: str
    message: str | None = None


class RecordsError(ClientError):
    """The file as a whole, or an option that it needs, is not what the format asks for."""


class BrokenFieldError(ClientError):
    """One field of a row cannot be read: the message names it and says what is allowed."""


class _NotWorkError(Exception):
    """The row is no finished work; the argument is the reason to count it under."""


class Fields:
    """One row by column, each field read by what it must be. Raises BrokenFieldError."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def raw(self, column: str) -> str:
        return self._values.get(column, "").strip()

    def name(self, column: str) -> str:
        """1 to 60 printable characters."""
        value = self.raw(column)
        if not 1 <= len(value) <= NAME_MAX or not value.isprintable():
            raise BrokenFieldError(f"{column}: {value[:80]!r} is not 1 to {NAME_MAX} printable characters")
        return value

    def number(self, column: str) -> Decimal:
        """A decimal of 0 or more."""
        value = self.raw(column)
        if not _DECIMAL.fullmatch(value) or not value.isascii():
            raise BrokenFieldError(
                f"{column}: {value[:80]!r} is not a number of 0 or more (at most 15 integer and 9 fractional"
                " digits)"
            )
        return Decimal(value)

    def whole(self, column: str) -> int:
        """A whole number of 0 or more; 1.0 is one."""
        number = self.number(column)
        if number != int(number):
            raise BrokenFieldError(f"{column}: {self.raw(column)!r} is not a whole number")
        return int(number)

    def flag(self, column: str) -> bool:
        """0 or 1."""
        value = self.raw(column)
        if value not in {"0", "1"}:
            raise BrokenFieldError(f"{column}: {value[:80]!r} is neither 0 nor 1")
        return value == "1"


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What the records do not say themselves: the model of LLM requests, the resource of GPU records."""

    model: str | None = None
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    name: str | None
    customer: str | None
    estimate: tuple[UsageItem, ...]
    usage: tuple[UsageItem, ...]


@dataclass(frozen=True, slots=True)
class _Format:
    columns: tuple[str, ...]
    read: Callable[[Fields, RecordOptions], _Work]


def _outcome(name: str, count: int, *, resolved: bool) -> UsageItem:
    return outcome_item(name, result="resolved" if resolved else "failed", count=count)


def _llm_request(fields: Fields, options: RecordOptions) -> _Work:
    model = fields.raw("model") or options.model
    if model is None:
        raise BrokenFieldError("model: empty, and no --model is given")
    tokens = TokenUsage(
        model=model, input=fields.whole("ContextTokens"), output=fields.whole("GeneratedTokens")
    )
    usage = (UsageItem(tokens=tokens),)
    return _Work(None, None, usage, usage)


def _agent_session(fields: Fields, _options: RecordOptions) -> _Work:
    tokens = TokenUsage(
        model=fields.name("model"),
        requests=fields.whole("api_calls"),
        input=fields.whole("input_tokens"),
        output=fields.whole("output_tokens"),
    )
    work = (UsageItem(tokens=tokens), compute_item("sandbox", fields.number("sandbox_seconds")))
    hoped = _outcome("issue.resolved", 1, resolved=True)
    came = _outcome("issue.resolved", 1, resolved=fields.flag("resolved"))
    return _Work(fields.name("session_id"), None, (*work, hoped), (*work, came))


def _gpu_job(fields: Fields, options: RecordOptions) -> _Work:
    status = fields.name("status")
    if status not in {"SUCCEED", "FAILED"}:
        raise _NotWorkError(status)
    succeeded = status == "SUCCEED"
    images = 0 if not succeeded and not fields.raw("images") else fields.whole("images")
    work = compute_item(_resource(options), fields.number("gpu_seconds"))
    hoped = _outcome("image.generated", images, resolved=True)
    came = _outcome("image.generated", images, resolved=succeeded)
    customer = fields.name("customer") if fields.raw("customer") else None
    return _Work(None, customer, (work, hoped), (work, came))


def _gpu_pod(fields: Fields, options: RecordOptions) -> _Work:
    for column, reason in (("scheduled_s", "not_scheduled"), ("deletion_s", "not_deleted")):
        if not fields.raw(column):
            raise _NotWorkError(reason)
    seconds = fields.number("deletion_s") - fields.number("scheduled_s")
    if seconds < 0:
        raise BrokenFieldError(
            f"deletion_s: {fields.raw('deletion_s')} is before scheduled_s, {fields.raw('scheduled_s')}"
        )
    share = Decimal(fields.whole("num_gpu") * fields.whole("gpu_milli")).scaleb(-3)
    usage = (compute_item(_resource(options), seconds, share),)
    return _Work(fields.name("pod"), None, usage, usage)


def _resource(options: RecordOptions) -> str:
    if options.resource is None:
        raise RecordsError("GPU records do not name what they ran on: give --resource, e.g. --resource h100")
    return options.resource


_FORMATS: Mapping[RecordFormat, _Format] = {
    RecordFormat.LLM_REQUESTS: _Format(("ContextTokens", "GeneratedTokens"), _llm_request),
    RecordFormat.AGENT_SESSIONS: _Format(
        ("session_id", "model", "api_calls", "input_tokens", "output_tokens", "sandbox_seconds", "resolved"),
        _agent_session,
    ),
    RecordFormat.GPU_JOBS: _Format(("customer", "status", "gpu_seconds", "images"), _gpu_job),
    RecordFormat.GPU_PODS: _Format(("pod", "num_gpu", "gpu_milli", "scheduled_s", "deletion_s"), _gpu_pod),
}


class RecordFile:
    """An open file of records. Made by `open_records`, which has checked its header and the options."""

    def __init__(self, path: Path, stream: TextIO, kind: RecordFormat, options: RecordOptions) -> None:
        self._path = path
        self._stream = stream
        self._format = _FORMATS[kind]
        self._options = options
        self._header = self._read_header()
        if kind is RecordFormat.LLM_REQUESTS and options.model is None and "model" not in self._header:
            raise RecordsError(
                f"{path}: the requests name no model: give --model, e.g. --model anthropic/claude-sonnet-4-5"
            )
        if kind in {RecordFormat.GPU_JOBS, RecordFormat.GPU_PODS}:
            _resource(options)

    def _read_header(self) -> list[str]:
        header = [column.strip() for column in next(csv.reader([self._stream.readline()]), [])]
        missing = [column for column in self._format.columns if column not in header]
        if missing:
            raise RecordsError(
                f"{self._path}: missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)};"
                f" the file has {', '.join(header) or 'no header'}"
            )
        twice = [column for column in self._format.columns if header.count(column) > 1]
        if twice:
            raise RecordsError(f"{self._path}: more than one column is called {', '.join(twice)}")
        return header

    def __iter__(self) -> Iterator[Record | Skipped]:
        """The records in the file's order; blank lines are none."""
        return self.records(0, Counter())

    def records(self, row: int, seen: Counter[str]) -> Iterator[Record | Skipped]:
        """The records after `row` others, of files that are read as one: `seen` counts the names in them."""
        for line_number, line in enumerate(self._stream, start=2):
            if not line.strip():
                continue
            row += 1
            try:
                yield self._record(row, line, seen)
            except _NotWorkError as not_work:
                yield Skipped(str(not_work))
            except BrokenFieldError as broken:
                yield Skipped(BROKEN_ROW, f"{self._path}:{line_number}: {broken}")
            except UsageError as broken:
                yield Skipped(BROKEN_ROW, f"{self._path}:{line_number}: {broken}")

    def take(self, limit: int | None) -> Iterator[Record | Skipped]:
        """The first `limit` records, or all."""
        return islice(self, limit)

    def _record(self, row: int, line: str, seen: Counter[str]) -> Record:
        try:
            values = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise BrokenFieldError(str(error)) from error
        if len(values) != len(self._header):
            raise BrokenFieldError(f"{len(values)} fields where the header has {len(self._header)}")
        work = self._format.read(Fields(dict(zip(self._header, values, strict=True))), self._options)
        return Record(row, _key(row, work.name, seen), work.customer, work.estimate, work.usage)


def _key(row: int, name: str | None, seen: Counter[str]) -> str:
    """What names the work wherever it stands in the files; a name that comes again is other work."""
    if name is None:
        return f"row-{row}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


class RecordFiles:
    """Several files of records, read as one."""

    def __init__(self, files: Sequence[RecordFile]) -> None:
        self._files = files

    def take(self, limit: int | None) -> Iterator[Record | Skipped]:
        """The first `limit` records of all, or all."""
        return islice(self._records(), limit)

    def _records(self) -> Iterator[Record | Skipped]:
        row = 0
        seen: Counter[str] = Counter()
        for file in self._files:
            for record in file.records(row, seen):
                row += 1
                yield record


@contextmanager
def open_records(path: Path, kind: RecordFormat, options: RecordOptions) -> Iterator[RecordFile]:
    """Opens a file of records; raises RecordsError where a column, or an option that it needs, is missing."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield RecordFile(path, stream, kind, options)
