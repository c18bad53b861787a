"""Two servers under load, one of which is killed and comes back, and a Prometheus that scrapes both.

It has the rules, the alerts and the jobs that are shipped, and looks twice a second.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import asyncpg
import yaml
from google.protobuf.duration_pb2 import Duration

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.cli.services import call
from ledger.client import CustomerNotFound, NotNow
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import usage_pb2
from ledger.v1 import wallet_service_pb2 as wallet
from tests.amounts import CREDIT
from tests.faults.servers import Server
from tests.ports import free_ports
from tests.prometheus import DEPLOY, RULES, Prometheus
from tests.serving import COMMAND, FREE_PORTS, REPOSITORY
from tests.waiting import PAUSE_SECONDS

CELL = "cell_00"
INTERVAL = "500ms"
ASKED_SECONDS = 60.0
"""How long is asked for what has to come."""
ROUNDS = 10
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Books:
    """What the books said when all had ended, by the command line, and by the journal itself."""

    margin: Sequence[Mapping[str, Any]]
    """Rows of `books margin`, by plan, card, kind, lever and key owner."""
    dollars: Mapping[str, str]
    credits: Mapping[str, str]
    """Of `books trial-balance`."""
    journal: Sequence[Mapping[str, Any]]
    """Sums of each transaction, plan and card, in the order of transactions."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of the load."""

    books: Books
    begin: datetime
    """When both servers were up."""
    at: datetime
    """When figures and rules had all of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is left when the load has ended, and Prometheus has seen its end."""

    prometheus: Prometheus
    books: Books
    at: datetime
    """When figures and rules had all of it."""
    instances: Sequence[str]
    """Of the finance ports: the first server ran all the time."""


JOURNAL = f"""
SELECT e.xid::text::bigint AS xid, e.plan, coalesce(e.card, '') AS card,
       sum(coalesce(m.revenue, 0)) AS revenue, -sum(coalesce(m.cost, 0)) AS cost,
       sum(coalesce(m.deferred, 0)) AS deferred, -sum(coalesce(m.unbilled, 0)) AS unbilled,
       sum(coalesce(m.breakage, 0)) AS breakage,
       sum(coalesce(m.absorbed_failed_outcome, 0)) AS failed_outcome,
       sum(coalesce(m.absorbed_uncollected, 0)) AS uncollected_cost,
       sum(coalesce(m.absorbed_unpriced, 0)) AS unpriced,
       sum(e.consumed) AS consumed, sum(e.uncollected) AS uncollected, sum(e.priced) AS priced
FROM {CELL}.entries e LEFT JOIN {CELL}.money m USING (customer, sequence)
GROUP BY 1, 2, 3 ORDER BY 1
"""


def environment(urls: Any, ports: Sequence[int]) -> dict[str, str]:
    """Of a server that keeps its ports over restarts."""
    return {**urls.environment, **dict(zip(FREE_PORTS, map(str, ports), strict=True))}


def configuration(folder: Path) -> Path:
    """The sample, with a floor under one card."""
    made = shutil.copytree(REPOSITORY / "deploy" / "config", folder / "config")
    card = made / "cards" / "agents.yaml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("revision: 1\n", 'revision: 1\nmargin_floor: "10%"\n'), encoding="utf-8")
    return made


def prometheus_config(folder: Path, ports: Sequence[Sequence[int]]) -> str:
    """The sample, for servers on loopback without keys: its own jobs and rules, looked at often."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(_often(path, folder)) for path in RULES]
    for job, port in zip(config["scrape_configs"], (2, 3), strict=True):
        for secured in ("scheme", "tls_config", "authorization"):
            job.pop(secured, None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{each[port]}" for each in ports]}]
    return yaml.safe_dump(config)


def _often(path: Path, folder: Path) -> Path:
    """The rules, at the interval of all else."""
    rules = yaml.safe_load(path.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group.pop("interval", None)
    made = folder / path.name
    made.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return made


async def ask_until(asked: Callable[[], bool]) -> None:
    """Asks again until it is so. Raises TimeoutError."""
    async with asyncio.timeout(ASKED_SECONDS):
        while not await asyncio.to_thread(asked):  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(PAUSE_SECONDS)


TOKENS = usage_pb2.TokenUsage(model="anthropic/claude-sonnet-4-5", input=100_000, output=20_000)
ROUTED = usage_pb2.TokenUsage(
    model="anthropic/claude-sonnet-4-5", served_by="acme/code-13b", input=77_777, output=3
)
UNCOSTED = usage_pb2.TokenUsage(model="anthropic/claude-sonnet-4-5", served_by="nobody/knows", input=9)
OWN_KEY = usage_pb2.TokenUsage(
    model="anthropic/claude-sonnet-4-5", input=50_000, key_owner=usage_pb2.KEY_OWNER_CUSTOMER
)
SANDBOX = usage_pb2.ComputeUsage(resource="sandbox", duration=Duration(seconds=601))
UNPRICED = usage_pb2.ComputeUsage(resource="snowpark/m", duration=Duration(seconds=77))


def items(number: int) -> list[usage_pb2.UsageItem]:
    """Work of a kind for each number."""
    tokens = [TOKENS, ROUTED, UNCOSTED, OWN_KEY][number % 4]
    found = [usage_pb2.UsageItem(tokens=tokens), usage_pb2.UsageItem(compute=SANDBOX)]
    if number % 5 == 0:
        found.append(usage_pb2.UsageItem(compute=UNPRICED))
    return found


CUSTOMERS = {
    # Plan, card of its own, credits, and what was paid for them.
    "acme": ("standard", "", 1_000, "800"),
    "capped": ("capped", "", 5, "5"),
    "globex": ("standard", "resolved", 10_000, "9999.999999999"),
    "initech": ("overdraft", "", 3, "1"),
    "trial": ("standard", "", 50, ""),
    "idle": ("standard", "", 1, "1"),
}
"""The last one does nothing."""


async def customers(server: Server) -> None:
    """One for each way that credits can go; credits that expire at once; and a call that is refused."""
    ops = server.ledger.admin
    for name, (plan, card, amount, paid_usd) in CUSTOMERS.items():
        made = admin.Customer(customer_id=name, plan=plan, rate_card=card)
        await call(ops.CreateCustomer, admin.CreateCustomerRequest(request_id="c", customer=made))
        grant = admin.IssueGrantRequest(
            request_id="g",
            customer_id=name,
            amount_micros=amount * CREDIT,
            kind=wallet.GRANT_KIND_PAID if paid_usd else wallet.GRANT_KIND_PROMO,
            paid_total_usd=paid_usd,
        )
        await call(ops.IssueGrant, grant)
    soon = admin.IssueGrantRequest(
        request_id="e",
        customer_id="idle",
        amount_micros=7 * CREDIT,
        kind=wallet.GRANT_KIND_PAID,
        paid_total_usd="5",
    )
    soon.expires_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=1.5))
    await call(ops.IssueGrant, soon)
    with suppress(CustomerNotFound):
        await call(ops.GetCustomer, admin.GetCustomerRequest(customer_id="nobody"))


async def answered(method: Any, request: Any) -> Any:
    """The answer to a write, asked for until there is one: its server may be away."""
    async with asyncio.timeout(ASKED_SECONDS):
        while True:
            try:
                return await call(method, request)
            except NotNow:
                continue


async def work(server: Server, worker: int, begin: int, rounds: int) -> None:
    """Charges and sessions of all customers, some of it refunded or reversed; repeated until answered."""
    for number in range(begin, begin + rounds):
        for name in list(CUSTOMERS)[:-1]:
            request = f"{worker}-{number}"
            if name == "globex":
                await _session(server, request, number)
            else:
                await _charge(server, name, request, worker + number)


async def _charge(server: Server, name: str, request: str, number: int) -> None:
    usage = usage_pb2.UsageList(items=items(number))
    charge = credit.ChargeRequest(request_id=request, customer_id=name, usage=usage, already_used=True)
    charge_id = (await answered(server.ledger.credits.Charge, charge)).charge.charge_id
    reason = "it did not help"
    if number % 3 == 0 and name == "acme":
        refund = credit.RefundRequest(
            request_id=f"r{request}", customer_id=name, charge_id=charge_id, amount_micros=1, reason=reason
        )
        await answered(server.ledger.credits.Refund, refund)
    if number % 7 == 0:
        reverse = credit.ReverseChargeRequest(
            request_id=f"v{request}", customer_id=name, charge_id=charge_id, reason=reason
        )
        await answered(server.ledger.credits.ReverseCharge, reverse)


async def _session(server: Server, request: str, number: int) -> None:
    reserve = credit.ReserveRequest(request_id=f"r{request}", customer_id="globex", amount_micros=20 * CREDIT)
    reserved = await answered(server.ledger.credits.Reserve, reserve)
    result = usage_pb2.OUTCOME_RESULT_RESOLVED if number % 2 else usage_pb2.OUTCOME_RESULT_FAILED
    outcome = usage_pb2.UsageItem(outcome=usage_pb2.Outcome(name="issue.resolved", result=result))
    commit = credit.CommitReservationRequest(
        request_id=f"c{request}",
        customer_id="globex",
        reservation_id=reserved.reservation.reservation_id,
        usage=usage_pb2.UsageList(items=[*items(number), outcome]),
        final=True,
    )
    await answered(server.ledger.credits.CommitReservation, commit)


async def load(servers: Sequence[Server], begin: int, rounds: int) -> None:
    """Some clients of each server."""
    async with asyncio.TaskGroup() as clients:
        for worker in range(WORKERS):
            clients.create_task(work(servers[worker % len(servers)], worker, begin, rounds))


async def play(
    prometheus: Prometheus, servers: Sequence[Server], owner_url: str, rounds: int = ROUNDS
) -> Played:
    """Load on both; then load while the second is killed and comes back; then all is compared."""
    first, second = servers
    await asyncio.gather(first.start(), second.start())
    begin = datetime.now(UTC)
    try:
        await customers(first)
        await load(servers, 0, rounds)
        async with asyncio.TaskGroup() as parts:
            parts.create_task(load(servers, rounds, rounds))
            await second.kill()
            await ask_until(lambda: bool(prometheus.ask('up{job="acu-ledger-finance"} == 0')))
            await second.start()
        owner = await asyncpg.connect(owner_url)
        try:
            await seen(prometheus, owner)
            return Played(await read_books(first, owner), begin, datetime.now(UTC))
        finally:
            await owner.close()
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def seen(prometheus: Prometheus, owner: asyncpg.Connection) -> None:
    """Returns once every figure and every rule is of all that is booked."""
    await ask_until(lambda: bool(prometheus.ask("acu_ledger_breakage_usd > 0")))
    last = await owner.fetchval(f"SELECT max(xid)::text::bigint FROM {CELL}.entries")
    await ask_until(lambda: len(prometheus.ask(f"acu_ledger_rollup_cursor > {last}")) == 2)
    while True:
        begin = datetime.now(UTC)
        # A group may rest on what another records, and its instants lie a little before its evaluation.
        for _ in range(3):
            since = datetime.now(UTC)
            await ask_until(lambda since=since: min(prometheus.evaluated().values()) > since)
        seconds = ceil((datetime.now(UTC) - begin).total_seconds()) + 1
        if prometheus.ask(f"min(min_over_time(up[{seconds}s]))")[0].value == 1:
            return  # No port was too slow for a scrape meanwhile: what it shows is then taken for gone.


async def read_books(server: Server, owner: asyncpg.Connection) -> Books:
    """By the command line, as finance would."""
    by = [f"--by={name}" for name in ("plan", "card", "kind", "lever", "key_owner")]
    margin, trial = await asyncio.gather(_cli(server, "margin", *by), _cli(server, "trial-balance"))
    accounts = {
        commodity: {each["account"]: each["balance"] for each in trial[commodity]}
        for commodity in ("dollars", "credits")
    }
    journal = [dict(row) for row in await owner.fetch(JOURNAL)]
    return Books(margin["rows"], accounts["dollars"], accounts["credits"], journal)


async def _cli(server: Server, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "books",
        *arguments,
        "--json",
        "--target",
        server.back_office,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(said)


def two_servers(urls: Any, folder: Path, ports: Sequence[Sequence[int]]) -> list[Server]:
    """On one database, each on its ports."""
    config = configuration(folder)
    return [
        Server(name, environment(urls, each), folder / "logs", config=config)
        for name, each in zip("ab", ports, strict=True)
    ]


def ports_of_two() -> list[list[int]]:
    """Four for each."""
    found = free_ports(2 * len(FREE_PORTS))
    return [found[: len(FREE_PORTS)], found[len(FREE_PORTS) :]]
