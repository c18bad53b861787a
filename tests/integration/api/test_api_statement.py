"""A month's statement through the wallet's door: what a customer reads, and what is refused."""

from __future__ import annotations

import pytest
from api_world import CREDIT, refusal, searches, ticket, tokens, usage

from ledger.api.messages.paging import next_page_token
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

pytestmark = pytest.mark.asyncio(loop_scope="session")

MONTH = "2026-03"


def asked(world, **fields) -> wallet.GetStatementRequest:
    return wallet.GetStatementRequest(**{"customer_id": world.customer_id, "month": MONTH, **fields})


async def in_march(world) -> None:
    """The customer's entries so far move to March, but for that which made it: instants never go back."""
    await world.owner.execute(
        """UPDATE cell_00.entries e
           SET effective_at = CASE e.sequence WHEN 1 THEN '2026-01-01Z' ELSE '2026-03-02Z'::timestamptz END
           FROM ledger.customers c WHERE c.customer = e.customer AND c.customer_id = $1""",
        world.customer_id,
    )


async def test_what_a_customer_reads(world):
    """Each title with what it amounts to, what was not collected and given back, and totals that tie."""
    await world.grant(CREDIT, kind=wallet.GRANT_KIND_PROMO, paid_total_usd="0")
    stored = (await world.charge(usage=usage(tokens(), searches("2.5")))).charge.charge_id
    await world.refund(stored, amount_micros=4 * CREDIT)
    await world.charge(usage=usage(tokens(input=20_000_000)), already_used=True)
    await in_march(world)
    answer = await world.wallet.GetStatement(asked(world))
    named = wallet.StatementLineType
    assert [
        (line.type, line.grant_kind, line.name, line.items, line.credits_micros) for line in answer.lines
    ] == [
        (named.STATEMENT_LINE_TYPE_GRANT, wallet.GRANT_KIND_PAID, "", 0, 100 * CREDIT),
        (named.STATEMENT_LINE_TYPE_GRANT, wallet.GRANT_KIND_PROMO, "", 0, CREDIT),
        (named.STATEMENT_LINE_TYPE_NOT_COLLECTED, 0, "", 0, -105_025_000),
        (named.STATEMENT_LINE_TYPE_REFUND, 0, "acme/large", 0, -3_990_025),
        (named.STATEMENT_LINE_TYPE_REFUND, 0, "web_search", 0, -9_975),
        (named.STATEMENT_LINE_TYPE_USAGE, 0, "acme/large", 2, 210 * CREDIT),
        (named.STATEMENT_LINE_TYPE_USAGE, 0, "web_search", 1, 25_000),
    ]
    assert (answer.opening, answer.closing) == (pb.Balance(), pb.Balance())
    assert (answer.granted_micros, answer.used_micros) == (101 * CREDIT, 101 * CREDIT)
    assert dict(answer.lines[-1].quantities) == {"quantity": "2.5"}
    assert (answer.zone, answer.HasField("as_of")) == ("UTC", False)


@pytest.mark.parametrize("size", [1, 2])
async def test_pages_of_a_statement(world, size):
    """All pages have the totals, and each line once, whatever is charged meanwhile."""
    for project in ("b", "a"):
        await world.charge(usage=usage(tokens(), searches("1")), labels=pb.Labels(project=project))
    await in_march(world)
    whole = await world.wallet.GetStatement(asked(world, label_keys=["project"]))
    assert [line.labels.project for line in whole.lines] == ["", "a", "a", "b", "b"]
    request, found = asked(world, label_keys=["project"], page_size=size), []
    while True:
        answer = await world.wallet.GetStatement(request)
        found += answer.lines
        assert (answer.opening, answer.closing) == (whole.opening, whole.closing)
        await world.charge(amount_micros=1)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert found == list(whole.lines)


async def test_a_month_without_entries(world):
    """What was there is there still; before the customer was made there was nothing."""
    await in_march(world)
    later = await world.wallet.GetStatement(asked(world, month="2026-04"))
    assert later.opening == later.closing == pb.Balance(available_micros=100 * CREDIT)
    assert not later.lines
    early = await world.wallet.GetStatement(asked(world, month="2025-12"))
    assert early.opening == early.closing == pb.Balance()
    assert not later.HasField("as_of")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"month": ""}, "month"),
        ({"month": "2026-3"}, "month"),
        ({"month": "2026-03-01"}, "month"),
        ({"month": "2026-13"}, "month"),
        ({"month": "1999-12"}, "month"),
        ({"month": "2100-12"}, "month"),
        ({"label_keys": ["a", "b", "c", "d", "e"]}, "label_keys"),
        ({"label_keys": ["internal.route"]}, "label_keys[0]"),
        ({"page_token": "x"}, "page_token"),
        ({"page_size": 1_001}, "page_size"),
    ],
)
async def test_bad_statements(world, fields, field):
    """Each bad field is named; a month that has not begun has no statement."""
    refused = await refusal(world.wallet.GetStatement(asked(world, **fields)))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize(
    "key",
    [
        ("garbage",),
        ("UTC", 1, 1, 1, 1),
        ("UTC", -1, 1, 1, 1, 0),
        ("UTC", 0, 2**62 + 1, 1, 1, 0),
        ("UTC", 10**18, 1, 1, 1, 0),
        ("Nowhere/Else", 0, 1, 1, 1, 0),
    ],
)
async def test_forged_pages_of_a_statement(world, key):
    """A place that no statement has is refused under any seal."""
    request = asked(world)
    request.page_token = next_page_token(request, key)
    refused = await refusal(world.wallet.GetStatement(request))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["page_token"])


@pytest.mark.parametrize("key", [(2**62,) * 3 + (0,), (0, 2**62, 2**62, 2**62), (1, 0, 0, 0), (0, 0, 0, 0)])
async def test_places_where_nothing_is(world, key):
    """A place beyond the journal has no lines: what is in a token leads nowhere else."""
    request = asked(world)
    request.page_token = next_page_token(request, ("UTC", 0, *key))
    assert not [line for line in (await world.wallet.GetStatement(request)).lines if line.items]


async def test_statements_of_nobody(world):
    """An unknown customer has none."""
    refused = await refusal(world.wallet.GetStatement(asked(world, customer_id="nobody")))
    assert refused.reason == "CUSTOMER_NOT_FOUND"


async def test_a_sum_that_no_line_holds(world):
    """More than 2^63 - 1 micro-credits in a line are refused, and told where labels tell them apart."""
    for project in "abc":
        used = usage(ticket())
        used.items[0].outcome.count = 2 * 10**12
        await world.charge(usage=used, labels=pb.Labels(project=project), already_used=True)
    await in_march(world)
    refused = await refusal(world.wallet.GetStatement(asked(world)))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["label_keys"])
    answer = await world.wallet.GetStatement(asked(world, label_keys=["project"]))
    assert sum(line.credits_micros for line in answer.lines if line.items) == 12 * 10**18
