"""The records that ship are as many as their terms allow, and fit the sample configuration."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from ledger.cli.demonstration.agent_sessions import read_sessions
from ledger.cli.demonstration.selling import PARTS, ROUNDS_FILE, SESSIONS_FILE
from ledger.cli.replaying.csv_records import Record, open_records
from ledger.sample import SAMPLE_RECORDS

BLENDED = {"openai/gpt-5": ("0.619", "10"), "anthropic/claude-sonnet-4-5": ("3.944", "15")}
"""Dollars per million tokens, input and output."""


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("agent_rounds.csv", None),
        ("anthropic_usage.jsonl", None),
        ("openai_usage.jsonl", None),
        ("agent_sessions.csv", 200),
        ("llm_requests.csv", None),
        ("gpu_jobs.csv", 500),
        ("gpu_pods.csv", 200),
    ],
)
def test_no_more_rows_than_the_terms_allow(name: str, most: int | None) -> None:
    """Figures without a licence ship as excerpts; each file is named in NOTICE."""
    rows = len((SAMPLE_RECORDS / name).read_text(encoding="utf-8").splitlines()) - 1
    assert rows > 0
    assert most is None or rows <= most
    assert name in (Path(__file__).parents[3] / "NOTICE").read_text(encoding="utf-8")


def test_all_shipped_records_can_be_read() -> None:
    """The demo skips no row of its files as broken."""
    for part in PARTS:
        with open_records(part.file, part.record_format, part.options) as records:
            rows = list(records)
        assert {row.reason for row in rows if not isinstance(row, Record)} <= {"PENDING"}


def test_rounds_are_disjoint_quantities() -> None:
    """Reasoning is part of the recorded output, and is not counted in both."""
    sessions = read_sessions(ROUNDS_FILE)
    assert [len(session) for session in sessions] == [10, 9]
    first = sessions[1][0]
    assert (first.output, first.reasoning) == (444 - 199, 199)
    tokens, sandbox = first.usage(times=3)
    assert (tokens.tokens.output, tokens.tokens.reasoning, tokens.tokens.requests) == (735, 597, 3)
    assert (sandbox.compute.duration.seconds, sandbox.compute.duration.nanos) == (3, 966_000_000)


def test_blended_rates_reproduce_the_reported_cost() -> None:
    """Input at the blended rate and output at list price come to within 1 % of what the harness reported."""
    with SESSIONS_FILE.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for model, (blended, listed) in BLENDED.items():
        own = [row for row in rows if row["model"] == model]
        computed = sum(
            int(row["input_tokens"]) * Decimal(blended) + int(row["output_tokens"]) * Decimal(listed)
            for row in own
        ) / Decimal(1_000_000)
        reported = sum(Decimal(row["reported_cost_usd"]) for row in own)
        assert abs(computed / reported - 1) < Decimal("0.01")
