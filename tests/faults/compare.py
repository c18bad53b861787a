"""The exact, two-sided comparison of the database's journal with the clients' own.

Every acknowledged write has one entry, which says what its client was answered; every refused one has none;
and there is no other entry, but for what is due by the clock. Nothing of the service takes part: entries are
read with SQL by a superuser, and balances are added up here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.faults.journal import Journal, Record, Unknown

KINDS = {
    "CreateCustomer": "CUSTOMER_CREATED",
    "IssueGrant": "GRANT",
    "Reserve": "RESERVE",
    "ExtendReservation": "EXTEND",
    "CommitReservation": "COMMIT",
    "ReleaseReservation": "RELEASE",
    "Charge": "CHARGE",
    "ReverseCharge": "REVERSAL",
    "Refund": "REFUND",
}
BY_THE_CLOCK = frozenset(
    {"GRANT_STARTED", "GRANT_EXPIRED", "RESERVATION_EXPIRED", "PERIOD_CLOSED", "ROLLOVER"}
)
ACCOUNTS = ("issued", "pending", "available", "held", "consumed", "expired", "voided", "refunded", "debt")
CLOSING = frozenset({"RELEASE", "RESERVATION_EXPIRED"})

_ENTRIES = f"""
    SELECT c.customer_id, e.sequence, e.kind, e.request_id, e.reservation, e.reservation_state,
           e.reservation_held, e.reservation_charged, e.final, e.late, e.priced, e.uncollected,
           e.effective_at, e.booked_at, e.subject,
           EXISTS (SELECT FROM cell_00.grants g WHERE (g.customer, g.sequence) = (e.customer, e.sequence)
                   AND g.recurring IS NOT NULL) AS recurs,
           {", ".join(f"e.{name}, e.{name}_after" for name in ACCOUNTS)}
    FROM cell_00.entries e JOIN ledger.customers c USING (customer) ORDER BY e.customer, e.sequence
"""
_WALLETS = f"""
    SELECT c.customer_id, w.sequence, {", ".join(f"w.{name}" for name in ACCOUNTS)}
    FROM cell_00.wallets w JOIN ledger.customers c USING (customer)
"""

# How long each meter of a run has run: as stored, and as the lines of charges say that they added to it.
# Amounts, which are stored beside the times, and what was undone have other keys.
_RUNS = """
    SELECT c.customer_id, s.key, r.key AS meter, r.value::numeric AS nanos
    FROM cell_00.states s JOIN ledger.customers c USING (customer)
    CROSS JOIN LATERAL jsonb_each_text(nullif(s.state, '')::jsonb) r
    WHERE s.key LIKE 'run/%' AND r.key LIKE '%@%' AND r.key NOT LIKE 'undone %'
"""
_RUN_PARTS = """
    SELECT c.customer_id, e.sequence, e.reservation, effect.pair->>0 AS key, r.key AS meter,
           r.value::numeric AS nanos
    FROM cell_00.money m
    JOIN cell_00.entries e USING (customer, sequence)
    JOIN ledger.customers c USING (customer)
    CROSS JOIN LATERAL jsonb_array_elements(m.lines::jsonb) l(line)
    CROSS JOIN LATERAL jsonb_array_elements(l.line->'memory') effect(pair)
    CROSS JOIN LATERAL jsonb_each_text((effect.pair->>1)::jsonb) r
    WHERE e.kind IN ('COMMIT', 'CHARGE') AND effect.pair->>0 LIKE 'run/%' AND r.key LIKE '%@%'
"""

Key = tuple[str, str]


@dataclass(slots=True)
class Findings:
    """What a comparison found; each line names a request id or an entry."""

    effects_checked: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether something is wrong."""
        return bool(self.lost or self.doubled or self.other)

    def add(self, more: Findings) -> None:
        """Takes another's in."""
        self.effects_checked += more.effects_checked
        self.lost += more.lost
        self.doubled += more.doubled
        self.other += more.other


async def compare(connection: asyncpg.Connection[asyncpg.Record], journal: Journal, logs: str) -> Findings:
    """Compares, when nothing is under way and every outcome is settled."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(_ENTRIES)
        wallets = {row["customer_id"]: row for row in await connection.fetch(_WALLETS)}
        runs = await connection.fetch(_RUNS)
        parts = await connection.fetch(_RUN_PARTS)
    findings = Findings()
    by_key: dict[Key, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        if row["request_id"] is not None:
            by_key[row["customer_id"], row["request_id"]].append(row)
    groups = _by_key(journal)
    for key, records in groups.items():
        _compare_records(findings, key, records, by_key.get(key, ()))
    _look_for_others(findings, rows, groups.keys())
    _replay(findings, rows, wallets)
    _compare_runs(findings, rows, runs, parts)
    _check_faults(findings, journal, logs)
    return findings


def _by_key(journal: Journal) -> Mapping[Key, list[Record]]:
    """Records by customer and request id: several, where an id was used for other requests too."""
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in journal:
        groups[record.key].append(record)
    return groups


def _compare_records(
    findings: Findings, key: Key, records: Sequence[Record], entries: Sequence[asyncpg.Record]
) -> None:
    """All requests under one id, and the entries under it: one of each, or none of each."""
    acknowledged = [record for record in records if record.state == "acknowledged"]
    unsettled = [record for record in records if record.state == "unknown"]
    if unsettled:
        findings.other.append(f"{key}: not settled: {unsettled[0].outcomes[-1:]}")
    if len(entries) > 1 or len(acknowledged) > 1:
        findings.doubled.append(f"{key}: {len(entries)} entries, {len(acknowledged)} requests acknowledged")
        return
    if acknowledged and not entries:
        findings.lost.append(f"{key}: acknowledged {acknowledged[0].method}, no entry")
    elif acknowledged:
        findings.effects_checked += 1
        _compare_replies(findings, acknowledged[0], entries[0])
    elif entries and not unsettled:
        findings.other.append(
            f"{key}: refused ({records[0].outcomes[-1]}), and entry {entries[0]['sequence']}"
        )


def _compare_replies(findings: Findings, record: Record, entry: asyncpg.Record) -> None:
    """Each reply to the request says what its entry says; all but one are marked as repeats."""
    reported = f"{record.key} entry {entry['sequence']}"
    if entry["kind"] != KINDS[record.method]:
        findings.other.append(f"{reported}: a {record.method} made a {entry['kind']}")
        return
    if sum(not reply.replayed for reply in record.replies) > 1:
        findings.doubled.append(f"{reported}: answered as new more than once")
    for reply in record.replies:
        if reply.sequence != entry["sequence"]:
            findings.doubled.append(f"{reported}: reported to be entry {reply.sequence}")
            continue
        findings.other += [f"{reported}: {problem}" for problem in _differences(record.method, reply, entry)]


def _differences(method: str, reply: Any, entry: asyncpg.Record) -> Iterable[str]:
    for name, reported, booked in _facts(method, reply, entry):
        if reported != booked:
            yield f"{name}: reported {reported}, booked {booked}"


def _facts(method: str, reply: Any, entry: asyncpg.Record) -> Iterable[tuple[str, object, object]]:
    """What a reply tells, beside what is booked."""
    if method != "CreateCustomer":
        balance = reply.balance
        yield "available", balance.available_micros, entry["available_after"]
        yield "held", balance.held_micros, entry["held_after"]
        yield "pending", balance.pending_micros, entry["pending_after"]
        yield "debt", balance.debt_micros, -entry["debt_after"]
    if method in ("Reserve", "ExtendReservation", "CommitReservation", "ReleaseReservation"):
        yield "reservation held", reply.reservation.held_micros, entry["reservation_held"]
        yield "reservation charged", reply.reservation.charged_micros, entry["reservation_charged"]
    if method in ("CommitReservation", "Charge"):
        yield "charged", reply.charge.charged_micros, entry["consumed"]
        yield "uncollected", reply.charge.uncollected_micros, entry["uncollected"]
        yield "final", reply.charge.final, entry["final"]
        yield "late", reply.charge.late, entry["late"]
    if method == "IssueGrant":
        yield "granted", reply.grant.amount_micros, -entry["issued"]
    if method == "ReverseCharge":
        yield "returned", reply.returned_micros, entry["uncollected"] - entry["priced"]
    if method == "Refund":
        yield "refunded", reply.refunded_micros, entry["uncollected"] - entry["priced"]


def _look_for_others(findings: Findings, rows: Sequence[asyncpg.Record], known: Iterable[Key]) -> None:
    """No write but the clients', and what is due by the clock."""
    sent = set(known)
    for row in rows:
        key = (row["customer_id"], row["request_id"])
        if row["request_id"] is None:
            if row["kind"] not in BY_THE_CLOCK and not row["recurs"]:
                findings.other.append(f"{key}: {row['kind']} {row['sequence']} of nobody")
        elif key not in sent:
            findings.other.append(f"{key}: {row['kind']} {row['sequence']}, which no client sent")


def _replay(
    findings: Findings, rows: Sequence[asyncpg.Record], wallets: Mapping[str, asyncpg.Record]
) -> None:
    """Sequences without gaps, balances that add up, reservations that close once, instants in order."""
    by_customer: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_customer[row["customer_id"]].append(row)
    for customer_id, entries in by_customer.items():
        _replay_customer(findings, customer_id, entries, wallets[customer_id])
        _check_reservations(findings, customer_id, entries)
        _check_returns(findings, customer_id, entries)


def _compare_runs(
    findings: Findings,
    rows: Sequence[asyncpg.Record],
    runs: Sequence[asyncpg.Record],
    parts: Sequence[asyncpg.Record],
) -> None:
    """What prices remember changes with the wallet: a run has lasted as long as the charges that stand."""
    undone = {(row["customer_id"], row["subject"]) for row in rows if row["kind"] == "REVERSAL"}
    lasted: dict[tuple[str, str, str], int] = defaultdict(int)
    for part in parts:
        customer_id = part["customer_id"]
        if undone.isdisjoint({(customer_id, part["sequence"]), (customer_id, part["reservation"])}):
            lasted[customer_id, part["key"], part["meter"]] += int(part["nanos"])
    stored = {(run["customer_id"], run["key"], run["meter"]): int(run["nanos"]) for run in runs}
    for run in sorted(lasted.keys() | stored.keys()):
        if lasted.get(run, 0) != stored.get(run, 0):
            findings.other.append(
                f"{run}: lasted {lasted.get(run, 0)} ns, remembered {stored.get(run, 0)} ns"
            )


def _replay_customer(
    findings: Findings, customer_id: str, entries: Sequence[asyncpg.Record], wallet: asyncpg.Record
) -> None:
    balances = dict.fromkeys(ACCOUNTS, 0)
    booked_at = datetime.min.replace(tzinfo=UTC)
    for number, entry in enumerate(entries, start=1):
        if entry["sequence"] != number:
            findings.other.append(f"{customer_id}: entry {entry['sequence']} at place {number}")
            return
        if entry["booked_at"] < booked_at:
            findings.other.append(f"{customer_id} entry {number}: booked before the one before it")
        booked_at = entry["booked_at"]
        for name in ACCOUNTS:
            balances[name] += entry[name]
            if balances[name] != entry[f"{name}_after"]:
                findings.other.append(
                    f"{customer_id} entry {number}: {name} is {balances[name]}, not {entry[f'{name}_after']}"
                )
                return
    stored = {name: wallet[name] for name in ACCOUNTS}
    if stored != balances or wallet["sequence"] != len(entries):
        findings.other.append(f"{customer_id}: the wallet is not what its entries make: {stored}, {balances}")


def _check_reservations(findings: Findings, customer_id: str, entries: Sequence[asyncpg.Record]) -> None:
    """A hold goes back once; nothing happens to a reservation that was released or finally committed."""
    closed: set[int] = set()
    gone: set[int] = set()
    charged: dict[int, int] = defaultdict(int)
    for entry in entries:
        reservation = entry["reservation"]
        if reservation is None or entry["kind"] == "REVERSAL":
            continue
        reported = f"{customer_id} entry {entry['sequence']}: {entry['kind']} of reservation {reservation}"
        if reservation in closed:
            findings.doubled.append(f"{reported}, which is closed")
        if entry["kind"] == "COMMIT":
            charged[reservation] += entry["consumed"]
            if charged[reservation] != entry["reservation_charged"]:
                findings.other.append(f"{reported}: charged {charged[reservation]} in all")
        if entry["kind"] in CLOSING:
            if reservation in gone:
                findings.doubled.append(f"{reported}, whose hold had gone back")
            gone.add(reservation)
        if entry["kind"] == "RELEASE" or entry["final"]:
            closed.add(reservation)


def _check_returns(findings: Findings, customer_id: str, entries: Sequence[asyncpg.Record]) -> None:
    """Of a charge comes back what was collected, and no more; of a reversed one all of it."""
    left: dict[int, int] = {}
    for entry in entries:
        collected, subject = entry["priced"] - entry["uncollected"], entry["subject"]
        reported = f"{customer_id} entry {entry['sequence']}: {entry['kind']} of charge {subject}"
        if entry["kind"] in ("CHARGE", "COMMIT"):
            left[entry["sequence"]] = collected
        elif entry["kind"] in ("REFUND", "REVERSAL"):
            left[subject] += collected
            if left[subject] < 0:
                findings.doubled.append(f"{reported}: {-left[subject]} more than was left")
            elif left[subject] and (entry["kind"] == "REVERSAL" or entry["final"]):
                findings.other.append(f"{reported}: {left[subject]} stay with us")


def _check_faults(findings: Findings, journal: Journal, logs: str) -> None:
    """No reply was INTERNAL without an id that stands in a server's log."""
    for record in journal:
        findings.other += [
            f"{record.key}: INTERNAL without an id in the log: {outcome}"
            for outcome in record.outcomes
            if isinstance(outcome, Unknown) and outcome.code == "INTERNAL"
            if not outcome.error_id or outcome.error_id not in logs
        ]


def expect(findings: Findings, holds: bool, problem: Callable[[], str] | str) -> None:
    """Enters another violation, unless it holds."""
    if not holds:
        findings.other.append(problem if isinstance(problem, str) else problem())
