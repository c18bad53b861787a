"""Versions of prices, and what differs between two, for people."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.output.console import table, whoever

_BEGINNING_OF_TIME: Final = 1970
"""A version that is in force from there reaches back for ever."""


def differences_table(answer: pb.DiffRatesResponse) -> Table:
    """A row for each difference, rate by rate."""
    made = table("", "rule", "what", "old", "new", "change", numbers=3)
    for each in answer.differences:
        kind = pb.DifferenceKind.Name(each.kind).removeprefix("DIFFERENCE_KIND_")
        what = ".".join(each.path) if kind == "VALUE" else kind.removeprefix("RULE_").lower()
        change = f"{each.change_percent} %" if each.change_percent else ""
        made.add_row(each.rule, what, each.before, each.after, change)
    return made


def described(what: str, version: pb.PriceVersion) -> str:
    """A sentence on what is published of something, without a full stop."""
    if not version.number:
        return f"{what}, of which nothing is published"
    begins = "the beginning" if _is_first(version.effective_from) else f"{since(version.effective_from)} UTC"
    return f"{what}, version {version.number} (revision {version.revision}), in force from {begins}"


def version_row(version: pb.PriceVersion) -> tuple[str, ...]:
    """A version as a row of a list: number, revision, two instants, who, and what is to be said of it."""
    source = pb.PriceSource.Name(version.source).removeprefix("PRICE_SOURCE_").lower()
    notes = [
        *(["in force"] if version.in_force else []),
        *([f"rolled back to {version.restores}"] if version.restores else []),
        *(["forced"] if version.forced else []),
    ]
    return (
        str(version.number),
        str(version.revision),
        since(version.effective_from),
        since(version.published_at),
        f"{whoever(version.published_by, version.published_by_key_id)} ({source})",
        ", ".join(notes),
    )


def since(stamp: Timestamp) -> str:
    """An instant, in UTC, from which something is in force."""
    return "always" if _is_first(stamp) else f"{stamp.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S}"


def _is_first(stamp: Timestamp) -> bool:
    return stamp.ToDatetime(tzinfo=UTC).year <= _BEGINNING_OF_TIME
