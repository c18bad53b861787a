"""A server on its own, and the commands that talk to it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import COMMAND, REPOSITORY, acu_ledger, environment

from ledger.cli.stack import SAMPLE_RECORDS

FREE_PORTS = {f"ACU_LEDGER_{name}_PORT": "0" for name in ("PUBLIC", "BACK_OFFICE", "OPERATIONS", "FINANCE")}
START_LINES = 9
"""What `serve` prints when it serves: a heading, four addresses, and calls to try."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a server said when it began to serve; it ends by SIGTERM with status 0."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--data", str(tmp_path_factory.mktemp("serve"))],
        cwd=REPOSITORY,
        env={**environment(), **FREE_PORTS},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield "".join(server.stdout.readline() for _ in range(START_LINES))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0


def address(serving: str, name: str) -> str:
    found = re.search(rf"{name} +(\S+)", serving)
    assert found, serving
    return found[1]


@pytest.fixture
def back_office(serving: str) -> str:
    return address(serving, "back office")


def test_serve_says_where_and_that_it_is_loopback(serving: str) -> None:
    """Without keys the server binds to loopback, and says so."""
    assert "Serving on 127.0.0.1 only: there are no API keys yet." in serving
    for name in ("public API", "back office"):
        assert address(serving, name).startswith("127.0.0.1:")


def test_printed_calls_work_as_they_stand(serving: str) -> None:
    """Each `buf curl` line that `serve` prints can be pasted into a shell, in order."""
    calls = [line.strip() for line in serving.splitlines() if "curl" in line]
    assert len(calls) == 3
    answers = [subprocess.check_output(call, shell=True, text=True, cwd=REPOSITORY) for call in calls]  # noqa: S602
    assert '"resolved"' in answers[0]
    assert '"customerId": "me"' in answers[1].replace('":"', '": "')
    assert "Sandbox time" in answers[2]


def test_replay_against_a_running_server_books_once(serving: str, back_office: str) -> None:
    """The same run against a server changes nothing the second time: every account stays as it is."""
    options = ("--card", "resolved", "--run-id", "on-a-server", "--limit", 30, "--json")
    targets = ("--target", address(serving, "public API"), "--admin-target", back_office)
    file = SAMPLE_RECORDS / "agent_sessions.csv"
    answers, balances = [], []
    for _ in range(2):
        answers.append(acu_ledger("replay", "--format", "agent_sessions", file, *options, *targets).json())
        balances.append(acu_ledger("books", "trial-balance", "--target", back_office, "--json").json())
    assert answers[0] | {"seconds": 0} == answers[1] | {"seconds": 0}
    assert (answers[0]["committed"], answers[0]["verified"]) == (30, True)
    assert [balance["credits"] for balance in balances] == [balances[0]["credits"]] * 2
    assert [balance["dollars"] for balance in balances] == [balances[0]["dollars"]] * 2


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


def test_refusals_have_status_1_and_say_why(back_office: str) -> None:
    """What the server refuses is told with its reason, on stderr."""
    ran = acu_ledger("grants", "issue", "nobody", "1", "--target", back_office)
    assert (ran.status, ran.stdout) == (1, "")
    assert "CUSTOMER_NOT_FOUND" in ran.stderr


@pytest.mark.parametrize("amount", ["much", "1e400000000", "0.0000001", "NaN"])
def test_amounts_that_are_none_are_usage_errors(amount: str) -> None:
    """An amount of credits has at most 6 decimal places; nothing is sent otherwise."""
    ran = acu_ledger("grants", "issue", "acme", amount)
    assert (ran.status, ran.stdout) == (2, "")
    assert "AMOUNT" in ran.stderr


def test_books_are_shown_and_hold(back_office: str) -> None:
    """Finance reads the trial balance, the margin and the verification, as tables."""
    balance, margin, verified = (
        acu_ledger("books", *command, "--target", back_office)
        for command in (("trial-balance",), ("margin", "--by", "card", "--by", "kind"), ("verify",))
    )
    assert "provider_payable" in balance.stdout
    assert margin.status == 0, margin.stderr
    assert "The books hold" in verified.stdout


def test_migrate_says_what_it_applied(tmp_path: Path) -> None:
    """An empty database is brought to the schema of this version; a second time nothing is left to do."""
    first, second = (acu_ledger("migrate", "--data", tmp_path / "data") for _ in range(2))
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert "cell_00" in first.stdout
    assert second.stdout == ""


def test_demo_ends_by_itself_and_its_books_hold(tmp_path: Path) -> None:
    """The demo sells every shipped record, shows the books and exits 0; a second one works too."""
    for _ in range(2):
        ran = acu_ledger("demo", "--data", tmp_path / "demo")
        assert ran.status == 0, ran.stderr
    for shown in (
        "Statement, newest first",
        "This run, by card",
        "Revenue, cost and margin",
        "Trial balance",
        "The books hold",
        "acu_ledger_rpcs_total",
        "acu_ledger_revenue",
    ):
        assert shown in ran.stdout
