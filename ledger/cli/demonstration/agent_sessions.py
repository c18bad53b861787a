"""Agent sessions round by round, as they were recorded: one reservation each, a partial commit a round."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from ledger.client.usage_items import compute_item
from ledger.v1.usage_pb2 import TokenUsage, UsageItem


@dataclass(frozen=True, slots=True)
class Round:
    """One call of the model and the tools that it used; the quantities are disjoint."""

    session_id: str
    number: int
    model: str
    input: int
    cache_read: int
    cache_write: int
    output: int
    """Without reasoning."""
    reasoning: int
    tool_ms: int

    def usage(self, times: int = 1) -> tuple[UsageItem, ...]:
        """The round's tokens and its time in the sandbox; of several like it, for an estimate."""
        tokens = TokenUsage(
            model=self.model,
            requests=times,
            input=self.input * times,
            cache_read=self.cache_read * times,
            cache_write=self.cache_write * times,
            output=self.output * times,
            reasoning=self.reasoning * times,
        )
        return UsageItem(tokens=tokens), compute_item("sandbox", Decimal(self.tool_ms * times).scaleb(-3))


def read_sessions(path: Path) -> list[list[Round]]:
    """The sessions of a file of rounds, in its order."""
    with path.open(encoding="utf-8", newline="") as stream:
        rounds = [_round(row) for row in csv.DictReader(stream)]
    return [list(session) for _, session in groupby(rounds, key=lambda one: one.session_id)]


def _round(row: dict[str, str]) -> Round:
    reasoning = int(row["reasoning_tokens_within_output"])
    return Round(
        session_id=row["session_id"],
        number=int(row["round"]),
        model=row["model"],
        input=int(row["input_uncached_tokens"]),
        cache_read=int(row["cache_read_tokens"]),
        cache_write=int(row["cache_write_tokens"]),
        output=int(row["output_tokens"]) - reasoning,
        reasoning=reasoning,
        tool_ms=int(row["tool_ms"]),
    )
