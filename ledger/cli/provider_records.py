"""Files of what providers report: one JSON value a line, read by the adapters of pricing.

A line is a record as the provider sent it; of OpenTelemetry a request of an export, each span a record.
The provider's own id names a record, so the same response logged twice is one piece of work: its repeat is a
`Skipped` of the reason `repeated`, one with other usage a `conflicting_repeat`. What could be read and is yet
to be looked at, unknown fields above all, is added up in `findings`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from ledger.cli.records import (
    BROKEN_ROW,
    NAME_MAX,
    BrokenFieldError,
    Record,
    RecordFile,
    RecordFormat,
    RecordOptions,
    Skipped,
    open_records,
)
from ledger.v1.credit_service_pb2 import Labels
from ledger.v1.usage_pb2 import TokenUsage, UnitUsage, UsageItem
from pricing import Tokens, Units
from pricing.adapters import Adapted, AdapterError, Finding, NoUsage, anthropic, litellm, openai, otel
from pricing.decimals import format_nanos

PROVIDER_FORMATS = frozenset(
    {RecordFormat.OPENAI, RecordFormat.ANTHROPIC, RecordFormat.OTEL, RecordFormat.LITELLM}
)
REPEATED = "repeated"
CONFLICTING_REPEAT = "conflicting_repeat"
FINDINGS_MAX = 1000
"""Kinds of finding that are told apart: a file in which every path is new does not fill the memory."""
_API_NAME_MAX = 128
_PATH_MAX = 160
_ADAPT = {
    RecordFormat.OPENAI: openai.adapt,
    RecordFormat.ANTHROPIC: anthropic.adapt,
    RecordFormat.LITELLM: litellm.adapt,
}
_LINE = "one JSON value a line"
_INDEX = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class FindingCount:
    """A finding and how often it came; lists count as one path."""

    first_line: int
    first_text: str
    count: int = 0


class ProviderFile:
    """An open file of records. Made by `open_provider_records`."""

    def __init__(self, path: Path, stream: TextIO, kind: RecordFormat) -> None:
        self._path = path
        self._stream = stream
        self._kind = kind
        self._seen: dict[str, tuple[int, bytes]] = {}
        self.findings: dict[tuple[str, str], FindingCount] = {}
        self._tree = self._read_tree() if kind is RecordFormat.OTEL else otel.Tree()

    def take(self, limit: int | None) -> Iterator[Record | Skipped]:
        """The first `limit` records, or all."""
        return islice(self, limit)

    def __iter__(self) -> Iterator[Record | Skipped]:
        """The records in the file's order; blank lines are none."""
        row = 0
        for line_number, line in self._lines():
            for one in self._adapted(line):
                row += 1
                yield self._record(row, line_number, one)

    def findings_in_words(self) -> Iterator[str]:
        """What is to be looked at, a line each."""
        for (kind, path), found in sorted(self.findings.items()):
            times = f"{found.count:,} times, " if found.count > 1 else ""
            yield f"{self._path}:{found.first_line}: {kind}: {times}{path}: {found.first_text}"

    def _lines(self) -> Iterator[tuple[int, str]]:
        self._stream.seek(0)
        return ((number, line) for number, line in enumerate(self._stream, start=1) if line.strip())

    def _read_tree(self) -> otel.Tree:
        """Reads the file once ahead: a span may come before those that it is within, or after."""
        tree = otel.Tree()
        for _, line in self._lines():
            for span in _spans(line):
                if isinstance(span, otel.Span):
                    tree.add(span)
        tree.close()
        return tree

    def _adapted(self, line: str) -> Iterator[Adapted | NoUsage | AdapterError]:
        """What the records of a line come to, or why one cannot be read."""
        if self._kind is not RecordFormat.OTEL:
            yield _tried(lambda: _ADAPT[self._kind](_parsed(line)))
            return
        for span in _spans(line):
            yield self._adapted_span(span) if isinstance(span, otel.Span) else span

    def _adapted_span(self, span: otel.Span) -> Adapted | NoUsage | AdapterError:
        return _tried(lambda: otel.adapt(span, self._tree))

    def _record(self, row: int, line: int, one: Adapted | NoUsage | AdapterError) -> Record | Skipped:
        if isinstance(one, AdapterError):
            return Skipped(BROKEN_ROW, f"{self._path}:{line}: {one}")
        if isinstance(one, NoUsage):
            self._note(line, one.findings)
            return Skipped(one.reason)
        key = f"row-{row}" if one.record_id is None else short_name(one.record_id)
        repeat = self._repeat(key, line, one)
        if repeat is not None:
            return repeat
        try:
            usage = tuple(usage_item(item) for item in one.items)
        except BrokenFieldError as broken:
            return Skipped(BROKEN_ROW, f"{self._path}:{line}: {broken}")
        self._note(line, one.findings)
        customer = short_name(one.user) if one.user else None
        return Record(row, key, customer, usage, usage, _labels(one))

    def _repeat(self, key: str, line: int, one: Adapted) -> Skipped | None:
        """Whether a record of this id came before."""
        digest = blake2b(repr(one.items).encode("utf-8", "backslashreplace"), digest_size=16).digest()
        if key not in self._seen:
            self._seen[key] = line, digest
            return None
        first_line, first_digest = self._seen[key]
        if digest == first_digest:
            return Skipped(REPEATED)
        said = f"{one.record_id} came on line {first_line} with other usage, which is counted"
        return Skipped(CONFLICTING_REPEAT, f"{self._path}:{line}: {said}: leave the final one in the file")

    def _note(self, line: int, findings: Iterable[Finding]) -> None:
        for finding in findings:
            place = finding.kind.value, _shown(_INDEX.sub("[]", finding.path))
            if place not in self.findings and len(self.findings) >= FINDINGS_MAX:
                place = finding.kind.value, "…"
            self.findings.setdefault(place, FindingCount(line, finding.text)).count += 1


def open_usage(
    path: Path, kind: RecordFormat, options: RecordOptions
) -> AbstractContextManager[RecordFile | ProviderFile]:
    """Opens a file of any format; raises RecordsError as `open_records` does."""
    if kind in PROVIDER_FORMATS:
        return open_provider_records(path, kind)
    return open_records(path, kind, options)


@contextmanager
def open_provider_records(path: Path, kind: RecordFormat) -> Iterator[ProviderFile]:
    """Opens a file of one JSON value a line."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        yield ProviderFile(path, stream, kind)


def usage_item(item: Tokens | Units) -> UsageItem:
    """An item of pricing as the API has it; raises BrokenFieldError for a name that it would not take."""
    if isinstance(item, Units):
        return UsageItem(
            units=UnitUsage(meter=_named("meter", item.meter), quantity=format_nanos(item.quantity_nanos))
        )
    tokens = TokenUsage(
        model=_named("model", item.model),
        served_by=_named("model that served", item.served_by) if item.served_by else "",
        service_tier=_named("service_tier", item.service_tier) if item.service_tier else "",
        requests=item.requests,
    )
    for name, count in item.quantities.items():
        setattr(tokens, name, count)
    return UsageItem(tokens=tokens)


def short_name(text: str) -> str:
    """A name of at most 60 printable characters; what is longer, or cannot be printed, by its digest."""
    if len(text) <= NAME_MAX and text.isprintable():
        return text
    return "blake2b-" + blake2b(text.encode("utf-8", "backslashreplace"), digest_size=20).hexdigest()


def _shown(path: str) -> str:
    """A path as it can be printed: names of unknown fields are anything."""
    return (path if path.isprintable() else ascii(path)[1:-1])[:_PATH_MAX]


def _labels(one: Adapted) -> Labels:
    user, session, agent = (short_name(text) if text else "" for text in (one.user, one.session, one.agent))
    return Labels(user=user, session=session, agent=agent)


def _named(what: str, name: str) -> str:
    if len(name) > _API_NAME_MAX or not name.isprintable():
        allowed = f"1 to {_API_NAME_MAX} printable characters"
        raise BrokenFieldError(f"{what}: is {name[:80]!r} (allowed: {allowed})")
    return name


def _tried(adapt: Callable[[], Adapted | NoUsage]) -> Adapted | NoUsage | AdapterError:
    try:
        return adapt()
    except AdapterError as refused:
        return refused


def _spans(line: str) -> Iterator[otel.Span | AdapterError]:
    try:
        record = _parsed(line)
    except AdapterError as refused:
        return iter((refused,))
    return otel.spans(record)


def _parsed(line: str) -> object:
    """A line's one JSON value; raises AdapterError. A field that comes twice would lose one of its values."""
    try:
        return json.loads(line.strip(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise AdapterError("the line", f"is not JSON: {error.msg} at column {error.colno}", _LINE) from error
    except (ValueError, RecursionError) as error:
        raise AdapterError("the line", f"cannot be read: {error}", _LINE) from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the field {twice!r} comes twice in one object")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")
