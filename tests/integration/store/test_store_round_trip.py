"""Every value of the books comes back from its row as it went in."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_world import CELL

from ledger import books
from ledger.books.model.amounts import Credits, Dollars
from ledger.books.model.budgets import EntryBudgets
from ledger.books.model.entries import Draw, Entry, EntryKind, EntryLine, Money, MoneyLine
from ledger.books.model.lots import GrantKind, Lot, LotKey, LotStatus
from ledger.books.model.priced import Effect, State, Terms, Treatment
from ledger.books.model.reservations import (
    Pin,
    Reservation,
    ReservationCosts,
    ReservationImage,
    ReservationState,
)
from ledger.books.model.wallets import Tally
from ledger.store.cells import columns, rows_in, rows_out
from ledger.store.cells.load import LoadRequest, find_entries, load, load_reversal
from ledger.store.cells.write import Batch, write

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- the zone is drawn
TEXTS = st.text(st.characters(exclude_characters="\0\x1e", exclude_categories=["Cs"]), max_size=12)
AMOUNTS = st.integers(-(2**58), 2**58)
COUNTS = st.integers(0, 2**40)
RATIOS = st.fractions().map(Fraction.as_integer_ratio)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=3)
VERSIONS = st.integers(1, 2**31 - 1)
TERMS = st.builds(Terms, TEXTS, VERSIONS, VERSIONS, COUNTS, COUNTS)
STATES = st.builds(State, TEXTS, st.none() | INSTANTS, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | TERMS)
EFFECTS = st.lists(st.builds(Effect, TEXTS, TEXTS, st.integers(0, 10**18)), max_size=2).map(tuple)
LOT_KEYS = st.builds(LotKey, st.integers(1, 2**40), st.integers(0, 1000))
COSTS = st.builds(ReservationCosts, *[RATIOS] * 3, *[AMOUNTS] * 4, *[RATIOS] * 2)
OPEN_STATES = st.sampled_from(sorted(rows_out.OPEN_TO_COMMITS))


def balanced(kind):
    """Postings that sum to 0."""
    parts = st.lists(AMOUNTS, min_size=len(kind._fields) - 1, max_size=len(kind._fields) - 1)
    return parts.filter(lambda amounts: abs(sum(amounts)) < 2**62).map(
        lambda amounts: kind(*amounts, -sum(amounts))
    )


def said(own):
    """What pricing says of a line, beside the books' own fields."""
    return st.dictionaries(TEXTS.filter(lambda name: name not in own), JSON, max_size=3)


ENTRY_LINES = st.builds(
    EntryLine,
    st.sampled_from(Treatment),
    said(columns.ENTRY_LINE_OWN),
    AMOUNTS,
)
MONEY_LINES = st.builds(
    MoneyLine,
    TEXTS,
    st.sampled_from(Treatment),
    said(columns.MONEY_LINE_OWN),
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    EFFECTS,
    AMOUNTS,
    AMOUNTS,
)
WITH_POOL = st.tuples(TEXTS, COUNTS) | st.just((None, 0))


def pooled(lines):
    """Lines that draw on a pool, or on none."""
    return st.builds(lambda line, pool: line._replace(pool=pool[0], pool_micros=pool[1]), lines, WITH_POOL)


MONEY = st.builds(
    Money,
    balanced(Dollars),
    st.lists(pooled(MONEY_LINES), max_size=3).map(tuple),
    st.lists(st.builds(Draw, LOT_KEYS, AMOUNTS, AMOUNTS), max_size=3).map(tuple),
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    st.dictionaries(TEXTS, RATIOS, max_size=2),
)
COUNTED = st.lists(TEXTS, min_size=1, max_size=2).map(lambda keys: EntryBudgets(tuple(keys)))
IMAGES = st.builds(
    ReservationImage, st.integers(1, 2**40), st.sampled_from(ReservationState), AMOUNTS, AMOUNTS, INSTANTS
)
RESERVATIONS = st.builds(
    Reservation,
    sequence=st.just(0),
    state=OPEN_STATES,
    terms=TERMS,
    created_at=INSTANTS,
    expires_at=INSTANTS,
    pins=st.lists(st.builds(Pin, LOT_KEYS, COUNTS), max_size=3).map(tuple),
    labels=LABELS,
    priced_micros=AMOUNTS,
    charged_micros=AMOUNTS,
    has_outcome_rule=st.booleans(),
    outcome_charged=st.booleans(),
    own_run=st.none() | TEXTS,
    costs=COSTS,
    lapsed_micros=COUNTS,
)


@st.composite
def entries(draw, customer, sequence, booked_at):
    """An entry with any content, that reserves or charges: the money of a charge can be read back."""
    kind = draw(st.sampled_from([EntryKind.RESERVE, EntryKind.CHARGE]))
    reserves = kind is EntryKind.RESERVE
    return Entry(
        customer=customer,
        sequence=sequence,
        kind=kind,
        request_id=f"drawn-{sequence}",
        fingerprint=draw(st.binary(max_size=40)),
        credits=draw(balanced(Credits)),
        after=draw(st.builds(Credits, *[AMOUNTS] * 9)),
        effective_at=draw(INSTANTS),
        booked_at=booked_at,
        occurred_at=draw(st.none() | INSTANTS),
        reservation=draw(st.none() | IMAGES),
        subject=draw(st.none() | COUNTS),
        subject_n=draw(st.none() | st.integers(0, 1000)),
        terms=draw(TERMS if reserves else st.none() | TERMS),
        plan=draw(TEXTS),
        priced_micros=draw(AMOUNTS),
        uncollected_micros=draw(AMOUNTS),
        late=draw(st.booleans()),
        final=draw(st.booleans()),
        reason=draw(st.none() | TEXTS),
        labels=draw(LABELS),
        lines=draw(st.lists(pooled(ENTRY_LINES), max_size=3).map(tuple)),
        money=None if reserves else draw(st.none() | MONEY),
        budgets=draw(st.none() | COUNTED),
    )


@st.composite
def reservations_of(draw, entry):
    """What the entry reserves, in any state."""
    return draw(RESERVATIONS)._replace(
        sequence=entry.sequence,
        terms=entry.terms,
        labels=entry.labels,
        created_at=entry.effective_at,
        counters=entry.budgets.counters if entry.budgets else (),
    )


@st.composite
def lots(draw, sequence):
    """A lot with credits left."""
    remaining = draw(st.integers(1, 2**40))
    return Lot(
        key=LotKey(sequence, draw(st.integers(0, 1000))),
        kind=draw(st.sampled_from(GrantKind)),
        amount_micros=draw(st.integers(1, 2**40)),
        remaining_micros=remaining,
        held_micros=draw(st.integers(0, remaining)),
        value_nanousd=draw(COUNTS),
        priority=draw(st.integers(-(2**31), 2**31 - 1)),
        scope=draw(st.none() | TEXTS),
        effective_at=draw(INSTANTS),
        expires_at=draw(st.none() | INSTANTS),
        status=draw(st.sampled_from(LotStatus)),
    )


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("together", [1, 3])
async def test_rows_hold_every_field(world, connection, data, together):
    """An entry with its money, a reservation, a lot and a state are read as they were written."""
    customer = next(iter(world.wallets))
    wallet = world.wallets[customer]
    batch = Batch(decided_at=datetime.now(UTC), before={customer: world.standing(customer)})
    sequences = range(wallet.sequence + 1, wallet.sequence + 2 + together)
    for sequence in sequences[:-1]:
        entry = data.draw(entries(customer, sequence, batch.decided_at))
        if entry.kind is EntryKind.RESERVE:
            batch.reservations[customer, sequence] = (data.draw(reservations_of(entry)), True)
        batch.entries.append(entry)
        lot = data.draw(lots(sequence))
        batch.lots[customer, lot.key] = (lot, True)
        batch.states[customer, f"run/{sequence}"] = data.draw(STATES)
    batch.wallets[customer] = books.Wallet(
        customer=customer,
        sequence=sequences[-1],
        display_name=data.draw(TEXTS),
        plan=data.draw(TEXTS),
        card=data.draw(st.none() | TEXTS),
        zone=data.draw(TEXTS),
        multiplier_nanos=data.draw(st.integers(1, 2**40)),
        balances=Credits(-6, 1, 2, 3),
        lots=(),
        unbilled_nanousd=-data.draw(COUNTS),
        next_due_at=data.draw(st.none() | INSTANTS),
        last_instant=data.draw(INSTANTS),
        tallies=data.draw(st.dictionaries(TEXTS, st.builds(Tally, RATIOS, COUNTS), max_size=2)),
        plan_overrides=data.draw(st.none() | TEXTS),
    )
    updated = (customer, sequences[-1], EntryKind.CUSTOMER_UPDATED, None, None, Credits(), Credits())
    batch.entries.append(Entry(*updated, effective_at=batch.decided_at, booked_at=batch.decided_at))
    # Drawing them may have taken longer than a decision stands.
    batch.decided_at = datetime.now(UTC)
    batch.entries = [entry._replace(booked_at=batch.decided_at) for entry in batch.entries]
    batch.debts[customer] = batch.wallets[customer].unbilled_nanousd
    assert (await write(connection, CELL, batch)).customers == {customer}
    world.wallets[customer], world.tokens[customer] = batch.wallets[customer], batch.token
    await _assert_read_as_written(connection, batch, customer, sequences)


async def _assert_read_as_written(connection, batch, customer, sequences):
    request = LoadRequest(customer, tuple(sequences), tuple(f"run/{sequence}" for sequence in sequences))
    loaded = (await load(connection, CELL, [request]))[customer]
    stored = {lot.key: lot for lot in loaded.wallet.lots}
    assert {key: stored[key] for _, key in batch.lots} == {
        key: lot for (_, key), (lot, _) in batch.lots.items()
    }
    assert loaded.wallet == batch.wallets[customer]._replace(lots=loaded.wallet.lots)
    assert loaded.reservations == {sequence: r for (_, sequence), (r, _) in batch.reservations.items()}
    assert loaded.states == {key: state for (_, key), state in batch.states.items()}
    [*drawn, _] = batch.entries
    for entry in drawn:
        if entry.kind is not EntryKind.CHARGE:
            continue
        facts = await load_reversal(connection, CELL, customer, charge=entry.sequence, reservation=None)
        assert facts.charges == (entry,)
    found = await find_entries(connection, CELL, [(customer, str(entry.request_id)) for entry in drawn])
    assert [*found.values()] == [entry._replace(money=None, budgets=None) for entry in drawn]


ATTRIBUTES = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_type t
JOIN pg_attribute a ON a.attrelid = t.typrelid
WHERE t.typnamespace = $1::regnamespace AND t.typname = $2 ORDER BY a.attnum
"""


@pytest.mark.parametrize("kind", columns.ROW_TYPES, ids=lambda kind: kind.row_type)
async def test_the_database_takes_rows_as_they_are_built(connection, kind):
    """A composite type of the cell has the columns of its rows, in their order."""
    found = await connection.fetch(ATTRIBUTES, CELL, kind.row_type)
    assert [tuple(row) for row in found] == list(kind.row)


def test_a_line_may_not_use_the_books_own_names():
    """What pricing says of a line must not hide what the books say."""
    with pytest.raises(ValueError, match="credits_micros"):
        rows_out.entry_row(_with_line({"credits_micros": 0}), rows_out.Shared())


def test_what_json_cannot_say_exactly_is_no_part_of_a_line():
    """An integer beyond 64 bits would come back as a float from many a reader."""
    with pytest.raises(TypeError, match="64-bit"):
        rows_out.entry_row(_with_line({"quantity": 2**64}), rows_out.Shared())


def test_no_row_has_in_it_what_parts_rows():
    """Rows of one kind are one text: one that would be read as two is not sent."""
    with pytest.raises(ValueError, match="record separator"):
        rows_out.joined(["(1,first)", f"(2,sec{columns.BETWEEN_ROWS}ond)"])


def _with_line(public):
    return Entry(
        customer=1,
        sequence=1,
        kind=EntryKind.CHARGE,
        request_id=None,
        fingerprint=None,
        credits=Credits(),
        after=Credits(),
        effective_at=datetime.now(UTC),
        booked_at=datetime.now(UTC),
        lines=(EntryLine(Treatment.CHARGED, public, 5),),
    )


def test_exact_amounts_are_kept_exactly():
    """A reservation's exact price is `num/den`, whatever its size."""
    exact = (10**30 + 1, 3**40)
    assert rows_in._ratio_of(rows_out._ratio(exact)) == exact
