"""What may become of a grant that was sold, after whatever has: `grant_pairs.txt` has each pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from books_tables import Table

from ledger.books import Credits
from tests.amounts import credits_text, dollars_text

FILE = Path(__file__).parent / "grant_pairs.txt"
BEGINNING = (
    "grant    G1 100 PAID 50 expires=20:00",
    "charge   C1 tokens:40:1",
    "reserve  R1 20 ttl=24h",
)
"""Of 100 credits for $50 are 40 used, 20 held, and 40 left."""

EVENTS = {
    "nothing": (),
    "extend": ("prolong G1 expires=never",),
    "expire": ("tick 20h",),
    "void": ("void G1 paid",),
    "charge back": ("void G1 debt",),
    "dispute": ("dispute G1",),
    "won": ("dispute G1", "resolve G1 won"),
    "lost": ("dispute G1", "resolve G1 lost"),
    "pay back a part": ("payback G1 10",),
    "pay back above worth": ("payback G1 10 usd=15",),
    "pay back all": ("payback G1",),
    "write off a part": ("writeoff G1 5",),
    "write off all": ("writeoff G1",),
    "refund a part": ("refund V C1 15",),
    "refund all": ("refund V C1",),
    "reverse": ("reverse V C1",),
    "use": ("charge C2 10",),
    "release": ("release R1",),
    "use what is held": ("commit R1 20 final",),
}
"""The first of a pair, by name; the second is the same, but for the end of a dispute, which is one step."""

SECOND = {
    "won": ("resolve G1 won",),
    "lost": ("resolve G1 lost",),
    "write off the debt": ("writeoff debt",),
}
CREDITS = {name: name for name in Credits._fields if name != "issued"}
DOLLARS = {
    "receivable": "billed",
    "unbilled": "unbilled",
    "refund_payable": "payable",
    "deferred": "deferred",
    "revenue": "revenue",
    "breakage": "breakage",
    "write_off": "write_off",
}
"""The columns by account. A cost of $1 is posted until it is reversed."""


def pairs_after(first: str) -> list[str]:
    """Give the section of one first event: each second one, what comes of it, and all accounts then."""
    heads = "".join(f"{head:>10}" for head in (*CREDITS.values(), *DOLLARS.values()))
    return [f"== {first}", f"{'':<22}{heads}", *(_row(first, second) for second in {**EVENTS, **SECOND})]


def _row(first: str, second: str) -> str:
    table = Table()
    for line in (*BEGINNING, *EVENTS[first]):
        assert table.outcome(line) == "ok", line
    outcomes = [table.outcome(line) for line in {**EVENTS, **SECOND}[second]]
    refused = [outcome for outcome in outcomes if outcome != "ok"]
    return f"{second:<22}{refused[0] if refused else _accounts(table)}"


def _accounts(table: Table) -> str:
    balances = table.world.wallet.balances
    money = [entry.money.dollars for entry in table.world.entries if entry.money]
    texts = [credits_text(getattr(balances, name)) for name in CREDITS]
    texts += [dollars_text(sum(getattr(each, name) for each in money)) for name in DOLLARS]
    return "".join(f"{'.' if text == '0' else text:>10}" for text in texts)


SECTIONS = [section.splitlines() for section in FILE.read_text().split("\n\n")[1:]]


def test_every_event_is_a_first_one() -> None:
    """The file has a section for each event, in their order."""
    assert [section[0] for section in SECTIONS] == [f"== {name}" for name in EVENTS]


@pytest.mark.parametrize("section", SECTIONS, ids=[section[0] for section in SECTIONS])
def test_what_comes_of_two_events(section: list[str]) -> None:
    """Each second event after a first one is refused, or leaves the accounts with what the file says."""
    assert pairs_after(section[0].removeprefix("== ")) == section
