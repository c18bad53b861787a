"""What a reserve would be refused for, known from what is free in each scope: as the reserve itself says."""

from __future__ import annotations

import random

from ledger.books import create
from ledger.books.burn_down import burn_order
from ledger.books.commands import Reserve
from ledger.books.foresight import foresee_refusal
from ledger.books.model.amounts import Credits
from ledger.books.model.decisions import Facts
from ledger.books.model.lots import Lot
from ledger.books.model.plans import Plan
from ledger.books.model.priced import Priced, Treatment
from ledger.books.model.refusals import Refusal
from ledger.books.reservations import reserve
from tests.build import START, line, lot, priced, terms

SCOPES = (None, None, "tokens", "compute", "pool:dbu")


def _lots(random_: random.Random) -> list[Lot]:
    return [
        lot(n, random_.randint(1, 9), random_.choice(SCOPES))._replace(priority=random_.randint(0, 2))
        for n in range(random_.randint(0, 5))
    ]


def _asked(random_: random.Random) -> tuple[int | None, Priced | None]:
    if random_.random() < 0.2:
        return random_.randint(1, 12), None
    kinds = ("tokens", "compute", "units")
    lines = [line(random_.randint(0, 8), kind=random_.choice(kinds)) for _ in range(random_.randint(1, 3))]
    if random_.random() < 0.1:
        lines[-1] = lines[-1]._replace(treatment=Treatment.UNPRICED, public={"name": "x"})
    return None, priced(*lines)


def test_it_is_what_the_reserve_is_refused_for() -> None:
    """Whatever lots there are, in whatever order they burn, whatever is asked: the same refusal, or none."""
    random_, plan, taken = random.Random(7), Plan("standard", None), 0  # noqa: S311 -- the same each time
    new = create(1, "Ada", plan.name, None, "UTC", "create", b"", START).wallet
    for _ in range(1_000):
        lots, (amount, usage) = _lots(random_), _asked(random_)
        total = sum(each.remaining_micros for each in lots)
        wallet = new._replace(
            lots=tuple(sorted(lots, key=burn_order)), balances=Credits(issued=-total, available=total)
        )
        asked = {"now": START, "plan": plan, "priced": usage, "terms": terms()}
        outcome = reserve(wallet, Reserve("r", b"", amount), facts=Facts(), **asked)
        free: dict[str | None, int] = {}
        for each in lots:
            free[each.scope] = free.get(each.scope, 0) + each.remaining_micros
        foreseen = foresee_refusal(free, amount, labels={}, **asked)
        assert foreseen == (outcome if isinstance(outcome, Refusal) else None)
        taken += foreseen is None
    assert 200 < taken < 800
