"""A server on its own, and the commands that talk to it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from command_line import acu_ledger, refused_at_once, replay

from ledger.sample import SAMPLE_RECORDS
from tests.serving import REPOSITORY, Server


@pytest.fixture
def back_office(server: Server) -> str:
    return server.back_office


def test_serve_says_where_and_that_it_is_loopback(server: Server) -> None:
    """Without keys the server binds to loopback, and says so."""
    assert "Serving on 127.0.0.1 only, to whoever is on this machine, until there is a key." in server.said
    for address in (server.public, server.back_office):
        assert address.startswith("127.0.0.1:")


def test_printed_calls_work_as_they_stand(server: Server) -> None:
    """Each `buf curl` line that `serve` prints can be pasted into a shell, in order."""
    calls = [line.strip() for line in server.said.splitlines() if "curl" in line]
    assert len(calls) == 3
    answers = [subprocess.check_output(call, shell=True, text=True, cwd=REPOSITORY) for call in calls]  # noqa: S602 -- as printed
    assert '"resolved"' in answers[0]
    assert '"customerId": "me"' in answers[1].replace('":"', '": "')
    assert "Sandbox time" in answers[2]


def test_same_run_again_changes_no_account(server: Server) -> None:
    """The same run against a server books nothing the second time: every account stays as it is."""
    options = ("--card", "resolved", "--run-id", "on-a-server", "--limit", 30)
    file = SAMPLE_RECORDS / "agent_sessions.csv"
    answers, balances = [], []
    for _ in range(2):
        answers.append(replay(server, "agent_sessions", file, *options).json())
        balance = acu_ledger("books", "trial-balance", "--target", server.back_office, "--json").json()
        balances.append((balance["credits"], balance["dollars"]))
    assert answers[0] | {"seconds": 0} == answers[1] | {"seconds": 0}
    assert (answers[0]["committed"], answers[0]["verified"]) == (30, True)
    assert balances[0] == balances[1]


def test_customers_and_grants(back_office: str) -> None:
    """Ops create a customer and give it credits; the same request id again has no second effect."""
    target = ("--target", back_office)
    created = acu_ledger("customers", "create", "acme", "--card", "images", "--name", "Acme", *target)
    assert created.status == 0, created.stderr
    assert "acme" in acu_ledger("customers", "list", *target).stdout
    issue = (
        "grants",
        "issue",
        "acme",
        "12.5",
        "--paid-total-usd",
        "10",
        "--request-id",
        "g1",
        "--json",
        *target,
    )
    first, second = (acu_ledger(*issue).json() for _ in range(2))
    assert first["grant"] == second["grant"]
    assert first["balance"] == second["balance"]
    assert (first["replayed"], second["replayed"]) == (False, True)


def test_the_life_of_a_grant(back_office: str) -> None:
    """A grant is stated, paid, extended, looked up and taken back by hand."""
    target = ("--target", back_office)
    acu_ledger("customers", "create", "lived", "--card", "images", *target)
    issue = ("grants", "issue", "lived", "8", "--paid-total-usd", "10", "--pending-payment")
    said = ("--reference", "INV-7", "--note", "by hand")
    stated = acu_ledger(*issue, *said, "--json", *target).json()["grant"]
    assert stated["status"] == "GRANT_STATUS_PENDING_PAYMENT"
    named = ("lived", stated["grant_id"])
    paid = acu_ledger("grants", "confirm", *named, "--paid-total-usd", "9", "--json", *target).json()
    assert paid["balance"]["available_micros"] == "8000000"
    soon = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    extended = acu_ledger("grants", "extend", *named, "--expires-at", soon, "--json", *target).json()
    assert extended["grant"]["expires_at"].startswith(soon)
    asked = ("--reference", "INV-7", "--expires-within-days", "4")
    assert (
        acu_ledger("grants", "upcoming", "lived", "--json", *target).json()["customer"]["plan"] == "standard"
    )
    listed = acu_ledger("grants", "list", *asked, "--json", *target).json()["grants"]
    assert [(each["grant"]["grant_id"], each["note"]) for each in listed] == [(named[1], "by hand")]
    assert "voided" in acu_ledger("grants", "void", *named, "--reason", "a mistake", *target).stdout


def test_money_goes_back_by_hand(back_office: str) -> None:
    """Credits are paid back and what nobody pays is given up: what is to be paid is said."""
    target = ("--target", back_office)
    why = ("--reason", "asked for")
    acu_ledger("customers", "create", "paid-back", "--card", "images", *target)
    issued = acu_ledger(
        "grants", "issue", "paid-back", "8", "--paid-total-usd", "4", "--json", *target
    ).json()
    named = ("paid-back", issued["grant"]["grant_id"])
    ran = acu_ledger("grants", "refund", *named, "--amount", "2", *why, *target)
    assert "pay $1 back" in ran.stderr + ran.stdout
    asked = ("--amount", "1", "--refund-usd", "0.25", "--json")
    stated = acu_ledger("grants", "refund", *named, *asked, *why, *target).json()
    assert (stated["refund_usd"], stated["grant"]["refunded_micros"]) == ("0.25", "3000000")
    assert (
        "WRITE_OFF_EXCEEDS_CLAIM" in acu_ledger("grants", "write-off-debt", "paid-back", *why, *target).stderr
    )
    assert (
        acu_ledger("grants", "write-off", *named, *why, "--json", *target).json()["written_off_usd"] == "0.25"
    )


def test_an_endpoint_of_webhooks_is_changed(back_office: str) -> None:
    """What is named is changed, all else stays; nothing named, or both of a list and all, is refused."""
    target = ("--target", back_office)
    house = ("--type", "rate_card.published")
    made = acu_ledger(
        "webhooks", "create", "https://1.1.1.1/a", *house, "--customer", "acme", "--json", *target
    )
    endpoint = made.json()["webhook"]["endpoint_id"]
    update = ("webhooks", "update", endpoint)
    assert acu_ledger(*update, "--url", "https://1.1.1.1/b", "--all-customers", *target).status == 0
    (found,) = acu_ledger("webhooks", "list", "--json", *target).json()["webhooks"]
    assert (found["url"], found["types"]) == ("https://1.1.1.1/b", ["rate_card.published"])
    assert not found.get("customer_ids")
    refused = acu_ledger(*update, *target)
    assert (refused.status, "Name what changes" in refused.stderr) == (2, True)
    both = acu_ledger(*update, *house, "--all-types", *target)
    assert (both.status, "not both" in both.stderr) == (2, True)
    assert acu_ledger("webhooks", "delete", endpoint, *target).status == 0


def test_usage_of_a_customer_is_shown(server: Server) -> None:
    """What was used, by label and kind, as a table and as one object; what it cannot show is a refusal."""
    options = ("--card", "resolved", "--run-id", "used", "--limit", 5)
    replay(server, "agent_sessions", SAMPLE_RECORDS / "agent_sessions.csv", *options)
    found = acu_ledger("customers", "list", "--target", server.back_office, "--json").json()["customers"]
    named = next(each["customer_id"] for each in found if each["customer_id"].startswith("used/"))
    today = datetime.now(UTC).date()
    days = (str(today - timedelta(days=1)), str(today))
    asked = ("customers", "usage", named, *days, "--by", "project", "--target", server.public)
    assert "outcome" in acu_ledger(*asked).stdout
    rows = acu_ledger(*asked, "--json").json()["rows"]
    assert sum(int(row["items"]) for row in rows) >= 1
    refused = acu_ledger("customers", "usage", named, "tomorrow", "--target", server.public)
    assert refused.status == 1
    assert "first_day" in refused.stderr


def test_budgets_of_a_customer_are_shown(server: Server) -> None:
    """Of the labels that are named; a label without a value is a usage error."""
    back_office = ("--target", server.back_office)
    acu_ledger("customers", "create", "budgeted", "--card", "images", *back_office)
    own = "budgets={each: {by: [agent, team], limit: '2', window: DAY}}"
    agent = "b: {by: [agent], limit: '2', window: DAY}"
    doubted = acu_ledger("customers", "override", "budgeted", f"{own[:-1]}, {agent}}}", *back_office)
    assert (doubted.status, "warning: budgets.each.limit: is never" in doubted.stderr) == (0, True)
    assert acu_ledger("customers", "override", "budgeted", own, *back_office).stderr == ""
    asked = ("customers", "budgets", "budgeted", "--target", server.public)
    assert "agent, team" in acu_ledger(*asked).stdout
    [counted] = acu_ledger(*asked, "--label", "agent=a=7", "--label", "team=t", "--json").json()["budgets"]
    assert (counted["name"], counted["left_micros"]) == ("each", "2000000")
    elsewhere = acu_ledger("customers", "budgets", "budgeted", *back_office)
    assert (elsewhere.status, "a method of the server's other port" in elsewhere.stderr) == (1, True)
    wrong = acu_ledger(*asked, "--label", "agent")
    assert (wrong.status, "agent: write NAME=VALUE" in wrong.stderr) == (2, True)


def test_no_slip_takes_a_customers_own_fields_away(server: Server) -> None:
    """A command without fields is a usage error; `--none` says that all of the plan's is meant."""
    back_office = ("--target", server.back_office)
    acu_ledger("customers", "create", "own", "--card", "images", *back_office)
    override = ("customers", "override", "own")
    assert acu_ledger(*override, "unpriced=BOOK", *back_office).status == 0
    for slip in ((), ("--none", "unpriced=BOOK")):
        refused = acu_ledger(*override, *slip, *back_office)
        assert (refused.status, "or --none" in refused.stderr) == (2, True)
    assert "all as its plan has it" in acu_ledger(*override, "--none", *back_office).stdout


def test_a_statement_is_printed(server: Server) -> None:
    """As a table, as CSV, as a page and as one object; what is no month is refused, and said."""
    customer = ("stated", "--target", server.back_office)
    acu_ledger("customers", "create", *customer, "--card", "resolved", "--zone", "Asia/Tokyo")
    acu_ledger("grants", "issue", "stated", "12.5", "--target", server.back_office)
    month = f"{datetime.now(ZoneInfo('Asia/Tokyo')):%Y-%m}"
    asked = ("statement", "stated", "--by", "project", "--target", server.public, "--month")
    assert acu_ledger(*asked, month, "--json").json()["zone"] == "Asia/Tokyo"
    for form in ("text", "csv", "html"):
        printed = acu_ledger(*asked, month, "--format", form)
        assert (printed.status, printed.stderr) == (0, "")
        assert "Closing balance" in printed.stdout
        assert "12.500000" in printed.stdout
    refused = acu_ledger(*asked, "November")
    assert refused.status == 1
    assert "month" in refused.stderr


def test_refusals_have_status_1_and_say_why(back_office: str) -> None:
    """What the server refuses is reported with its reason, on stderr."""
    ran = acu_ledger("grants", "issue", "nobody", "1", "--target", back_office)
    assert (ran.status, ran.stdout) == (1, "")
    assert "CUSTOMER_NOT_FOUND" in ran.stderr


def test_a_grant_for_one_kind_of_usage(back_office: str) -> None:
    """A grant may pay for one kind alone, or for the lines of a pool; the server refuses other scopes."""
    target = ("--target", back_office)
    assert acu_ledger("customers", "create", "scoped", *target).status == 0
    for scope in ("tokens", "pool:dbcu"):
        issued = acu_ledger("grants", "issue", "scoped", "5", "--scope", scope, "--json", *target).json()
        assert issued["grant"]["scope"] == scope
    refused = acu_ledger("grants", "issue", "scoped", "5", "--scope", "tea", *target)
    assert (refused.status, refused.stdout) == (1, "")
    assert "scope: is not one of tokens, " in refused.stderr


@pytest.mark.parametrize("amount", ["much", "1e400000000", "0.0000001", "NaN", "-5", "-0.5", "0"])
def test_amounts_that_are_none_are_usage_errors(amount: str) -> None:
    """An amount of credits is above 0 and has at most 6 decimal places; nothing is sent otherwise."""
    says = f"AMOUNT: {amount!r} is no number of credits above 0 with at most 6 decimal places, e.g. 12.5"
    assert says in refused_at_once("grants", "issue", "acme", amount)


@pytest.mark.parametrize(
    "arguments", [("grants", "issue", "acme", "5", "--kind", "FREE"), ("books", "margin", "--by", "FREE")]
)
def test_choices_that_are_none_are_told_in_words_of_our_own(arguments: tuple[str, ...]) -> None:
    """The option, what it was given, and what is allowed."""
    said = " ".join(refused_at_once(*arguments).split())
    assert f"Invalid value for '{arguments[-2]}': 'FREE' is not one of '" in said


def test_books_are_shown_and_hold(back_office: str) -> None:
    """Finance reads the trial balance, the margin, the verification and what the watch has found."""
    commands = (("trial-balance",), ("margin", "--by", "card", "--by", "kind"), ("verify",), ("findings",))
    balance, margin, verified, findings = (
        acu_ledger("books", *command, "--target", back_office) for command in commands
    )
    assert "provider_payable" in balance.stdout
    assert margin.status == 0, margin.stderr
    assert "The books hold" in verified.stdout
    assert (findings.status, findings.stdout) == (0, "No finding stands.\n")


def test_migrate_says_what_it_applied(clusters: Path) -> None:
    """An empty database is brought to the schema of this version; a second time nothing is left to do."""
    first, second = (acu_ledger("migrate", "--data", clusters / "migrated") for _ in range(2))
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert "cell_00" in first.stdout
    assert second.stdout == ""
