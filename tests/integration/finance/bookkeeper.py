"""Writes a customer's books with the real rules and the real statement, prices and instants by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from ledger.books import (
    Budget,
    BudgetWindow,
    Charge,
    Command,
    Commit,
    Decision,
    Effect,
    Entry,
    Facts,
    GrantKind,
    IssueGrant,
    OverCapture,
    Plan,
    Priced,
    PricedLine,
    Refund,
    Refusal,
    Release,
    Reserve,
    Reverse,
    State,
    Treatment,
    Wallet,
    budgets,
    create,
    decide,
    due,
)
from ledger.followers.tailer import Tailer
from ledger.store.cells.load import LoadRequest, load, load_claimed, load_reversal, load_states
from ledger.store.cells.write import Batch, Standing, write
from ledger.store.postgres.database import Connection, Database
from tests import build
from tests.acts import ACT
from tests.amounts import CREDIT, DOLLAR
from tests.customers import create_customer

CELL = "cell_00"
AMPLE = Budget("ample", 10**6 * CREDIT, BudgetWindow.TOTAL)
"""It counts, and limits nothing."""
STANDARD = Plan("standard", "agents", budgets=(AMPLE,))
OVERDRAFT = Plan("overdraft", "agents", OverCapture.ALLOW_WITH_OVERDRAFT, 100 * CREDIT)
TERMS = build.terms("agents", card_version=3, cost_version=5)

_request_numbers = itertools.count(1)


def line(
    kind: str = "tokens",
    name: str = "acme/large",
    *,
    micros: int = 0,
    cost_nanousd: int | Fraction = 0,
    treatment: Treatment = Treatment.CHARGED,
    saved_nanousd: int | Fraction = 0,
    own_key_nanousd: int | Fraction = 0,
    **internal: Any,
) -> PricedLine:
    """A line of usage as pricing would say it."""
    said = {"rule": f"{kind} rule", "price": "each 1", "name": name, "key_owner": "OURS", **internal}
    public = {"title": kind.title(), "kind": kind, "name": name, "quantities": {"quantity": "1"}}
    return build.line(
        micros,
        cost_nanousd,
        kind=kind,
        treatment=treatment,
        public=public,
        internal=said,
        saved_nanousd=saved_nanousd,
        own_key_nanousd=own_key_nanousd,
    )


def priced(*lines: PricedLine, outcomes: bool = False) -> Priced:
    """A quote; `outcomes`: the card prices outcomes, and a charged line of that kind is one."""
    charged = any(each.kind == "outcome" and each.treatment is Treatment.CHARGED for each in lines)
    return build.priced(*lines, has_outcome_rule=outcomes, outcome_charged=outcomes and charged)


@dataclass
class Bookkeeper:
    """One customer; each call books one entry, in a transaction of its own."""

    connection: Connection
    customer: int
    customer_id: str
    plan: Plan
    ahead: timedelta = timedelta()
    """How far the instants of what follows are ahead of the database's clock: up to 4 s."""
    latest: datetime | None = None
    """A machine's clock may be set back; instants of a customer's books are not, as in the service."""

    @classmethod
    async def open(
        cls, database: Database, connection: Connection, customer_id: str, plan: Plan = STANDARD
    ) -> Bookkeeper:
        def make(customer: int, now: datetime) -> Decision:
            return create(customer, customer_id, plan.name, None, "UTC", "create", b"create", now)

        created = await create_customer(database.writer, customer_id, CELL, make, ACT)
        return cls(connection, created.key.customer, customer_id, plan)

    async def grant(self, micros: int, paid_nanousd: int = 0, **options: Any) -> Entry:
        kind = GrantKind.PAID if paid_nanousd else GrantKind.PROMO
        return await self.book(IssueGrant(*_request(), micros, kind, paid_nanousd, **options))

    async def reserve(self, micros: int, *, outcomes: bool = False, ttl: timedelta | None = None) -> int:
        """The sequence of the reservation."""
        usage = priced(line(micros=micros), outcomes=outcomes)
        return (await self.book(Reserve(*_request(), None, ttl=ttl), usage)).sequence

    async def commit(
        self, reservation: int, *lines: PricedLine, final: bool = True, outcomes: bool = False
    ) -> Entry:
        usage = priced(*lines, outcomes=outcomes)
        return await self.book(Commit(*_request(), reservation, None, final), usage)

    async def commit_credits(self, reservation: int, micros: int, *, final: bool = True) -> Entry:
        return await self.book(Commit(*_request(), reservation, micros, final))

    async def charge(self, *lines: PricedLine) -> Entry:
        return await self.book(Charge(*_request(), None, already_used=True), priced(*lines))

    async def charge_counted(self, micros: int, surplus_micros: int, closes_at: datetime) -> Entry:
        """A charge of usage that counts in a period of its own, with a surplus to come."""
        key = f"count/agents/hours/{next(_request_numbers)}"
        counted = line("compute", "sandbox", micros=micros)._replace(effects=(Effect(key, "{}"),))
        state = State("{}", closes_at, surplus_micros, terms=TERMS)
        usage = priced(counted)._replace(states={key: state})
        return await self.book(Charge(*_request(), None), usage)

    async def release(self, reservation: int) -> Entry:
        return await self.book(Release(*_request(), reservation))

    async def reverse(self, *, charge: int | None = None, reservation: int | None = None) -> Entry:
        return await self.book(Reverse(*_request(), charge, reservation, "it did not happen"))

    async def refund(self, charge: int, micros: int | None = None) -> Entry:
        return await self.book(Refund(*_request(), charge, micros, "goodwill"))

    async def now(self) -> datetime:
        now = await self.connection.fetchval("SELECT clock_timestamp()") + self.ahead
        self.latest = now if self.latest is None else max(self.latest, now)
        return self.latest

    async def book(self, command: Command, usage: Priced | None = None) -> Entry:
        """Decides on what the database holds, and writes it."""
        now = await self.now()
        wallet = await self.pass_time(now)
        loaded = (await load(self.connection, CELL, [LoadRequest(self.customer)]))[self.customer]
        facts = await self._counted(command, await self._facts(command), wallet, now)
        decision = decide(wallet, command, now=now, plan=self.plan, priced=usage, terms=TERMS, facts=facts)
        assert not isinstance(decision, Refusal), decision
        await self.write(Standing(wallet.sequence, loaded.token), [decision])
        return decision.entry

    async def pass_time(self, now: datetime) -> Wallet:
        """Books what is due by the clock."""
        found = (await load(self.connection, CELL, [LoadRequest(self.customer, due_at=now)]))[self.customer]
        claimed = await load_claimed(self.connection, CELL, [self.customer])
        decisions, wallet, _ = due(
            found.wallet,
            found.due,
            found.next_reservation_due_at,
            found.closings._replace(claimed_nanousd=claimed.get(self.customer, 0)),
            await self._states([key for reservation in found.due for key in reservation.counters]),
            now=now,
            plan=self.plan,
            plan_at=lambda _: self.plan,
        )
        if decisions:
            await self.write(Standing(found.wallet.sequence, found.token), decisions)
        return wallet

    async def _facts(self, command: Command) -> Facts:
        match command:
            case Reverse() | Refund():
                return await load_reversal(
                    self.connection,
                    CELL,
                    self.customer,
                    charge=command.charge,
                    reservation=command.reservation if isinstance(command, Reverse) else None,
                )
            case Commit() | Release():
                request = LoadRequest(self.customer, reservations=(command.reservation,))
                found = (await load(self.connection, CELL, [request]))[self.customer]
                return Facts(reservation=found.reservations[command.reservation])
            case _:
                return Facts()

    async def _counted(self, command: Command, facts: Facts, wallet: Wallet, now: datetime) -> Facts:
        """Adds the budgets' counters in which a command counts."""
        stated = self.plan.budgets
        places: tuple[budgets.CounterPlace, ...] = ()
        match command:
            case Reserve() | Charge():
                places = budgets.places_of_new(stated, command.labels, now, wallet.zone)
            case Commit() | Release():
                places = budgets.places_of_reservation(facts.reservation, stated)
            case Reverse():
                places = budgets.places_undone(facts, stated, is_charge=command.charge is not None)
        return facts._replace(
            counters=budgets.read(places, await self._states([place.key for place in places]))
        )

    async def _states(self, keys: Sequence[str]) -> dict[str, State]:
        found = await load_states(self.connection, CELL, [(self.customer, key) for key in keys])
        return {key: state for (_, key), state in found.items()}

    async def write(self, before: Standing, decisions: list[Decision]) -> None:
        batch = rows(self.customer, before, decisions)
        written = await write(self.connection, CELL, batch)
        assert written.customers == {self.customer}, "nobody else writes this customer"


def rows(customer: int, before: Standing, decisions: list[Decision]) -> Batch:
    """One final image per row, by key."""
    batch = Batch(decisions[-1].entry.booked_at, before={customer: before})
    sequences = {decision.entry.sequence for decision in decisions}
    for decision in decisions:
        batch.entries.append(decision.entry)
        batch.wallets[customer] = decision.wallet
        batch.debts[customer] = decision.wallet.unbilled_nanousd
        for lot in decision.lots:
            batch.lots[customer, lot.key] = lot, lot.key.sequence in sequences
        if decision.reservation is not None:
            sequence = decision.reservation.sequence
            batch.reservations[customer, sequence] = decision.reservation, sequence in sequences
        for key, state in decision.states.items():
            batch.states[customer, key] = state
    return batch


def _request() -> tuple[str, bytes]:
    number = next(_request_numbers)
    return f"request-{number}", number.to_bytes(8)


async def catch_up(tailer: Tailer) -> None:
    """Rolls up all that can be."""
    while await tailer.step_all():
        pass


async def varied_history(database: Database, connection: Connection) -> list[Bookkeeper]:
    """Two customers to whom everything has happened that moves credits or dollars."""
    acme = await Bookkeeper.open(database, connection, "acme")
    globex = await Bookkeeper.open(database, connection, "globex", OVERDRAFT)
    await _ordinary_work(acme)
    await _losses(acme)
    await _debts(globex)
    await _expiries(acme)
    return [acme, globex]


async def _ordinary_work(customer: Bookkeeper) -> None:
    """Partial commits over promotional and paid credits, a commit in credits, charges, reversals."""
    await customer.grant(100 * CREDIT)
    await customer.grant(1_000 * CREDIT, 999 * DOLLAR, priority=1)
    await customer.grant(50 * CREDIT, 7 * DOLLAR, scope="compute", expires_at=None)
    session = await customer.reserve(300 * CREDIT)
    small = line(name="acme/large", micros=33_333_333, cost_nanousd=Fraction(10, 3), served_by="acme/small")
    routed = line(
        name="acme/large",
        micros=70 * CREDIT,
        cost_nanousd=1_234_567_891,
        saved_nanousd=Fraction(10**10, 3),
        lever="routing",
    )
    own = line(key_owner="CUSTOMER", own_key_nanousd=5 * DOLLAR, saved_nanousd=DOLLAR, lever="caching")
    sandbox = line("compute", "sandbox", micros=20 * CREDIT, cost_nanousd=DOLLAR // 7)
    await customer.commit(session, small, routed, sandbox, own, final=False)
    await customer.commit(session, small, line("units", "search", micros=1, cost_nanousd=DOLLAR))
    stated = await customer.reserve(10 * CREDIT)
    await customer.commit(stated, routed, final=False)
    await customer.commit_credits(stated, 5 * CREDIT)
    charge = await customer.charge(routed, sandbox)
    await customer.refund(charge.sequence, 9 * CREDIT)
    last = await customer.charge(line(name="acme/small", micros=3 * CREDIT, cost_nanousd=DOLLAR))
    await customer.refund(last.sequence, CREDIT)
    await customer.reverse(charge=charge.sequence)
    await customer.reverse(reservation=stated)
    await customer.release(await customer.reserve(7 * CREDIT))


async def _losses(customer: Bookkeeper) -> None:
    """Cost that nobody pays for: a failed outcome, unpriced usage, more than there is."""
    included = line(treatment=Treatment.INCLUDED, cost_nanousd=2 * DOLLAR)
    failed = line("outcome", "issue.resolved", treatment=Treatment.INCLUDED)
    session = await customer.reserve(5 * CREDIT, outcomes=True)
    await customer.commit(session, included, failed, outcomes=True)
    await customer.charge(
        line(name="new/model", treatment=Treatment.UNPRICED, cost_nanousd=3 * DOLLAR, uncosted=True),
        line("units", "search", micros=CREDIT, cost_nanousd=1),
    )
    await customer.charge(line(micros=5_000 * CREDIT, cost_nanousd=400 * DOLLAR))


async def _debts(customer: Bookkeeper) -> None:
    """Overdraft, paid by a grant of another price, and the charge that made it undone afterwards."""
    await customer.grant(10 * CREDIT, 3 * DOLLAR)
    in_debt = await customer.charge(line(micros=40 * CREDIT, cost_nanousd=DOLLAR))
    await customer.grant(20 * CREDIT, 50 * DOLLAR)
    await customer.reverse(charge=in_debt.sequence)
    await customer.charge(line(micros=70 * CREDIT, cost_nanousd=DOLLAR))


async def _expiries(customer: Bookkeeper) -> None:
    """A grant that starts, one that expires (under a hold too), a hold and a period that end."""
    soon = await customer.now() + timedelta(seconds=1)
    await customer.grant(10 * CREDIT, 10 * DOLLAR, expires_at=soon)
    await customer.grant(10 * CREDIT, 20 * DOLLAR, effective_at=soon)
    held = await customer.reserve(4 * CREDIT)
    late = await customer.reserve(3 * CREDIT, ttl=timedelta(seconds=1))
    undone = await customer.charge(line(micros=CREDIT, cost_nanousd=5))
    await customer.charge_counted(4 * CREDIT, CREDIT, soon)
    await customer.charge_counted(4 * CREDIT, CREDIT, soon + timedelta(days=40))
    customer.ahead = timedelta(seconds=3)
    await customer.commit(late, line(micros=2 * CREDIT, cost_nanousd=6))
    await customer.release(held)
    await customer.reverse(charge=undone.sequence)
