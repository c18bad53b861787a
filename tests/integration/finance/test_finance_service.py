"""The finance service, through its channel: trial balance, margins, explanations, verification."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import grpc
import pytest
from bookkeeper import CELL, CREDIT, DOLLAR, OVERDRAFT, Bookkeeper, catch_up, line, varied_history
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from ledger.api.messages import ids, limits
from ledger.api.messages.encode import timestamp
from ledger.books import Credits, Dollars, Treatment
from ledger.finance.v1 import finance_service_pb2 as pb
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceMetrics
from ledger.store.postgres.database import Connection, Database

WHOLE_CREDITS = {name: Decimal(0) for name in Credits._fields}
WHOLE_DOLLARS = {name: Decimal(0) for name in Dollars._fields}


async def roll_up(database: Database) -> None:
    await catch_up(Tailer(database, [CELL], FinanceMetrics()))


async def refusal(call) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Code, reason, and the bad fields or the variables."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, bad = ErrorInfo(), BadRequest()
    trailing = dict(caught.value.trailing_metadata())
    for detail in Status.FromString(trailing["grpc-status-details-bin"]).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = {violation.field: violation.description for violation in bad.field_violations}
    return caught.value.code(), info.reason, fields or dict(info.metadata)


def balances(accounts) -> dict[str, Decimal]:
    """Balances that are not 0."""
    return {each.account: Decimal(each.balance) for each in accounts if Decimal(each.balance)}


async def worked_example(database: Database, writer: Connection) -> Bookkeeper:
    """1,000 credits for $1,000 and 100 promotional ones that burn first; 600 used at a cost of $210."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(100 * CREDIT)
    soon = await customer.now() + timedelta(seconds=1)
    await customer.grant(1_000 * CREDIT, 1_000 * DOLLAR, expires_at=soon, priority=1)
    await customer.charge(line(micros=600 * CREDIT, cost_nanousd=210 * DOLLAR))
    return customer


def nanos(dollars: str) -> int:
    return int(Decimal(dollars) * DOLLAR)


# -- GetTrialBalance ---------------------------------------------------------------------------------


async def test_the_worked_example(database, writer, finance):
    """Revenue $500, cost $210, deferred $500 after 600 of 1,100 credits; breakage of the rest at the end."""
    customer = await worked_example(database, writer)
    trial = await finance.GetTrialBalance(pb.GetTrialBalanceRequest())
    assert balances(trial.credits) == {"issued": -1100, "available": 500, "consumed": 600}
    assert balances(trial.dollars) == {
        "receivable": -1000,
        "deferred": 500,
        "revenue": 500,
        "cost": -210,
        "provider_payable": 210,
    }
    customer.ahead = timedelta(seconds=2)
    await customer.pass_time(await customer.now())
    trial = await finance.GetTrialBalance(pb.GetTrialBalanceRequest())
    assert balances(trial.credits) == {"issued": -1100, "expired": 500, "consumed": 600}
    assert balances(trial.dollars) == {
        "receivable": -1000,
        "breakage": 500,
        "revenue": 500,
        "cost": -210,
        "provider_payable": 210,
    }


async def test_every_account_is_there_and_sums_to_nothing(database, writer, finance):
    """All accounts stand in the order of the chart, as decimals of fixed places; each commodity sums to 0."""
    await varied_history(database, writer)
    trial = await finance.GetTrialBalance(pb.GetTrialBalanceRequest())
    assert tuple(each.account for each in trial.credits) == Credits._fields
    assert tuple(each.account for each in trial.dollars) == Dollars._fields
    for accounts, places in ((trial.credits, 6), (trial.dollars, 9)):
        assert {len(each.balance.partition(".")[2]) for each in accounts} == {places}
        assert sum(Decimal(each.balance) for each in accounts) == 0


async def test_a_trial_balance_of_one_customer(database, writer, finance):
    """The balances of all customers are the sums of each one's."""
    await varied_history(database, writer)
    whole = await finance.GetTrialBalance(pb.GetTrialBalanceRequest())
    parts = [
        await finance.GetTrialBalance(pb.GetTrialBalanceRequest(customer_id=name))
        for name in ("acme", "globex")
    ]
    for account in Dollars._fields:
        of_parts = sum(balances(part.dollars).get(account, Decimal(0)) for part in parts)
        assert of_parts == balances(whole.dollars).get(account, Decimal(0))


async def test_a_trial_balance_as_of_an_instant(database, writer, finance):
    """What was booked later is not in it; the instant itself is."""
    customer = await Bookkeeper.open(database, writer, "acme")
    granted = await customer.grant(10 * CREDIT, 20 * DOLLAR)
    charged = await customer.charge(line(micros=5 * CREDIT, cost_nanousd=DOLLAR))
    before = timestamp(charged.booked_at - timedelta(microseconds=1))
    for as_of, revenue in ((before, {}), (timestamp(charged.booked_at), {"revenue": 10})):
        trial = await finance.GetTrialBalance(pb.GetTrialBalanceRequest(as_of=as_of))
        assert {"revenue": 10}.items() & balances(trial.dollars).items() == revenue.items()
        assert trial.as_of == as_of
    early = await finance.GetTrialBalance(
        pb.GetTrialBalanceRequest(as_of=timestamp(granted.booked_at - timedelta(microseconds=1)))
    )
    assert balances(early.dollars) == balances(early.credits) == {}


@pytest.mark.parametrize("ahead", [timedelta(seconds=46), timedelta(days=1)])
async def test_a_trial_balance_is_of_a_settled_instant(finance, ahead):
    """Entries of the last 15 s may be on their way to the disk still, and nobody knows those to come."""
    asked = pb.GetTrialBalanceRequest(as_of=timestamp(datetime.now(UTC) + ahead))
    code, _, fields = await refusal(finance.GetTrialBalance(asked))
    assert (code, list(fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["as_of"])
    settled = datetime.now(UTC) + timedelta(seconds=44)
    assert await finance.GetTrialBalance(pb.GetTrialBalanceRequest(as_of=timestamp(settled)))


async def test_a_trial_balance_of_nobody(finance):
    """An unknown customer is an error, not a row of zeros; an instant that is none is reported."""
    unknown = finance.GetTrialBalance(pb.GetTrialBalanceRequest(customer_id="nobody"))
    assert await refusal(unknown) == (
        grpc.StatusCode.NOT_FOUND,
        "CUSTOMER_NOT_FOUND",
        {"customer_id": "nobody"},
    )
    request = pb.GetTrialBalanceRequest()
    request.as_of.nanos = -1
    code, _, fields = await refusal(finance.GetTrialBalance(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(fields) == ["as_of"]


# -- GetMarginReport ---------------------------------------------------------------------------------


async def test_margin_is_revenue_less_cost(database, writer, finance):
    """The worked example has a gross margin of 58 %."""
    await worked_example(database, writer)
    await roll_up(database)
    report = await finance.GetMarginReport(pb.GetMarginReportRequest())
    [row] = report.rows
    assert row == pb.MarginRow(
        lines=1,
        credits_micros=600 * CREDIT,
        revenue_usd="500.000000000",
        cost_usd="210.000000000",
        margin_usd="290.000000000",
        margin_ratio="0.580000",
        saved_usd="0.000000000",
        baseline_usd="210.000000000",
        own_key_cost_usd="0.000000000",
        own_key_saved_usd="0.000000000",
    )


async def test_savings_by_lever_and_cost_make_the_baseline(database, writer, finance):
    """By lever: what it saved and what was spent make what was asked for, to the nano-dollar."""
    customer = await Bookkeeper.open(database, writer, "acme")
    third = Fraction(1, 3)
    await customer.charge(
        line(cost_nanousd=100 + third, saved_nanousd=900 + third, lever="routing"),
        line(cost_nanousd=0, saved_nanousd=50 + third, lever="caching"),
        line("compute", "h100", cost_nanousd=300),
        line(cost_nanousd=200, saved_nanousd=-80, lever="routing"),
    )
    await roll_up(database)
    by_lever = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_LEVER])
    rows = (await finance.GetMarginReport(by_lever)).rows
    reported = {
        row.lever: [nanos(row.cost_usd), nanos(row.saved_usd), nanos(row.baseline_usd)] for row in rows
    }
    assert reported == {"": [300, 0, 300], "caching": [0, 50, 50], "routing": [300, 821, 1121]}
    [row] = (await finance.GetMarginReport(pb.GetMarginReportRequest())).rows
    assert [nanos(row.cost_usd), nanos(row.saved_usd), nanos(row.baseline_usd)] == [600, 871, 1471]


async def test_customers_own_keys_are_told_apart(database, writer, finance):
    """What customers paid on their own keys, and what levers saved of it, are memos: no cost, no saving."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 10 * DOLLAR)
    owned = {"key_owner": "CUSTOMER", "lever": "routing", "cost_source": "customer_key"}
    charge = await customer.charge(
        line(micros=CREDIT, own_key_nanousd=4_000, saved_nanousd=6_000, **owned),
        line(micros=2 * CREDIT, cost_nanousd=700, saved_nanousd=300, lever="routing"),
    )
    await roll_up(database)
    by_owner = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_KEY_OWNER])
    theirs, ours = (await finance.GetMarginReport(by_owner)).rows
    assert (theirs.key_owner, nanos(theirs.own_key_cost_usd), nanos(theirs.own_key_saved_usd)) == (
        "CUSTOMER",
        4_000,
        6_000,
    )
    assert (theirs.revenue_usd, nanos(theirs.cost_usd), nanos(theirs.saved_usd)) == ("1.000000000", 0, 0)
    assert (ours.key_owner, nanos(ours.cost_usd), nanos(ours.saved_usd)) == ("OURS", 700, 300)
    assert (ours.own_key_cost_usd, ours.own_key_saved_usd) == ("0.000000000", "0.000000000")
    request = pb.ExplainChargeRequest(customer_id="acme", charge_id=ids.charge_id("acme", charge.sequence))
    reported = await finance.ExplainCharge(request)
    assert (nanos(reported.saved_usd), nanos(reported.baseline_usd)) == (300, 1_000)
    assert [nanos(each.saved_usd) for each in reported.lines] == [0, 300]
    assert [nanos(each.baseline_usd) for each in reported.lines] == [0, 1_000]
    assert [nanos(each.own_key_saved_usd) for each in reported.lines] == [6_000, 0]


async def test_a_refund_takes_revenue_back_and_a_reversal_the_cost_and_savings_too(database, writer, finance):
    """A refund leaves lines, cost and savings; the reversal after it takes all that is left."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 20 * DOLLAR)
    charge = await customer.charge(
        line(micros=4 * CREDIT, cost_nanousd=100, saved_nanousd=50, lever="routing"),
        line("compute", "h100", micros=2 * CREDIT, cost_nanousd=30),
    )
    request = pb.ExplainChargeRequest(customer_id="acme", charge_id=ids.charge_id("acme", charge.sequence))
    by_kind = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_KIND])
    refund = await customer.refund(charge.sequence, 3 * CREDIT)
    await roll_up(database)
    compute, tokens = (await finance.GetMarginReport(by_kind)).rows
    assert (tokens.lines, tokens.credits_micros, tokens.revenue_usd) == (1, 2 * CREDIT, "4.000000000")
    assert (nanos(tokens.cost_usd), nanos(tokens.saved_usd)) == (100, 50)
    assert (compute.lines, compute.credits_micros, compute.revenue_usd) == (1, CREDIT, "2.000000000")
    reversal = await customer.reverse(charge=charge.sequence)
    await roll_up(database)
    for row in (await finance.GetMarginReport(by_kind)).rows:
        assert (row.lines, row.credits_micros, row.revenue_usd) == (0, 0, "0.000000000")
        assert (row.cost_usd, row.saved_usd) == ("0.000000000", "0.000000000")
    assert list((await finance.ExplainCharge(request)).given_back) == [
        pb.GivenBack(
            kind="refund",
            credits_micros=3 * CREDIT,
            revenue_usd="6.000000000",
            reason="goodwill",
            booked_at=timestamp(refund.booked_at),
        ),
        pb.GivenBack(
            kind="reversal",
            credits_micros=3 * CREDIT,
            revenue_usd="6.000000000",
            reason="it did not happen",
            booked_at=timestamp(reversal.booked_at),
        ),
    ]


async def test_a_refund_counts_on_the_day_when_it_is_booked(database, writer, finance, owner):
    """The charge's own day stays as it was reported."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 10 * DOLLAR)
    charge = await customer.charge(line(micros=4 * CREDIT, cost_nanousd=DOLLAR))
    await owner.execute(
        f"UPDATE {CELL}.entries SET booked_at = '2026-01-31Z' WHERE customer = 1 AND sequence = 3"
    )
    await customer.refund(charge.sequence, CREDIT)
    await roll_up(database)
    by_day = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_DAY])
    earlier, later = (await finance.GetMarginReport(by_day)).rows
    assert (earlier.day, earlier.revenue_usd, earlier.lines) == ("2026-01-31", "4.000000000", 1)
    assert (later.revenue_usd, later.cost_usd, later.lines) == ("-1.000000000", "0.000000000", 0)


async def test_margins_add_up_by_every_dimension(database, writer, finance, owner):
    """Whatever they are grouped by, the rows' revenue and cost are the journal's, to the nano-dollar."""
    await varied_history(database, writer)
    await roll_up(database)
    revenue, cost = await owner.fetchrow(f"SELECT sum(revenue), -sum(cost) FROM {CELL}.money")
    dimensions = pb.MarginDimension.values()[1:]
    for group_by in [[each] for each in dimensions] + [dimensions, []]:
        report = await finance.GetMarginReport(pb.GetMarginReportRequest(group_by=group_by))
        assert sum(Decimal(row.revenue_usd) for row in report.rows) == revenue / DOLLAR
        assert sum(Decimal(row.cost_usd) for row in report.rows) == cost / DOLLAR


async def test_dimensions_are_not_looked_at_without_end(finance):
    """Each that is wrong is reported, up to one more than there are: that of millions would take long."""
    many = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_CARD] * 100_000)
    code, _, fields = await refusal(finance.GetMarginReport(many))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(fields) == [f"group_by[{n}]" for n in range(1, len(pb.MarginDimension.values()))]


async def test_margins_by_name(database, writer, finance):
    """Rows name their group in its own fields and leave the others empty; they come sorted."""
    acme = await Bookkeeper.open(database, writer, "acme")
    globex = await Bookkeeper.open(database, writer, "globex", OVERDRAFT)
    await globex.charge(line(name="m/b", micros=2 * CREDIT, cost_nanousd=DOLLAR, lever="routing"))
    await acme.charge(line("compute", "h100", cost_nanousd=3), line(name="m/a", cost_nanousd=4))
    await roll_up(database)
    everything = pb.MarginDimension.values()[1:]
    report = await finance.GetMarginReport(pb.GetMarginReportRequest(group_by=everything))
    reported = [(row.customer_id, row.plan, row.card, row.kind, row.model, row.lever) for row in report.rows]
    assert reported == [
        ("acme", "standard", "agents", "compute", "", ""),
        ("acme", "standard", "agents", "tokens", "m/a", ""),
        ("globex", "overdraft", "agents", "tokens", "m/b", "routing"),
    ]
    by_model = await finance.GetMarginReport(pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_MODEL]))
    assert [(row.model, row.customer_id, row.day) for row in by_model.rows] == [
        ("", "", ""),
        ("m/a", "", ""),
        ("m/b", "", ""),
    ]


async def test_margins_of_days_and_of_a_customer(database, writer, finance, owner):
    """Days are those of booking in UTC, both ends included; a customer's report has nobody else's figures."""
    acme = await Bookkeeper.open(database, writer, "acme")
    other = await Bookkeeper.open(database, writer, "globex")
    for day in (1, 2, 3):
        charge = await acme.charge(line(cost_nanousd=day))
        await owner.execute(
            f"UPDATE {CELL}.entries SET booked_at = $1 WHERE customer = $2 AND sequence = $3",
            charge.booked_at.replace(month=1, day=day, hour=23, minute=59, second=59),
            acme.customer,
            charge.sequence,
        )
    await other.charge(line(cost_nanousd=100))
    await roll_up(database)
    year = charge.booked_at.year
    for first, last, costs in (
        ("", "", [1, 2, 3]),
        (f"{year}-01-02", "", [2, 3]),
        ("", f"{year}-01-02", [1, 2]),
        (f"{year}-01-02", f"{year}-01-02", [2]),
    ):
        request = pb.GetMarginReportRequest(
            group_by=[pb.MARGIN_DIMENSION_DAY], first_day=first, last_day=last, customer_id="acme"
        )
        rows = (await finance.GetMarginReport(request)).rows
        assert [Decimal(row.cost_usd) * DOLLAR for row in rows] == costs
        assert [row.day for row in rows] == [f"{year}-01-0{cost}" for cost in costs]


async def test_no_ratio_without_revenue(database, writer, finance):
    """Without revenue the ratio is empty, never 0 or an infinity; with a loss it is negative."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(line(cost_nanousd=DOLLAR))
    await roll_up(database)
    [row] = (await finance.GetMarginReport(pb.GetMarginReportRequest())).rows
    assert (row.revenue_usd, row.margin_usd, row.margin_ratio) == ("0.000000000", "-1.000000000", "")
    await customer.grant(3 * CREDIT, 3 * DOLLAR)
    await customer.charge(line(micros=3 * CREDIT, cost_nanousd=6 * DOLLAR))
    await roll_up(database)
    [row] = (await finance.GetMarginReport(pb.GetMarginReportRequest())).rows
    assert row.margin_ratio == "-1.333333"


async def test_a_report_of_nothing(finance):
    """Before anything is rolled up there is a row of nothing for all, none for any group, and no as-of."""
    report = await finance.GetMarginReport(pb.GetMarginReportRequest())
    [row] = report.rows
    assert not report.HasField("as_of")
    assert (row.lines, row.revenue_usd, row.margin_ratio) == (0, "0.000000000", "")
    by_card = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_CARD])
    assert list((await finance.GetMarginReport(by_card)).rows) == []


async def test_as_of_of_a_margin_report(database, writer, finance):
    """The report says up to when everything booked is in it: the tailer's as-of."""
    progress = await Tailer(database, [CELL], FinanceMetrics()).step(CELL)
    report = await finance.GetMarginReport(pb.GetMarginReportRequest())
    assert progress is not None
    assert report.as_of == timestamp(progress.as_of)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"group_by": [99]}, "group_by[0]"),
        ({"group_by": [0]}, "group_by[0]"),
        ({"group_by": [1, 1]}, "group_by[1]"),
        ({"first_day": "2026-1-1"}, "first_day"),
        ({"first_day": "20260101"}, "first_day"),
        ({"last_day": "2026-02-30"}, "last_day"),
        ({"first_day": "2026-01-02", "last_day": "2026-01-01"}, "last_day"),
        ({"customer_id": "x" * 129}, "customer_id"),
    ],
)
async def test_bad_margin_requests(finance, request_, field):
    """Each bad field is named, with what is allowed."""
    code, reason, fields = await refusal(finance.GetMarginReport(pb.GetMarginReportRequest(**request_)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert list(fields) == [field]


async def test_a_report_has_a_size(finance, owner):
    """More rows than an answer may have are refused whole: half a report would be a wrong one."""
    insert = f"""INSERT INTO {CELL}.rollup_lines
                 SELECT '2026-01-01', 1, 'p', 'c', 'tokens', 'm' || i, '', '', 1, 0, 0, 0, 0, 1, 0, 0
                 FROM generate_series($1::bigint, $2::bigint) i"""
    await owner.execute(insert, 1, limits.MARGIN_ROWS_MAX)
    by_model = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_MODEL])
    assert len((await finance.GetMarginReport(by_model)).rows) == limits.MARGIN_ROWS_MAX
    await owner.execute(insert, limits.MARGIN_ROWS_MAX + 1, limits.MARGIN_ROWS_MAX + 1)
    code, _, fields = await refusal(finance.GetMarginReport(by_model))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(fields) == ["group_by"]


async def test_a_sum_that_no_row_holds(finance, owner):
    """A row of more than 2^63 - 1 micro-credits is refused, and told where less is asked for."""
    insert = f"""INSERT INTO {CELL}.rollup_lines
                 VALUES ('2026-01-01', 1, 'p', 'c', 'tokens', 'm', '', '', 1, 0, 0, $1::bigint, 0, 0, 0, 0),
                        ('2026-01-02', 1, 'p', 'c', 'tokens', 'm', '', '', 1, 0, 0, $2, 0, 0, 0, 0)"""
    await owner.execute(insert, 2**63 - 1, 1)
    code, _, fields = await refusal(finance.GetMarginReport(pb.GetMarginReportRequest()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert fields.keys() == {"group_by"}
    assert str(2**63) in fields["group_by"]
    by_day = pb.GetMarginReportRequest(group_by=[pb.MARGIN_DIMENSION_DAY])
    rows = (await finance.GetMarginReport(by_day)).rows
    assert [row.credits_micros for row in rows] == [2**63 - 1, 1]


# -- ExplainCharge -----------------------------------------------------------------------------------


async def test_a_charge_is_explained_to_the_nano_dollar(database, writer, finance):
    """Each line with its rule, price and three costs, and the lots drawn; what adds up does so exactly."""
    customer = await Bookkeeper.open(database, writer, "acme")
    first = await customer.grant(10 * CREDIT, 3 * DOLLAR)
    second = await customer.grant(100 * CREDIT, 70 * DOLLAR, priority=1)
    charge = await customer.charge(
        line(
            micros=30 * CREDIT,
            cost_nanousd=Fraction(10, 3),
            saved_nanousd=Fraction(43, 6),
            served_by="acme/small",
            lever="distillation",
            list_nanousd=12,
            asked_nanousd="21/2",
            served_nanousd="10/3",
            cost_source="costs.yaml",
        ),
        line("compute", "h100", micros=10 * CREDIT, cost_nanousd=DOLLAR, price="4 an hour"),
    )
    request = pb.ExplainChargeRequest(customer_id="acme", charge_id=ids.charge_id("acme", charge.sequence))
    reported = await finance.ExplainCharge(request)
    assert reported.lines[0] == pb.ExplainedLine(
        kind="tokens",
        name="acme/large",
        rule="tokens rule",
        price="each 1",
        treatment="CHARGED",
        quantities={"quantity": "1"},
        served_by="acme/small",
        key_owner="OURS",
        lever="distillation",
        credits_micros=30 * CREDIT,
        revenue_usd="18.000000000",
        cost_usd="0.000000003",
        list_cost_usd="0.000000012",
        asked_cost_usd="0.000000010",
        served_cost_usd="0.000000003",
        cost_source="costs.yaml",
        saved_usd="0.000000007",
        baseline_usd="0.000000010",
        own_key_cost_usd="0.000000000",
        own_key_saved_usd="0.000000000",
    )
    assert (reported.lines[1].price, reported.lines[1].served_cost_usd, reported.lines[1].lever) == (
        "4 an hour",
        "",
        "",
    )
    assert [(draw.grant_id, draw.credits_micros, draw.value_usd) for draw in reported.draws] == [
        (ids.grant_id("acme", (first.sequence, 0)), 10 * CREDIT, "3.000000000"),
        (ids.grant_id("acme", (second.sequence, 0)), 30 * CREDIT, "21.000000000"),
    ]
    assert (reported.revenue_usd, reported.cost_usd) == ("24.000000000", "1.000000003")
    assert (reported.card, reported.card_version, reported.cost_version) == ("agents", 3, 5)
    assert (reported.plan, reported.credit_price_usd) == ("standard", "1.000000000")
    assert (reported.priced_micros, reported.charged_micros) == (40 * CREDIT, 40 * CREDIT)
    assert reported.booked_at == timestamp(charge.booked_at)
    assert list(reported.absorbed) == []


async def test_absorbed_cost_is_explained_by_reason(database, writer, finance):
    """What nobody pays for is reported by reason, beside the credits that were not collected."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(6 * CREDIT, 6 * DOLLAR)
    unpriced = line(treatment=Treatment.UNPRICED, cost_nanousd=2 * DOLLAR)
    charge = await customer.charge(unpriced, line(micros=8 * CREDIT, cost_nanousd=4 * DOLLAR))
    reported = await finance.ExplainCharge(
        pb.ExplainChargeRequest(customer_id="acme", charge_id=ids.charge_id("acme", charge.sequence))
    )
    assert {each.reason: each.amount_usd for each in reported.absorbed} == {
        "uncollected": "1.000000000",
        "unpriced": "2.000000000",
    }
    assert (reported.priced_micros, reported.charged_micros, reported.uncollected_micros) == (
        8 * CREDIT,
        6 * CREDIT,
        2 * CREDIT,
    )
    assert [each.treatment for each in reported.lines] == ["UNPRICED", "CHARGED"]


async def test_a_commit_in_credits_is_explained_without_lines(database, writer, finance):
    """A commit stated in credits has revenue and draws, and no lines."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 5 * DOLLAR)
    commit = await customer.commit_credits(await customer.reserve(10 * CREDIT), 4 * CREDIT)
    reported = await finance.ExplainCharge(
        pb.ExplainChargeRequest(customer_id="acme", charge_id=ids.charge_id("acme", commit.sequence))
    )
    assert (list(reported.lines), reported.revenue_usd, reported.cost_usd) == (
        [],
        "2.000000000",
        "0.000000000",
    )
    assert [draw.value_usd for draw in reported.draws] == ["2.000000000"]


async def test_only_charges_of_the_customer_are_explained(database, writer, finance):
    """Another customer's charge, another entry, and an id that is none: there is no such charge."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await Bookkeeper.open(database, writer, "globex")
    charge = await customer.charge(line(cost_nanousd=1))
    for name, charge_id in (
        ("globex", ids.charge_id("acme", charge.sequence)),
        ("globex", ids.charge_id("globex", charge.sequence)),
        ("acme", ids.charge_id("acme", 1)),
        ("acme", "chg_nonsense"),
    ):
        request = pb.ExplainChargeRequest(customer_id=name, charge_id=charge_id)
        code, reason, _ = await refusal(finance.ExplainCharge(request))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "CHARGE_NOT_FOUND")
    unknown = finance.ExplainCharge(pb.ExplainChargeRequest(customer_id="nobody", charge_id="chg_x"))
    assert (await refusal(unknown))[1] == "CUSTOMER_NOT_FOUND"
    empty = await refusal(finance.ExplainCharge(pb.ExplainChargeRequest()))
    assert set(empty[2]) == {"customer_id", "charge_id"}


# -- VerifyJournal -----------------------------------------------------------------------------------


async def test_verification_tells_what_it_looked_at(database, writer, finance, owner):
    """A journal that holds says so, with its size; one that does not names the rule and the customer."""
    await varied_history(database, writer)
    held = await finance.VerifyJournal(pb.VerifyJournalRequest())
    assert held.holds
    assert (held.customers, held.entries) == (2, await owner.fetchval(f"SELECT count(*) FROM {CELL}.entries"))
    await owner.execute(f"UPDATE {CELL}.lot_values SET value_nanousd = value_nanousd + 1 WHERE customer = 2")
    broken = await finance.VerifyJournal(pb.VerifyJournalRequest())
    assert not broken.holds
    assert {(each.invariant, each.customer_id) for each in broken.violations} == {
        ("deferred_is_lot_value", "globex")
    }


async def test_findings_that_stand_are_listed_the_newest_first(database, writer, finance, owner):
    """Who is stopped and why; what has ended is not, and no answer is larger than a client takes."""
    await varied_history(database, writer)
    assert (await finance.ListFindings(pb.ListFindingsRequest())) == pb.ListFindingsResponse()
    await owner.execute(
        f"INSERT INTO {CELL}.findings"
        " (finding, customer, part, stops, invariants, violations, description, ended_at)"
        " VALUES ('first', 2, 'BOOKS', true, '{postings_balance}', 3, 'postings_balance: why', NULL),"
        " ('ended', 1, 'BOOKS', true, '{postings_balance}', 1, 'why', now())"
    )
    await owner.execute(
        f"INSERT INTO {CELL}.findings (finding, customer, part, stops, invariants, violations, description)"
        " SELECT 'f' || n, -n, 'ROLLUPS', false, '{a}', 1, repeat('\u20ac', 4000)"
        " FROM generate_series(1, 400) n"
    )
    listed = await finance.ListFindings(pb.ListFindingsRequest())
    assert listed.there_are_more
    assert 2**20 < listed.ByteSize() < 4 * 2**20
    assert not any(finding.stops or finding.customer_id for finding in listed.findings)
    await owner.execute(f"UPDATE {CELL}.findings SET ended_at = now() WHERE part = 'ROLLUPS'")
    [finding] = (await finance.ListFindings(pb.ListFindingsRequest())).findings
    assert finding == pb.Finding(
        finding_id="first",
        customer_id="globex",
        stops=True,
        invariants=["postings_balance"],
        violations=3,
        description="postings_balance: why",
        found_at=finding.found_at,
    )


@pytest.mark.parametrize(
    ("table", "method", "other"),
    [
        ("money", "GetTrialBalance", "GetMarginReport"),
        ("rollup_lines", "GetMarginReport", "GetTrialBalance"),
        ("rollup_lines", "VerifyJournal", "GetTrialBalance"),
    ],
)
async def test_long_reads_leave_room_for_the_others(finance, owner, table, method, other):
    """However many of a kind are asked for, one is at work: other reads are answered beside them."""

    def asked(name):
        return getattr(finance, name)(getattr(pb, f"{name}Request")(), timeout=60)

    async with owner.transaction():
        await owner.execute(f"LOCK TABLE {CELL}.{table} IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.ensure_future(asked(method)) for _ in range(12)]
        for _ in range(20):
            await asked(other)
        assert not any(each.done() for each in waiting)
    await asyncio.gather(*waiting)
