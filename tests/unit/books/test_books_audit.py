"""The audit finds each kind of break: books that are right are changed in one place."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from books_tables import Table

from ledger.books import Credits, LotKey, LotStatus, Pin, ReservationState
from ledger.books.audit import Books, Invariant, audit, returned
from ledger.books.model.wallets import Tally

STEPS = """
plan over_capture=ALLOW_WITH_OVERDRAFT overdraft=50
grant   G1 100 PAID 100 expires=2d -> ok
grant   G2 50 PAID 50 expires=1d -> ok
reserve R1 40 -> ok
commit  R1 tokens:10:3 units:5:1 -> ok
reserve R2 20 -> ok
charge  C1 tokens:160:2 used -> ok
"""
RETURNS = """
grant   G3 100 PAID 100 -> ok
reserve R3 nothing -> ok
commit  R3 tokens:2:1 as=K1 final -> ok
refund  V1 K1 1 -> ok
reverse V2 R3 -> ok
refund  V3 C1 5 -> ok
reverse V4 C1 -> ok
"""


def right_books(steps: str = STEPS) -> Books:
    """Give the history of a customer with lots, holds, charges and a debt."""
    table = Table()
    for line in steps.strip().splitlines():
        table.step(line)
    world = table.world
    return Books(
        world.wallet,
        list(world.lots.values()),
        list(world.reservations.values()),
        world.entries,
        world.states,
    )


def with_entry(history: Books, index: int, **changes: object) -> Books:
    """Change one entry."""
    entries = list(history.entries)
    entries[index] = entries[index]._replace(**changes)  # type: ignore[arg-type]
    return replace(history, entries=entries)


def with_money(history: Books, index: int, **changes: object) -> Books:
    """Change the money of one entry."""
    money = history.entries[index].money
    assert money is not None
    return with_entry(history, index, money=money._replace(**changes))  # type: ignore[arg-type]


def with_lot(history: Books, index: int, **changes: object) -> Books:
    """Change one lot, in the wallet too."""
    lots = list(history.lots)
    lots[index] = lots[index]._replace(**changes)  # type: ignore[arg-type]
    live = tuple(lots[index] if lot.key == lots[index].key else lot for lot in history.wallet.lots)
    return replace(history, lots=lots, wallet=history.wallet._replace(lots=live))


def with_wallet(history: Books, **changes: object) -> Books:
    """Change the wallet."""
    return replace(history, wallet=history.wallet._replace(**changes))  # type: ignore[arg-type]


def with_reservation(history: Books, **changes: object) -> Books:
    """Change the first reservation."""
    first, *others = history.reservations
    return replace(history, reservations=[first._replace(**changes), *others])  # type: ignore[arg-type]


def moved(credits_: Credits, **micros: int) -> Credits:
    """Add to some accounts."""
    return credits_._replace(**{name: getattr(credits_, name) + n for name, n in micros.items()})


def ended(history: Books, account: str) -> Books:
    """End the first lot without an entry: what it held stands on an account, and nobody holds it any more."""
    lot = history.lots[0]
    changed = with_lot(history, 0, remaining_micros=0, held_micros=0, status=LotStatus.VOIDED)
    moves = {"held": -lot.held_micros, account: lot.held_micros}
    return with_wallet(changed, balances=moved(history.wallet.balances, **moves))


BREAKS: dict[str, tuple[Invariant, Callable[[Books], Books]]] = {
    "an entry's credits do not sum to 0": (
        Invariant.BALANCED,
        lambda h: with_entry(h, 2, credits=moved(h.entries[2].credits, consumed=1)),
    ),
    "an entry's dollars do not sum to 0": (
        Invariant.BALANCED,
        lambda h: with_money(h, 1, dollars=h.entries[1].money.dollars._replace(cost=7)),  # type: ignore[union-attr]
    ),
    "the balances do not sum to 0": (
        Invariant.CONSERVED,
        lambda h: with_wallet(h, balances=moved(h.wallet.balances, expired=1)),
    ),
    "an account is below 0": (
        Invariant.CONSERVED,
        lambda h: with_wallet(h, balances=moved(h.wallet.balances, expired=-1, consumed=1)),
    ),
    "more is held of a lot than it has": (
        Invariant.CONSERVED,
        lambda h: with_lot(h, 0, held_micros=h.lots[0].remaining_micros + 1),
    ),
    "a lot has lost credits": (
        Invariant.CONSERVED,
        lambda h: with_lot(h, 0, remaining_micros=h.lots[0].remaining_micros - 1),
    ),
    "a lot was never granted": (
        Invariant.CONSERVED,
        lambda h: replace(h, lots=[*h.lots, h.lots[0]._replace(key=LotKey(99, 0), remaining_micros=0)]),
    ),
    "a lot is called expired, and nothing expired": (
        Invariant.CONSERVED,
        lambda h: with_lot(h, 0, status=LotStatus.EXPIRED, remaining_micros=1, held_micros=1),
    ),
    "a closed reservation holds": (
        Invariant.HELD,
        lambda h: with_reservation(h, state="RELEASED"),
    ),
    "a pin was lost": (Invariant.HELD, lambda h: with_reservation(h, pins=())),
    "a pin is empty": (
        Invariant.HELD,
        lambda h: with_reservation(h, pins=(*h.reservations[0].pins, Pin(h.lots[0].key, 0))),
    ),
    "a lot's value is another than was deferred": (
        Invariant.DEFERRED,
        lambda h: with_lot(h, 0, value_nanousd=h.lots[0].value_nanousd + 1),
    ),
    "the price of the debt was lost": (Invariant.DEFERRED, lambda h: with_wallet(h, unbilled_nanousd=0)),
    "an empty lot has value": (
        Invariant.DEFERRED,
        lambda h: replace(
            h, lots=[*h.lots, h.lots[0]._replace(key=LotKey(99, 0), remaining_micros=0, value_nanousd=1)]
        ),
    ),
    "an entry is missing in the balances": (
        Invariant.REPLAYED,
        lambda h: with_wallet(h, balances=moved(h.wallet.balances, available=1, consumed=-1)),
    ),
    "an entry says other balances after it": (
        Invariant.REPLAYED,
        lambda h: with_entry(h, 3, after=moved(h.entries[3].after, available=1, held=-1)),
    ),
    "more was charged than was consumed": (
        Invariant.REPLAYED,
        lambda h: with_entry(h, -1, uncollected_micros=0),
    ),
    "a reservation forgot a part": (Invariant.REPLAYED, lambda h: with_reservation(h, charged_micros=0)),
    "a reservation lives longer than its entries say": (
        Invariant.REPLAYED,
        lambda h: with_reservation(h, expires_at=h.reservations[0].expires_at + timedelta(seconds=1)),
    ),
    "a charge's cost is not that of its lines": (
        Invariant.COSTED,
        lambda h: with_money(
            h,
            -1,
            dollars=h.entries[-1].money.dollars._replace(cost=0, provider_payable=0),  # type: ignore[union-attr]
        ),
    ),
    "a line's credits were lost": (Invariant.COSTED, lambda h: with_entry(h, -1, lines=())),
    "a reserve posts a cost": (
        Invariant.COSTED,
        lambda h: with_entry(h, 3, money=h.entries[4].money),
    ),
    "more is absorbed than was spent": (
        Invariant.COSTED,
        lambda h: with_money(h, 4, absorbed_unpriced_nanousd=10**12),
    ),
    "an entry is missing": (
        Invariant.SEQUENCED,
        lambda h: replace(h, entries=[*h.entries[:3], *h.entries[4:]]),
    ),
    "a request took effect twice": (
        Invariant.SEQUENCED,
        lambda h: with_entry(h, 3, request_id=h.entries[2].request_id),
    ),
    "an instant went back": (
        Invariant.SEQUENCED,
        lambda h: with_entry(h, 3, booked_at=h.entries[3].booked_at + timedelta(seconds=1)),
    ),
    "the wallet has lost a lot": (Invariant.LIVE, lambda h: with_wallet(h, lots=h.wallet.lots[1:])),
    "the wallet's lots stand in another order": (
        Invariant.LIVE,
        lambda h: with_wallet(h, lots=h.wallet.lots[::-1]),
    ),
    "a lot that is used up counts as active": (
        Invariant.LIVE,
        lambda h: with_lot(h, 0, status=LotStatus.DEPLETED),
    ),
    "what is due is not known": (Invariant.LIVE, lambda h: with_wallet(h, next_due_at=None)),
    "a debt is above 0": (
        Invariant.CONSERVED,
        lambda h: with_wallet(h, balances=moved(h.wallet.balances, debt=50_000_001, consumed=-50_000_001)),
    ),
    "more is left of a lot than it was granted": (
        Invariant.CONSERVED,
        lambda h: with_lot(h, 0, amount_micros=h.lots[0].remaining_micros - 1),
    ),
    "a lot is worth less than nothing": (Invariant.DEFERRED, lambda h: with_lot(h, 0, value_nanousd=-1)),
    "a debt is priced below nothing": (Invariant.DEFERRED, lambda h: with_wallet(h, unbilled_nanousd=1)),
    "more is carried than the entries say": (
        Invariant.CARRIED,
        lambda h: with_wallet(h, tallies={**h.wallet.tallies, "card": Tally((1, 3), 0)}),
    ),
    "what an entry left over is forgotten": (
        Invariant.CARRIED,
        lambda h: with_money(h, -1, remainders={"pool:dbcu": (1, 3)}),
    ),
    "what nobody owes has a price": (
        Invariant.DEFERRED,
        lambda h: with_wallet(h, balances=h.wallet.balances._replace(debt=0)),
    ),
    "a reservation has no entry": (
        Invariant.REPLAYED,
        lambda h: replace(h, reservations=[*h.reservations, h.reservations[0]._replace(sequence=99)]),
    ),
    "a reservation has another state than its newest entry": (
        Invariant.REPLAYED,
        lambda h: with_reservation(h, state=ReservationState.EXPIRED),
    ),
    "more was left uncollected than was priced": (
        Invariant.COSTED,
        lambda h: with_entry(h, -1, uncollected_micros=h.entries[-1].priced_micros + 1),
    ),
    "less than nothing was left uncollected": (
        Invariant.COSTED,
        lambda h: with_entry(h, -1, uncollected_micros=-1),
    ),
    "credits without usage have a cost": (
        Invariant.COSTED,
        lambda h: with_money(with_entry(h, -1, lines=()), -1, lines=()),
    ),
    "a charge's price is not that of its lines": (
        Invariant.COSTED,
        lambda h: with_entry(h, -1, priced_micros=h.entries[-1].priced_micros + 1),
    ),
    "a charge's revenue is not that of its lines": (
        Invariant.COSTED,
        lambda h: with_money(
            h,
            -1,
            dollars=h.entries[-1].money.dollars._replace(revenue=7),  # type: ignore[union-attr]
        ),
    ),
    "what was absorbed is below nothing": (
        Invariant.COSTED,
        lambda h: with_money(h, 4, absorbed_uncollected_nanousd=-1),
    ),
    "an entry takes effect after it was booked": (
        Invariant.SEQUENCED,
        lambda h: with_entry(h, -1, effective_at=h.entries[-1].booked_at + timedelta(seconds=1)),
    ),
    "an entry takes effect before the one before it": (
        Invariant.SEQUENCED,
        lambda h: with_entry(h, -1, effective_at=h.entries[-1].booked_at - timedelta(seconds=1)),
    ),
    "a lot that has expired has credits that nobody holds": (
        Invariant.LIVE,
        lambda h: with_lot(h, 0, status=LotStatus.EXPIRED, held_micros=0),
    ),
    "a lot that was voided has credits that nobody holds": (
        Invariant.LIVE,
        lambda h: with_lot(h, 0, status=LotStatus.VOIDED, held_micros=0),
    ),
    "a lot was voided, and no entry says so": (Invariant.REPLAYED, lambda h: ended(h, "voided")),
    "a lot was refunded, and no entry says so": (Invariant.REPLAYED, lambda h: ended(h, "refunded")),
    "a lot counts as not begun": (
        Invariant.LIVE,
        lambda h: with_lot(h, 0, status=LotStatus.PENDING_START),
    ),
    "a hold is due before what is known": (
        Invariant.LIVE,
        lambda h: with_wallet(h, next_due_at=h.reservations[0].expires_at + timedelta(seconds=1)),
    ),
    "the expiry of a lot is not known": (
        Invariant.LIVE,
        lambda h: replace(with_wallet(h, next_due_at=None), reservations=[]),
    ),
    "the start of a lot is not known": (
        Invariant.LIVE,
        lambda h: replace(
            with_wallet(
                with_lot(with_lot(h, 1, expires_at=None), 0, status=LotStatus.PENDING_START, expires_at=None),
                next_due_at=None,
            ),
            reservations=[],
        ),
    ),
}


def test_right_books_have_no_violations() -> None:
    """The audit finds nothing where nothing is wrong."""
    history = right_books()
    assert len(history.wallet.lots) == 2
    assert history.wallet.balances.debt < 0
    assert audit(history.wallet, history.lots, history.reservations, history.entries, history.states) == []


@pytest.mark.parametrize(
    ("index", "more", "found"),
    [
        (10, 2, ["entry 11: gives back 3, 2 was left", "entry 12: gives back 1, -1 was left"]),
        (11, 1, ["entry 12: gives back 2, 1 was left"]),
        (11, -1, ["entry 12: gives back 0, 1 was left"]),
        (12, 136, ["entry 13: gives back 141, 140 was left", "entry 14: gives back 135, -1 was left"]),
        (13, -1, ["entry 14: gives back 134, 135 was left"]),
    ],
)
def test_more_or_less_has_come_back_than_was_left(index: int, more: int, found: list[str]) -> None:
    """Refunds are within what a charge collected, and a reversal takes all that they have left."""
    history = right_books(STEPS.strip() + RETURNS)
    assert [entry.kind.value for entry in history.entries[10:]] == [
        "REFUND",
        "REVERSAL",
        "REFUND",
        "REVERSAL",
    ]
    assert audit(history.wallet, history.lots, history.reservations, history.entries) == []
    credit = 1_000_000
    priced = history.entries[index].priced_micros - more * credit
    reported = [finding for _, finding in returned(with_entry(history, index, priced_micros=priced))]
    assert [re.sub("([0-9])0{6}", r"\1", finding) for finding in reported] == found


def read_findings() -> dict[str, list[str]]:
    """Read what is to be found of each break."""
    findings: dict[str, list[str]] = {}
    name = ""
    for line in (Path(__file__).parent / "findings.txt").read_text().splitlines():
        if line.startswith("    "):
            findings[name].append(line.strip())
        elif line and not line.startswith("#"):
            name = line
            findings[name] = []
    return findings


FINDINGS = read_findings()


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_found(name: str) -> None:
    """A planted break is named by its invariant, with the customer that has it, and with what is wrong."""
    invariant, break_ = BREAKS[name]
    history = break_(right_books())
    found = audit(history.wallet, history.lots, history.reservations, history.entries, history.states)
    assert invariant in {violation.invariant for violation in found}
    assert {violation.customer for violation in found} == {1}
    assert [f"{violation.invariant}: {_shown(violation.description)}" for violation in found] == FINDINGS[
        name
    ]


def _shown(description: str) -> str:
    """Shorten keys of lots, and balances, which are long and stand in full elsewhere."""
    keyed = re.sub(r"LotKey\(sequence=(\d+), n=(\d+)\)", r"\1.\2", description)
    return re.sub(r"Credits\([^)]*\)", "Credits(...)", keyed)
