"""Files of what providers report: lines become records, with ids that last, or are named by their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.cli.replaying.csv_records import Record, RecordFormat, Skipped
from ledger.cli.replaying.provider_records import (
    FINDINGS_MAX,
    ProviderFiles,
    open_provider_records,
    short_name,
)
from ledger.v1.usage_pb2 import TokenUsage, UnitUsage, UsageItem


def response(record_id: str | None = "r1", **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 10, "output_tokens": 2, **usage}
    return {"id": record_id, "model": "gpt-5.4", "usage": counts}


def read(
    directory: Path, *lines: object, kind: RecordFormat = RecordFormat.OPENAI, limit: int | None = None
) -> tuple[list[Record | Skipped], ProviderFiles]:
    path = directory / "records.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\ufeff" + "\r\n".join(texts), encoding="utf-8")
    with open_provider_records([path], kind) as records:
        return list(records.take(limit)), records


def test_a_line_is_a_record(tmp_path: Path) -> None:
    """Tokens and units in the API's terms; the provider's id is the key; whose work it was are labels."""
    record = {
        "id": "msg_1",
        "model": "claude-opus-4-8",
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 5,
            "output_tokens": 2,
            "service_tier": "batch",
            "server_tool_use": {"web_search_requests": 4},
        },
        "metadata": {"user_id": "ada", "session": "s1"},
    }
    [row], _ = read(tmp_path, record, kind=RecordFormat.ANTHROPIC)
    tokens = TokenUsage(
        model="anthropic/claude-opus-4-8", service_tier="batch", requests=1, input=3, cache_read=5, output=2
    )
    usage = (UsageItem(tokens=tokens), UsageItem(units=UnitUsage(meter="web_search", quantity="4")))
    assert row == Record(1, "msg_1", "ada", usage, usage, {"user": "ada", "session": "s1"})


def test_blank_lines_are_none_and_records_without_an_id_go_by_their_row(tmp_path: Path) -> None:
    """The key of a row is the same each time the file is read."""
    rows, records = read(tmp_path, "", response(None), "", response("r1"), response(None))
    assert [row.key for row in rows if isinstance(row, Record)] == ["row-1", "r1", "row-3"]
    assert [row.customer for row in rows if isinstance(row, Record)] == [None] * 3
    assert not records.findings


def test_repeats(tmp_path: Path) -> None:
    """The same response logged twice is one piece of work; with other usage it is said, and not counted."""
    rows, _ = read(tmp_path, response(), response(), response(input_tokens=9, output_tokens=9))
    first, again, other = rows
    assert isinstance(first, Record)
    assert again == Skipped("repeated")
    assert isinstance(other, Skipped)
    assert other.reason == "conflicting_repeat"
    assert other.message == (
        f"{tmp_path}/records.jsonl:3: r1 came at {tmp_path}/records.jsonl:1 with other usage,"
        " which is counted:"
        " leave the final one in the file"
    )


def test_usage_that_grows_under_one_id(tmp_path: Path) -> None:
    """Of the states of one streamed message the last counts, wherever it stands; the others are skipped."""
    states = [response(output_tokens=count) for count in (2, 2, 1840)]
    for order in ((0, 1, 2), (2, 0, 1)):
        rows, records = read(tmp_path, *(states[place] for place in order))
        (counted,) = [row for row in rows if isinstance(row, Record)]
        assert counted.usage[0].tokens.output == 1840
        assert [row for row in rows if isinstance(row, Skipped)] == [Skipped("snapshot")] * 2
        assert records.mispriced == 0


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    """A span in one file and the call within it in another are one; so is a response that is in both."""
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 1}
    named = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5.4"}

    def span(name: str, parent: str, operation: str) -> dict[str, Any]:
        texts = {**named, "gen_ai.operation.name": operation}
        attributes = [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()]
        attributes += [{"key": key, "value": {"intValue": str(count)}} for key, count in usage.items()]
        return {"traceId": "t", "spanId": name, "parentSpanId": parent, "attributes": attributes}

    paths = [tmp_path / "agents.jsonl", tmp_path / "calls.jsonl"]
    paths[0].write_text(json.dumps(span("a", "", "invoke_agent")))
    paths[1].write_text(json.dumps(span("b", "a", "chat")))
    with open_provider_records(paths, RecordFormat.OTEL) as records:
        first, second = records.take(None)
        assert (first, isinstance(second, Record)) == (Skipped("aggregate"), True)
        assert not records.findings
    with open_provider_records(paths[:1], RecordFormat.OTEL) as records:
        assert len(list(records.take(None))) == 1
        assert [kind for kind, _ in records.findings] == ["assumed"]
    for path in paths:
        path.write_text(json.dumps(response()))
    with open_provider_records(paths, RecordFormat.OPENAI) as records:
        assert [type(row) for row in records.take(None)] == [Record, Skipped]


def test_records_whose_price_may_be_wrong_are_counted(tmp_path: Path) -> None:
    """Numbers that nobody counts, or that disagree; a reading that was taken is reported, and is none."""
    searched = {"web_pages": 3}
    rows, records = read(tmp_path, response("a", **searched), response("b", total_tokens=13), response("c"))
    assert len(rows) == 3
    assert records.mispriced == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "the line: is not JSON: Expecting property name enclosed in double quotes at column 2"),
        ('{"usage": {"input_tokens": NaN}}', "the line: cannot be read: NaN is no number"),
        ('{"id": "a", "id": "b"}', "the line: cannot be read: the field 'id' comes twice in one object"),
        ("[" * 100_000, "the line: cannot be read: maximum recursion depth exceeded"),
        ('{"n": ' + "9" * 5000 + "}", "the line: cannot be read: Exceeds the limit"),
        ("7", "the record: is 7 (allowed: an object)"),
        (response(input_tokens=-1), "usage.input_tokens: is -1 (allowed: a whole number of 0 to 10**15)"),
        (
            {**response(), "model": "m\ud800"},
            "model: is 'openai/m\\ud800' (allowed: 1 to 128 printable characters)",
        ),
        ({**response(), "service_tier": "t" * 129}, "service_tier: is 'ttt"),
    ],
)
def test_broken_lines_are_told_by_their_place(tmp_path: Path, line: object, says: str) -> None:
    """The message names file, line and field; the others count."""
    (broken, following), _ = read(tmp_path, "", line, response("r2"))
    assert isinstance(broken, Skipped)
    assert broken.reason == "broken_row"
    assert (broken.message or "").startswith(f"{tmp_path}/records.jsonl:2: {says}")
    assert isinstance(following, Record)


def test_findings_are_added_up(tmp_path: Path) -> None:
    """By field, lists as one; those of repeats count once; a limit leaves the rest unread."""
    record = response(unknown=[1, 2], total_tokens=13)
    rows, records = read(tmp_path, record, record, {**record, "id": "r2"}, {**record, "id": "r3"}, limit=3)
    assert len(rows) == 3
    found = {place: (one.first.line, one.count) for place, one in records.findings.items()}
    assert found == {
        ("uncounted", "usage.unknown[]"): (1, 4),
        ("mismatch", "usage.total_tokens"): (1, 2),
    }
    path = f"{tmp_path}/records.jsonl:1"
    assert list(records.findings_in_words()) == [
        f"{path}: mismatch: 2 times, usage.total_tokens: 13, where input and output add up to 12",
        f"{path}: uncounted: 4 times, usage.unknown[]: 1, a number that is not counted",
    ]


def test_findings_have_a_limit_and_can_be_printed(tmp_path: Path) -> None:
    """Names of unknown fields are anything, and as many as anybody likes."""
    names = {f"\ud800{number}" * 50: 1 for number in range(FINDINGS_MAX + 5)}
    _, records = read(tmp_path, response(**names))
    assert len(records.findings) == FINDINGS_MAX + 1
    assert records.findings["uncounted", "…"].count == 5
    assert all(path.isprintable() and len(path) <= 160 for _, path in records.findings)


def test_long_names_are_shortened(tmp_path: Path) -> None:
    """What is longer than an id may be, or cannot be printed, goes by its digest, the same each time."""
    assert short_name("a" * 60) == "a" * 60
    for name in ("a" * 61, "a\n", "\ud800"):
        assert short_name(name) == short_name(name) != short_name(name + "b")
        assert len(short_name(name)) <= 60
    [row], _ = read(tmp_path, {**response("x" * 100), "user": "\ud800"})
    assert isinstance(row, Record)
    assert row.key == short_name("x" * 100)
    assert row.customer == row.labels["user"] == short_name("\ud800")
