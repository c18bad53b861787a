"""Reads text tables of the books' rules: a case is a title, and steps that whoever knows credits can read.

A file holds cases, each `== what it proves`, then a step a line; `#` begins a comment. A step is a verb,
its words, and after `->` what must come of it. Credits and dollars are decimals or fractions, instants
`10:00` or `2d`, counted from the start of the case; durations `90s`, `5m`, `24h`, `30d`.

    plan     over_capture=CAP overdraft=50 unpriced=CHARGE_HOLD ttl=10m max_ttl=1h   policies from here on
    budget   daily 10 DAY by=agent,run notify=50,100 where=team:a at_limit=BLOCK    one more from here on
    budget   daily gone                                                             not from here on
    card     price=2.25 round=0.01/up outcomes                     credit price, rounding, outcome rule
    grant    G1 100 PAID 1.00 starts=10:00 expires=2d priority=1 scope=tokens
    reserve  R1 60 ttl=5m up_to minimum=10       or usage: reserve R1 tokens:60
    extend   R1 20 ttl=5m
    commit   R1 10 final                         or usage: commit R1 tokens:10:0.25 compute:1/3:0.01:INCLUDED
    charge   C1 10 used
    release  R1
    reverse  V1 C1 (or R1)
    refund   V1 C1 10 (or without an amount: all that is left)
    update   plan=other card=own
    unknown | known                                                the plan is not, or is, to be found
    ends     the plan names no grant that recurs any more
    confirm  G1 1.00 (or without an amount: what was stated)       of grant G1 100 PAID 1.00 pending_payment
    void     G1 debt (or paid; or without: as the plan has it) only_pending_payment
    prolong  G1 expires=3d priority=2 (expires=never)
    payback  G1 50 usd=45 (or without: all that nobody holds, at what it is worth)
    dispute  G1
    resolve  G1 won (or lost; or lost paid: what was used stays paid)
    writeoff G1 10 (or debt 10; or without an amount: all that is owed)
    tick     6m -> RESERVATION_EXPIRED GRANT_EXPIRED               what the clock has written, in order
    zone     Europe/Berlin                                         of the customer
    recurs   monthly 100 PAID 9.00 every=MONTH day=31 prorated life=60d rollover=10/50/30d     of the plan
    comes    other (or without: to the same plan again)            the customer comes to a plan
    balance | books | lot G1 | reservation R1 | order              what is kept
    counts                                                         of budgets, by name, by date or hour

Work may have labels: `team=a`; a reservation has its name as `agent` besides. A usage item is
kind:credits:cost:treatment:result:pool; a result `charged` is an outcome that is charged for; a pool
`dbcu/3` is 3 credits of the pool dbcu, while they last, instead of the credits.
After `->` stands `ok` or a refusal's reason, and fields that must be so (those of `_entry_view` and its
neighbours); what is not named is not looked at, but the audit runs after each step. Grants that recur are
named M1, M2, … in their order, what rolls over O1, O2, ….
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

from books_world import World

from ledger.books import (
    AtLimit,
    Budget,
    BudgetWindow,
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    Decision,
    DisputeGrant,
    Dollars,
    Entry,
    EntryKind,
    Every,
    Extend,
    ExtendGrant,
    Fill,
    GrantKind,
    IssueGrant,
    LotKey,
    OverCapture,
    PoolPart,
    Priced,
    PricedLine,
    RecurringGrant,
    Refund,
    RefundGrant,
    Refusal,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    Rollover,
    Rounding,
    Treatment,
    Unpriced,
    UpdateCustomer,
    UsedCredits,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.lots import NO_RECORD
from tests import build
from tests.amounts import CREDIT, DOLLAR, credits_text, dollars_text, micros_of, nanousd_of
from tests.build import START

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Case:
    """A titled list of steps."""

    title: str
    steps: tuple[tuple[int, str], ...]


def read_cases(path: Path) -> Iterator[Case]:
    """Read the cases of a file, with line numbers."""
    title, steps = "", []
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.split("#")[0].strip()
        if line.startswith("=="):
            if steps:
                yield Case(title, tuple(steps))
            title, steps = line[2:].strip(), []
        elif line:
            steps.append((number, line))
    yield Case(title, tuple(steps))


class Table:
    """Runs the steps of one case."""

    def __init__(self) -> None:
        self.world = World()
        self.rounding = Rounding()
        self.outcomes = False
        self.names: dict[str, int] = {}
        self.requests = 0

    def step(self, line: str) -> None:
        """Run one step and hold its outcome against what stands behind the arrow."""
        left, _, right = line.partition("->")
        verb, *words = left.split()
        outcome = getattr(self, f"do_{verb}")(*_split(words))
        if isinstance(outcome, list):
            assert [decision.entry.kind for decision in outcome] == right.split()
        elif outcome is not None:
            expected = right.split()
            assert expected, f"{line}: say what comes of it"
            if verb not in ("balance", "books", "counts", "lot", "reservation"):
                head, *expected = expected
                assert head == outcome.pop("outcome"), outcome
            _hold(outcome, expected)

    def has_effect(self, line: str) -> bool:
        """Run one step, whatever comes of it; tell whether it had an effect."""
        before = len(self.world.entries)
        verb, *words = line.split()
        getattr(self, f"do_{verb}")(*_split(words))
        return len(self.world.entries) > before

    def outcome(self, line: str) -> str:
        """Run one step, whatever comes of it; give `ok`, or the reason of the refusal."""
        verb, *words = line.split()
        came = getattr(self, f"do_{verb}")(*_split(words))
        return came["outcome"] if isinstance(came, dict) else "ok"

    def do_plan(self, words: list[str], options: dict[str, str]) -> None:
        plan = self.world.plan
        self.world.plan = plan._replace(
            over_capture=OverCapture(options.get("over_capture", plan.over_capture)),
            overdraft_limit_micros=micros_of(options.get("overdraft", "0")),
            default_ttl=_duration(options["ttl"]) if "ttl" in options else plan.default_ttl,
            max_ttl=_duration(options["max_ttl"]) if "max_ttl" in options else plan.max_ttl,
            unpriced=Unpriced(options.get("unpriced", plan.unpriced)),
            used_when_voided=UsedCredits(options.get("used_when_voided", plan.used_when_voided)),
        )

    def do_budget(self, words: list[str], options: dict[str, str]) -> None:
        name, *more = words
        kept = [budget for budget in self.world.plan.budgets if budget.name != name]
        if more != ["gone"]:
            limit, window = more
            budget = Budget(
                name,
                micros_of(limit),
                BudgetWindow(window),
                tuple(options["by"].split(",")) if "by" in options else (),
                (options["where"].partition(":")[::2],) if "where" in options else (),
                tuple(int(percent) for percent in options.get("notify", "").split(",") if percent),
                AtLimit(options.get("at_limit", "THROTTLE")),
            )
            kept.append(budget)
        self.world.plan = self.world.plan._replace(budgets=tuple(kept))

    def do_counts(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        counts: dict[str, list[str]] = {}
        for key, state in sorted(self.world.states.items()):
            if not key.startswith("budget:"):
                continue
            counts.setdefault(key.split(":")[1], []).append(credits_text(int(state.text)))
        return {name: "+".join(values) for name, values in counts.items()}

    def do_card(self, words: list[str], options: dict[str, str]) -> None:
        self.outcomes = "outcomes" in words
        if "price" in options:
            terms = self.world.terms
            self.world.terms = terms._replace(credit_price_nanousd=nanousd_of(options["price"]))
        if "round" in options:
            quantum, mode = options["round"].split("/")
            self.rounding = Rounding(micros_of(quantum), mode)

    def do_grant(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, amount, kind, paid, *more = words
        command = IssueGrant(
            *self.request(),
            amount_micros=micros_of(amount),
            kind=GrantKind(kind),
            paid_total_nanousd=nanousd_of(paid),
            effective_at=_instant(options["starts"]) if "starts" in options else None,
            expires_at=_instant(options["expires"]) if "expires" in options else None,
            priority=int(options.get("priority", 0)),
            scope=options.get("scope"),
            pending_payment="pending_payment" in more,
        )
        return self.run(name, command)

    def do_confirm(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *paid = words
        return self.run(
            "", ConfirmGrant(*self.request(), self.lot_key(name), nanousd_of(paid[0]) if paid else None)
        )

    def do_void(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        used = {"debt": UsedCredits.BECOME_DEBT, "paid": UsedCredits.STAY_PAID}
        said = next((used[word] for word in words if word in used), None)
        pending = "only_pending_payment" in words
        return self.run("", VoidGrant(*self.request(), self.lot_key(words[0]), "why", said, pending))

    def do_prolong(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        expires = options.get("expires")
        command = ExtendGrant(
            *self.request(),
            self.lot_key(words[0]),
            expires_at=_instant(expires) if expires not in (None, "never") else None,
            never_expires=expires == "never",
            priority=int(options["priority"]) if "priority" in options else None,
        )
        return self.run("", command)

    def do_dispute(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return self.run("", DisputeGrant(*self.request(), self.lot_key(words[0]), "why"))

    def do_resolve(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        used = UsedCredits.STAY_PAID if "paid" in words else UsedCredits.BECOME_DEBT
        is_won = "won" in words
        return self.run("", ResolveDispute(*self.request(), self.lot_key(words[0]), "why", is_won, used))

    def do_payback(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *amount = words
        command = RefundGrant(
            *self.request(),
            self.lot_key(name),
            "why",
            amount_micros=micros_of(amount[0]) if amount else None,
            paid_back_nanousd=nanousd_of(options["usd"]) if "usd" in options else None,
        )
        return self.run("", command)

    def do_writeoff(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *amount = words
        if name == "debt":
            micros = micros_of(amount[0]) if amount else None
            return self.run(options.get("as", ""), WriteOffDebt(*self.request(), "why", micros))
        nanousd = nanousd_of(amount[0]) if amount else None
        return self.run("", WriteOffGrant(*self.request(), self.lot_key(name), "why", nanousd))

    def do_reserve(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *rest = words
        labels = {"agent": name} | _labels(options)
        fill = Fill.UP_TO if "up_to" in rest else Fill.ALL_OR_NOTHING
        amount, priced = self.spent([word for word in rest if word != "up_to"])
        minimum = micros_of(options["minimum"]) if "minimum" in options else 1
        ttl = _duration(options["ttl"]) if "ttl" in options else None
        return self.run(name, Reserve(*self.request(), amount, fill, minimum, ttl, labels), priced)

    def do_extend(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *rest = words
        ttl = _duration(options["ttl"]) if "ttl" in options else None
        command = Extend(*self.request(), self.number(name), micros_of(rest[0]) if rest else 0, ttl)
        return self.run("", command)

    def do_commit(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *rest = words
        amount, priced = self.spent([word for word in rest if word != "final"])
        command = Commit(*self.request(), self.number(name), amount, final="final" in rest)
        return self.run(options.get("as", ""), command, priced)

    def do_charge(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, *rest = words
        amount, priced = self.spent([word for word in rest if word != "used"])
        labels = _labels(options)
        return self.run(name, Charge(*self.request(), amount, "used" in rest, labels), priced)

    def do_release(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return self.run("", Release(*self.request(), self.number(words[0])))

    def do_reverse(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, subject = words
        number = self.number(subject)
        held = any(e.sequence == number and e.kind is EntryKind.RESERVE for e in self.world.entries)
        if held or subject.startswith("R"):
            return self.run(name, Reverse(*self.request(), None, number, "did not happen"))
        return self.run(name, Reverse(*self.request(), number, None, "did not happen"))

    def do_refund(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        name, subject, *amount = words
        micros = micros_of(amount[0]) if amount else None
        return self.run(name, Refund(*self.request(), self.number(subject), micros, "goodwill"))

    def do_update(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        outcome = self.run("", UpdateCustomer(*self.request(), **options))
        wallet = self.world.wallet
        return outcome | {"name": wallet.display_name, "plan": wallet.plan, "card": str(wallet.card)}

    def do_tick(self, words: list[str], options: dict[str, str]) -> list[Decision]:
        written = self.world.pass_time(_duration(words[0]))
        for decision in written:
            entry = decision.entry
            if entry.kind in (EntryKind.GRANT, EntryKind.ROLLOVER):
                letter = "M" if entry.kind is EntryKind.GRANT else "O"
                number = 1 + sum(name.startswith(letter) for name in self.names)
                self.names[f"{letter}{number}"] = entry.sequence
        return written

    def do_zone(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return self.run("", UpdateCustomer(*self.request(), zone=words[0]))

    def do_recurs(self, words: list[str], options: dict[str, str]) -> None:
        name, amount, kind, paid, *more = words
        least, most, life = (options.get("rollover", "0//") + "//").split("/")[:3]
        rollover = Rollover(
            micros_of(least), micros_of(most) if most else None, _duration(life) if life else None
        )
        grant = RecurringGrant(
            name,
            micros_of(amount),
            nanousd_of(paid),
            GrantKind(kind),
            Every(options.get("every", "MONTH")),
            day=int(options["day"]) if "day" in options else None,
            priority=int(options.get("priority", 0)),
            scope=options.get("scope"),
            life=_duration(options["life"]) if "life" in options else None,
            rollover=rollover if "rollover" in options else None,
            prorated="prorated" in more,
        )
        plan = self.world.plan
        others = tuple(each for each in plan.grants or () if each.name != name)
        self.world.plan = plan._replace(grants=(*others, grant))

    def do_unknown(self, words: list[str], options: dict[str, str]) -> None:
        self.world.plan_is_known = False

    def do_known(self, words: list[str], options: dict[str, str]) -> None:
        self.world.plan_is_known = True

    def do_ends(self, words: list[str], options: dict[str, str]) -> None:
        self.world.plan = self.world.plan._replace(grants=())

    def do_comes(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        plan = words[0] if words else self.world.plan.name
        outcome = self.run("", UpdateCustomer(*self.request(), plan=plan, is_granted=True))
        self.world.plan = self.world.plan._replace(name=plan, grants=() if words else self.world.plan.grants)
        self.world.plan_is_known = True
        return outcome

    def do_due_batch(self, words: list[str], options: dict[str, str]) -> None:
        self.world.due_batch = int(words[0])

    def do_balance(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return {name: credits_text(micros) for name, micros in self.world.wallet.balances._asdict().items()}

    def do_books(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        money = [entry.money for entry in self.world.entries if entry.money]
        return {name: dollars_text(sum(getattr(m.dollars, name) for m in money)) for name in Dollars._fields}

    def do_lot(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        lot = self.world.lots[self.lot_key(words[0])]
        record = self.world.records.get(lot.key, NO_RECORD)
        return {
            "amount": credits_text(lot.amount_micros),
            "remaining": credits_text(lot.remaining_micros),
            "held": credits_text(lot.held_micros),
            "value": dollars_text(lot.value_nanousd),
            "status": lot.status,
            "kind": lot.kind,
            "scope": str(lot.scope),
            "priority": str(lot.priority),
            "starts": _when(lot.effective_at),
            "expires": _when(lot.expires_at),
            "ended": credits_text(record.ended_micros),
            "back": credits_text(record.refunded_micros),
            "taken_off": dollars_text(record.taken_off_nanousd),
            "given_up": credits_text(record.given_up_micros),
            "rolled_over": credits_text(record.rolled_over_micros),
            "recurring": str(record.recurring),
        }

    def do_reservation(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        reservation = self.world.reservations[self.number(words[0])]
        pins = (f"{self.lot_name(pin.lot)}:{credits_text(pin.micros)}" for pin in reservation.pins)
        return {
            "state": reservation.state,
            "held": credits_text(reservation.held_micros),
            "priced": credits_text(reservation.priced_micros),
            "charged": credits_text(reservation.charged_micros),
            "expires": _when(reservation.expires_at),
            "pins": ",".join(pins) or "none",
            "posted": dollars_text(reservation.costs.posted_nanousd),
        }

    def do_order(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return {"outcome": ",".join(self.lot_name(lot.key) for lot in self.world.wallet.lots)}

    def do_due_at(self, words: list[str], options: dict[str, str]) -> dict[str, str]:
        return {"outcome": _when(self.world.wallet.next_due_at)}

    def run(self, name: str, command: Command, priced: Priced | None = None) -> dict[str, str]:
        outcome = self.world.run(command, priced)
        if isinstance(outcome, Refusal):
            detail = {key: credits_text(int(v)) if v.isdigit() else v for key, v in outcome.detail.items()}
            return {"outcome": outcome.reason} | {k.removesuffix("_micros"): v for k, v in detail.items()}
        if name:
            self.names[name] = outcome.entry.sequence
        return self.entry_view(outcome.entry)

    def entry_view(self, entry: Entry) -> dict[str, str]:
        """Give an entry's fields by the names that tables use."""
        view = {"outcome": "ok", "effective": _when(entry.effective_at), "labels": str(dict(entry.labels))}
        view |= {name: credits_text(micros) for name, micros in entry.credits._asdict().items()}
        view |= {
            "priced": credits_text(entry.priced_micros),
            "uncollected": credits_text(entry.uncollected_micros),
            "charged": credits_text(entry.charged_micros),
            "lines": ",".join(credits_text(line.credits_micros) for line in entry.lines),
            "pools": ",".join(
                f"{line.pool}:{credits_text(line.pool_micros)}" for line in entry.lines if line.pool
            ),
            "flags": "+".join(f for f in ("late", "final") if getattr(entry, f)) or "none",
            "money": "some" if entry.money else "none",
        }
        money = entry.money
        if money is not None:
            view |= {name: dollars_text(nanousd) for name, nanousd in money.dollars._asdict().items()}
            draws = (
                f"{self.lot_name(d.lot)}:{credits_text(d.micros)}:{dollars_text(d.value_nanousd)}"
                for d in money.draws
            )
            view |= {
                "draws": ",".join(draws) or "none",
                "debt_value": dollars_text(money.debt_value_nanousd),
                "failed_outcome": dollars_text(money.absorbed_failed_outcome_nanousd),
                "absorbed_uncollected": dollars_text(money.absorbed_uncollected_nanousd),
                "unpriced": dollars_text(money.absorbed_unpriced_nanousd),
                "revenues": ",".join(dollars_text(line.revenue_nanousd) for line in money.lines),
                "costs": ",".join(dollars_text(line.cost_nanousd) for line in money.lines),
            }
        crossings = entry.budgets.crossings if entry.budgets else ()
        view["crossed"] = ",".join(
            f"{c.budget}:{'below' if c.is_recovery else ''}{c.percent}%" for c in crossings
        )
        if entry.reservation is not None:
            view |= {"state": entry.reservation.state, "expires": _when(entry.reservation.expires_at)}
        return view

    def spent(self, words: list[str]) -> tuple[int | None, Priced | None]:
        """Read an amount of credits, or usage items with their prices."""
        if len(words) == 1 and ":" not in words[0] and words[0] != "nothing":
            return micros_of(words[0]), None
        items = [word.split(":") for word in words if word != "nothing"]
        lines = [_line(*item) for item in items]
        charged = any("charged" in item for item in items)
        return None, build.priced(
            *lines, rounding=self.rounding, has_outcome_rule=self.outcomes, outcome_charged=charged
        )

    def request(self) -> tuple[str, bytes]:
        self.requests += 1
        return f"request-{self.requests}", b"fingerprint"

    def number(self, name: str) -> int:
        return self.names.get(name, 999)

    def lot_key(self, name: str) -> LotKey:
        label, _, n = name.partition(".")
        return LotKey(self.number(label), int(n or 0))

    def lot_name(self, key: LotKey) -> str:
        names = {number: name for name, number in self.names.items()}
        name = names.get(key.sequence, f"#{key.sequence}")
        return f"{name}.{key.n}" if name.startswith("V") else name


def _line(
    kind: str, micros: str, cost: str = "0", treatment: str = "CHARGED", result: str = "", pool: str = ""
) -> PricedLine:
    name, _, need = pool.partition("/")
    return build.line(
        Fraction(micros) * CREDIT,
        Fraction(cost or 0) * DOLLAR,
        kind=kind,
        treatment=Treatment(treatment or "CHARGED"),
        pool=PoolPart(name, Fraction(need) * CREDIT) if pool else None,
    )


def _split(words: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    options = dict(word.split("=", 1) for word in words if "=" in word)
    return [word for word in words if "=" not in word], options


def _labels(options: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if name in ("agent", "run", "team")}


def _hold(view: dict[str, str], expected: Iterable[str]) -> None:
    wanted = dict(word.split("=", 1) for word in expected)
    unknown = wanted.keys() - view.keys()
    assert not unknown, f"{sorted(unknown)} is not in {view}"
    assert {name: view[name] for name in wanted} == wanted, view


def _duration(text: str) -> timedelta:
    return timedelta(seconds=float(text[:-1]) * UNITS[text[-1]])


def _instant(text: str) -> datetime:
    if ":" not in text:
        return START + _duration(text)
    hours, minutes = text.split(":")
    return START + timedelta(hours=int(hours), minutes=int(minutes))


def _when(instant: datetime | None) -> str:
    if instant is None:
        return "never"
    minutes, seconds = divmod(round((instant - START).total_seconds()), 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{seconds:02}" if seconds else text
