"""Files of what providers report: one JSON value a line, read by the adapters of pricing.

A line is a record as the provider sent it; of OpenTelemetry a request of an export, each span a record.
Several files are read as one. The provider's own id names a record, so the same response logged twice is one
piece of work: its repeat is a `Skipped` of the reason `repeated`. Where usage grew under one id, as it does
while a message is streamed, the largest counts and the others are of the reason `snapshot`; one that cannot
have grown into the other is a `conflicting_repeat`. So the files are read twice, once to know what counts.

What could be read and is yet to be looked at, unknown fields above all, is added up in `findings`; records
whose price may be wrong for it are counted in `mispriced`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ledger.cli.replaying.csv_records import (
    BROKEN_ROW,
    NAME_MAX,
    Record,
    RecordFiles,
    RecordFormat,
    RecordOptions,
    Skipped,
    open_records,
)
from ledger.client.errors import UsageError
from ledger.client.usage_items import item_of_adapters
from pricing import Tokens, Units
from pricing.adapters import (
    Adapted,
    AdapterError,
    Finding,
    NoUsage,
    anthropic,
    bedrock,
    claude_code,
    codex,
    gemini,
    litellm,
    otel,
)
from pricing.usage.items import INPUT_QUANTITIES

REPEATED = "repeated"
SNAPSHOT = "snapshot"
CONFLICTING_REPEAT = "conflicting_repeat"
FINDINGS_MAX = 1000
"""Kinds of finding that are distinguished: a file in which every path is new does not fill the memory."""
_PATH_MAX = 160
_Adapt = Callable[[object], Adapted | NoUsage]
_READERS: Mapping[RecordFormat, Callable[[], _Adapt]] = {
    RecordFormat.OPENAI: lambda: codex.Transcript().adapt_response,
    RecordFormat.ANTHROPIC: lambda: anthropic.adapt,
    RecordFormat.LITELLM: lambda: litellm.adapt,
    RecordFormat.GEMINI: lambda: gemini.adapt,
    RecordFormat.BEDROCK: lambda: bedrock.adapt,
    RecordFormat.CLAUDE_CODE: lambda: claude_code.adapt,
    RecordFormat.CODEX: lambda: codex.Transcript().adapt,
}
"""What reads the lines of one file: anew for each, as some of them depend on those before."""
PROVIDER_FORMATS = frozenset({*_READERS, RecordFormat.OTEL})
_LINE = "one JSON value a line"
_INDEX = re.compile(r"\[\d+\]")


class RecordPlace(NamedTuple):
    """A line of one of the files."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(slots=True)
class FindingCount:
    """A finding and how often it came; lists count as one path."""

    first: RecordPlace
    first_text: str
    count: int = 0


class _Usage(NamedTuple):
    """What one record of an id says was used, for comparison with others of the same id."""

    row: int
    place: RecordPlace
    digest: bytes
    sizes: tuple[int, ...]
    """All input, all output, and all of what is counted in units."""

    def grew_into(self, other: _Usage) -> bool:
        """Whether it can be an earlier state of the same work."""
        return self.sizes != other.sizes and all(
            mine <= its for mine, its in zip(self.sizes, other.sizes, strict=True)
        )


class ProviderFiles:
    """Open files of records, read as one. Made by `open_provider_records`."""

    def __init__(self, files: Sequence[tuple[Path, TextIO]], kind: RecordFormat) -> None:
        self._files = files
        self._kind = kind
        self.findings: dict[tuple[str, str], FindingCount] = {}
        self.mispriced = 0
        """Records whose price may be wrong, for what was found in them."""
        self._tree = self._read_tree() if kind is RecordFormat.OTEL else otel.Tree()
        self._counting = self._find_counting()

    def take(self, limit: int | None) -> Iterator[Record | Skipped]:
        """The first `limit` records, or all."""
        return islice(self, limit)

    def __iter__(self) -> Iterator[Record | Skipped]:
        """The records in the files' order; blank lines are none."""
        for row, place, one in self._adapted():
            yield self._record(row, place, one)

    def findings_in_words(self) -> Iterator[str]:
        """What is to be looked at, a line each."""
        for (kind, path), found in sorted(self.findings.items()):
            times = f"{found.count:,} times, " if found.count > 1 else ""
            yield f"{found.first}: {kind}: {times}{path}: {found.first_text}"

    def _read_tree(self) -> otel.Tree:
        """Reads the files once ahead: a span may come before those that it is within, or after."""
        tree = otel.Tree()
        for path, stream in self._files:
            for _, line in _lines(path, stream):
                for span in _spans(line):
                    if isinstance(span, otel.Span):
                        tree.add(span)
        return tree.close()

    def _find_counting(self) -> dict[str, _Usage]:
        """Of each id the record that counts: the last that the others can have grown into."""
        found: dict[str, _Usage] = {}
        for row, place, one in self._adapted():
            if isinstance(one, Adapted) and one.record_id is not None:
                usage = _usage(row, place, one)
                before = found.get(one.record_id)
                if before is None or before.grew_into(usage):
                    found[one.record_id] = usage
        return found

    def _adapted(self) -> Iterator[tuple[int, RecordPlace, Adapted | NoUsage | AdapterError]]:
        """What each record amounts to, or why it cannot be read, by its number and place."""
        row = 0
        for path, stream in self._files:
            adapt = _READERS[self._kind]() if self._kind in _READERS else None
            for place, line in _lines(path, stream):
                for one in self._of_spans(line) if adapt is None else (_of_line(adapt, line),):
                    row += 1
                    yield row, place, one

    def _of_spans(self, line: str) -> Iterator[Adapted | NoUsage | AdapterError]:
        for span in _spans(line):
            if isinstance(span, otel.Span):
                yield self._of_span(span)
            else:
                yield span

    def _of_span(self, span: otel.Span) -> Adapted | NoUsage | AdapterError:
        try:
            return otel.adapt(span, self._tree)
        except AdapterError as refused:
            return refused

    def _record(
        self, row: int, place: RecordPlace, one: Adapted | NoUsage | AdapterError
    ) -> Record | Skipped:
        if isinstance(one, AdapterError):
            return Skipped(BROKEN_ROW, f"{place}: {one}")
        if isinstance(one, NoUsage):
            self._note(place, one.findings)
            return Skipped(one.reason)
        other = self._other_that_counts(row, place, one)
        if other is not None:
            return other
        try:
            usage = tuple(map(item_of_adapters, one.items))
        except UsageError as broken:
            return Skipped(BROKEN_ROW, f"{place}: {broken}")
        self._note(place, one.findings)
        key = f"row-{row}" if one.record_id is None else short_name(one.record_id)
        customer = short_name(one.user) if one.user else None
        return Record(row, key, customer, usage, usage, _labels(one))

    def _other_that_counts(self, row: int, place: RecordPlace, one: Adapted) -> Skipped | None:
        """Why a record does not count, if another one of its id does."""
        if one.record_id is None:
            return None
        counting, usage = self._counting[one.record_id], _usage(row, place, one)
        if counting.row == row:
            return None
        if usage.digest == counting.digest:
            return Skipped(REPEATED)
        if usage.grew_into(counting):
            return Skipped(SNAPSHOT)
        said = f"{one.record_id} came at {counting.place} with other usage, which is counted"
        return Skipped(CONFLICTING_REPEAT, f"{place}: {said}: leave the final one in the file")

    def _note(self, place: RecordPlace, findings: Sequence[Finding]) -> None:
        self.mispriced += any(finding.kind.mispriced for finding in findings)
        for finding in findings:
            name = finding.kind.value, _shown(_INDEX.sub("[]", finding.path))
            if name not in self.findings and len(self.findings) >= FINDINGS_MAX:
                name = finding.kind.value, "…"
            self.findings.setdefault(name, FindingCount(place, finding.text)).count += 1


@contextmanager
def open_usage(
    paths: Sequence[Path], kind: RecordFormat, options: RecordOptions
) -> Iterator[RecordFiles | ProviderFiles]:
    """Opens files of any format, to be read as one; raises RecordsError as `open_records` does."""
    with ExitStack() as opened:
        if kind in PROVIDER_FORMATS:
            yield opened.enter_context(open_provider_records(paths, kind))
        else:
            yield RecordFiles([opened.enter_context(open_records(path, kind, options)) for path in paths])


@contextmanager
def open_provider_records(paths: Sequence[Path], kind: RecordFormat) -> Iterator[ProviderFiles]:
    """Opens files of one JSON value a line, to be read as one."""
    with ExitStack() as opened:
        files = [
            (
                path,
                opened.enter_context(path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n")),
            )
            for path in paths
        ]
        yield ProviderFiles(files, kind)


def short_name(text: str) -> str:
    """A name of at most 60 printable characters; what is longer, or cannot be printed, by its digest."""
    if len(text) <= NAME_MAX and text.isprintable():
        return text
    return "blake2b-" + blake2b(text.encode("utf-8", "backslashreplace"), digest_size=20).hexdigest()


def _shown(path: str) -> str:
    """A path as it can be printed: names of unknown fields are anything."""
    return (path if path.isprintable() else ascii(path)[1:-1])[:_PATH_MAX]


def _labels(one: Adapted) -> dict[str, str]:
    of = {"user": one.user, "session": one.session, "agent": one.agent}
    return {name: short_name(text) for name, text in of.items() if text}


def _usage(row: int, place: RecordPlace, one: Adapted) -> _Usage:
    digest = blake2b(repr(one.items).encode("utf-8", "backslashreplace"), digest_size=16).digest()
    used = [
        (count, key in INPUT_QUANTITIES)
        for item in one.items
        if isinstance(item, Tokens)
        for key, count in item.quantities.items()
    ]
    counted = sum(item.quantity_nanos for item in one.items if isinstance(item, Units))
    read = sum(count for count, is_input in used if is_input)
    wrote = sum(count for count, is_input in used if not is_input)
    return _Usage(row, place, digest, (read, wrote, counted))


def _lines(path: Path, stream: TextIO) -> Iterator[tuple[RecordPlace, str]]:
    """The lines of a file from its beginning that are not blank."""
    stream.seek(0)
    return ((RecordPlace(path, number), line) for number, line in enumerate(stream, start=1) if line.strip())


def _of_line(adapt: _Adapt, line: str) -> Adapted | NoUsage | AdapterError:
    try:
        return adapt(_parsed(line))
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
