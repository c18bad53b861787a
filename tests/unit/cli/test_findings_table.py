"""Tables of finance's commands."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.cli.commands.books import findings_table
from ledger.cli.output.console import out
from ledger.finance.v1 import finance_service_pb2 as pb


def test_a_finding_tells_who_is_stopped_and_why() -> None:
    """With the id that callers read; a finding of rollups stops nobody."""
    found = {"found_at": Timestamp(seconds=0), "violations": 1_000}
    answer = pb.ListFindingsResponse(
        findings=[
            pb.Finding(finding_id="a1", customer_id="acme", stops=True, description="rule: [7]", **found),
            pb.Finding(finding_id="b2", customer_id="", description="rule: why", **found),
        ],
        there_are_more=True,
    )
    console = out()
    with console.capture() as captured:
        console.print(findings_table(answer))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in captured.get().splitlines()]
    at = "1970-01-01 00:00:00"
    assert [row for row in rows if row] == [
        [at, "acme", "a1", "stopped", "1,000", "rule: [7]"],
        [at, "(not in the directory)", "b2", "taken", "1,000", "rule: why"],
    ]
    assert "there are more" in captured.get()
