"""Page tokens."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import limits, paging
from ledger.api.messages.validation import Problems
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

FIRST = (2**63 - 1,)


def key_of(request, first=FIRST):
    problems = Problems()
    return paging.last_key(problems, request, first), dict(problems.found)


@given(st.integers(0, 2**63 - 1))
def test_a_token_leads_back_to_its_key(sequence):
    """The page after a row begins behind it."""
    request = pb.ListChargesRequest(customer_id="c")
    request.page_token = paging.next_page_token(request, (sequence,))
    assert key_of(request) == ((sequence,), {})


def test_without_a_token_a_list_begins():
    """No token: the first page."""
    assert key_of(pb.ListChargesRequest(customer_id="c")) == (FIRST, {})


def test_the_size_of_a_page_may_change():
    """A token does not fix the size of the pages."""
    request = pb.ListChargesRequest(customer_id="c", page_size=5)
    again = pb.ListChargesRequest(
        customer_id="c", page_size=9, page_token=paging.next_page_token(request, (4,))
    )
    assert key_of(again) == ((4,), {})


@pytest.mark.parametrize(
    "other",
    [
        pb.ListChargesRequest(customer_id="d"),
        pb.ListChargesRequest(customer_id="c", reservation_id="rsv_x"),
        pb.ListChargesRequest(customer_id="c", labels=pb.Labels(project="p")),
        pb.ListReservationsRequest(customer_id="c"),
        wallet.ListTransactionsRequest(customer_id="c"),
    ],
)
def test_a_token_belongs_to_its_list(other):
    """Another customer, another filter, another method: the token is refused, not misread."""
    other.page_token = paging.next_page_token(pb.ListChargesRequest(customer_id="c"), (4,))
    assert key_of(other)[1].keys() == {"page_token"}


@given(st.text(max_size=600))
def test_garbage_is_refused(text):
    """What is no token is refused with the field's name, whatever it is."""
    request = wallet.ListGrantsRequest(customer_id="c", page_token=text)
    key, problems = key_of(request, (1, 1))
    assert key == (1, 1)
    assert problems.keys() == ({"page_token"} if text else set())


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"garbage",
            b"[]",
            b"null",
            b"7",
            b"{}",
            b"[1]",
            b"[1,2,3]",
            b'["a"]',
            b'["a","b"]',
            b'["a",true]',
        ),
        *(b'["a",-1]', b'["a",10]', b'["a",1.5]', b'["a",NaN]', b'["a",1e3]', b'["a",null]', b'["a",[1]]'),
        *(rb'["\u0000",1]', rb'["\ud800",1]', b'["\xff",1]', b'["a", 1]', b'["a",%s]' % (b"9" * 4_400)),
        b"[" * 4_500,
    ],
)
def test_a_forged_key_is_refused(body):
    """Whoever can read can make a seal: what is under it and is no key of the list is refused."""
    request = admin.ListRateCardVersionsRequest()
    sealed = paging._seal(request, body) + body
    request.page_token = urlsafe_b64encode(sealed).decode().rstrip("=")
    assert len(request.page_token) <= limits.PAGE_TOKEN_LENGTH_MAX
    key, problems = key_of(request, ("", 9))
    assert key == ("", 9)
    assert problems.keys() == {"page_token"}


def test_keys_of_text():
    """Customers are listed by their ids, whatever characters those have."""
    request = admin.ListCustomersRequest()
    request.page_token = paging.next_page_token(request, ("Zoë/1",))
    assert key_of(request, ("",)) == (("Zoë/1",), {})
    longest = paging.next_page_token(request, ("\U0001f600" * limits.ID_LENGTH_MAX,))
    request.page_token = longest
    assert key_of(request, ("",))[1] == {}


@pytest.mark.parametrize(("size", "rows"), [(0, limits.PAGE_SIZE_DEFAULT), (1, 1), (1_000, 1_000)])
def test_sizes_of_pages(size, rows):
    """50 by default, 1,000 at most."""
    problems = Problems()
    assert paging.page_size(problems, pb.ListChargesRequest(page_size=size)) == rows
    assert not problems.found


@pytest.mark.parametrize("size", [-1, 1_001])
def test_sizes_that_are_refused(size):
    """A size out of range is reported, not cut."""
    problems = Problems()
    paging.page_size(problems, pb.ListChargesRequest(page_size=size))
    assert dict(problems.found).keys() == {"page_size"}
