"""Ids that are given out."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ledger.api.messages import ids
from ledger.books.model.lots import LotKey

GUIDE = Path(__file__).parents[3] / "docs" / "api.md"
SEQUENCES = st.integers(1, 2**63 - 1)
CUSTOMERS = st.text(min_size=1, max_size=128)


@given(CUSTOMERS, SEQUENCES)
def test_an_id_leads_back_to_its_entry(customer_id, sequence):
    """An id of a customer is the sequence of the entry that made the thing."""
    reservation = ids.reservation_id(customer_id, sequence)
    assert ids.reservation_sequence(customer_id, reservation) == sequence
    assert ids.charge_sequence(customer_id, ids.charge_id(customer_id, sequence)) == sequence


@given(CUSTOMERS, SEQUENCES, st.integers(0, 2**31 - 1))
def test_a_grants_id_leads_back_to_its_lot(customer_id, sequence, n):
    """An id of a grant is the sequence of the entry that made it, and its number there."""
    lot = LotKey(sequence, n)
    assert ids.grant_lot(customer_id, ids.grant_id(customer_id, lot)) == lot
    assert ids.grant_lot(customer_id + "x", ids.grant_id(customer_id, lot)) == ids.NO_LOT


@given(SEQUENCES, st.integers(2**31, 2**70))
def test_a_lots_number_that_no_entry_has_names_nothing(sequence, n):
    """Whoever makes an id as these are made, with a number beyond any, names nothing."""
    assert ids.grant_lot("cus_1", ids.grant_id("cus_1", LotKey(sequence, n))) == ids.NO_LOT


@given(CUSTOMERS, CUSTOMERS, SEQUENCES)
def test_another_customers_id_names_nothing(customer_id, other, sequence):
    """An id is sealed to its customer: under another one it names nothing."""
    expected = sequence if other == customer_id else ids.NOTHING
    assert ids.reservation_sequence(other, ids.reservation_id(customer_id, sequence)) == expected


@given(SEQUENCES, st.data())
def test_a_mistyped_id_names_nothing(sequence, data):
    """One wrong character is caught by the seal: it never leads to another of the customer's things."""
    text = ids.reservation_id("cus_1", sequence)
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.characters().filter(lambda character: character != text[place]))
    assert ids.reservation_sequence("cus_1", text[:place] + wrong + text[place + 1 :]) == ids.NOTHING


@given(st.text())
def test_garbage_names_nothing(text):
    """Whatever is sent as an id, it is answered, never a fault."""
    for garbage in (text, ids.RESERVATION + text, ids.GRANT + text):
        assert ids.reservation_sequence("cus_1", garbage) == ids.NOTHING
        assert ids.grant_lot("cus_1", garbage) == ids.NO_LOT


def test_kinds_do_not_mix():
    """A charge's id is no reservation's, though both come from entry 7."""
    assert ids.reservation_sequence("cus_1", ids.charge_id("cus_1", 7)) == ids.NOTHING
    assert ids.charge_sequence("cus_1", ids.reservation_id("cus_1", 7)) == ids.NOTHING
    assert ids.grant_lot("cus_1", ids.charge_id("cus_1", 7)) == ids.NO_LOT
    swapped = ids.RESERVATION + ids.charge_id("cus_1", 7).removeprefix(ids.CHARGE)
    assert ids.reservation_sequence("cus_1", swapped) == ids.NOTHING


def test_lots_of_one_entry_have_ids_of_their_own():
    """An entry may make several lots: each has its own id."""
    made = {ids.grant_id("cus_1", LotKey(5, n)) for n in range(300)}
    assert len(made) == 300


def test_ids_do_not_change():
    """Callers keep ids for years: how they are made is fixed."""
    assert ids.reservation_id("cus_1", 12_345) == "rsv_b96010b877e1062058a0"
    assert ids.charge_id("cus_1", 12_346) == "chg_ba60e98e076887c3b49f"
    assert ids.grant_id("cus_1", LotKey(2, 1)) == "grt_0201e9050fd9dfe7a0c9"


def test_the_ids_of_the_guide_are_those_of_a_new_database():
    """The guide's session begins on a new database: what it shows is what its reader gets."""
    shown = set(re.findall(r"(?:rsv|chg)_[0-9a-f]{18}", GUIDE.read_text()))
    assert shown == {ids.reservation_id("acme", 3), ids.charge_id("acme", 4)}
