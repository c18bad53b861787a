"""What the demo sells: real agent work, reserved, priced, committed and booked through the API.

A rate card each. The agent sessions of the first part are driven round by round, as a product's backend does
it while the agent works; the records of the others are replayed, whole agent sessions once in every style.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, IssueGrantRequest
from ledger.cli.demonstration.agent_sessions import Round, read_sessions
from ledger.cli.demonstration.styles_table import STYLES
from ledger.cli.output.amounts import nanousd
from ledger.cli.replaying.csv_records import Record, RecordFormat, RecordOptions, open_records
from ledger.cli.replaying.customers import PLAN, ReplayedCustomers, find_card
from ledger.cli.replaying.replay import Observer, Replay, ReplayTally
from ledger.cli.services import Ledger, call
from ledger.client import Charge
from ledger.finance.v1.finance_service_pb2 import ExplainChargeRequest, ExplainChargeResponse
from ledger.sample import SAMPLE_RECORDS
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID, GRANT_KIND_PROMO

ROUNDS_FILE = SAMPLE_RECORDS / "agent_rounds.csv"
SESSIONS_FILE = SAMPLE_RECORDS / "agent_sessions.csv"
ROUNDS_CARD = "agents"
_PAID_MICROS = 100_000_000
_PAID_USD = "100"
_PROMO_MICROS = 250_000
_GRANT_CREDITS = 500
"""Of the others: they buy as many again when they run out."""


@dataclass(frozen=True, slots=True)
class Sale:
    """A file of records, sold on one card to a few customers."""

    title: str
    file: Path
    record_format: RecordFormat
    card: str
    options: RecordOptions
    customers: int = 1


STYLE_PARTS = tuple(
    Sale(f"Agent sessions: {card}", SESSIONS_FILE, RecordFormat.AGENT_SESSIONS, card, RecordOptions())
    for card in STYLES
)
PARTS = (
    *STYLE_PARTS,
    Sale(
        "LLM requests",
        SAMPLE_RECORDS / "llm_requests.csv",
        RecordFormat.LLM_REQUESTS,
        "completions",
        RecordOptions(model="acme/code-13b"),
        customers=5,
    ),
    Sale(
        "Image jobs on GPUs",
        SAMPLE_RECORDS / "gpu_jobs.csv",
        RecordFormat.GPU_JOBS,
        "images",
        RecordOptions(resource="l40s"),
    ),
)


async def sell_part(
    ledger: Ledger,
    part: Sale,
    run_id: str,
    *,
    advance: Callable[[int], None],
    warn: Callable[[str], None],
    observe: Observer | None = None,
) -> ReplayTally:
    """Replays the records of a part. Raises CreditsError."""
    card, credit_price_nanousd = await find_card(ledger, part.card)
    customers = ReplayedCustomers(ledger, f"{run_id}/{part.card}", card, credit_price_nanousd, _GRANT_CREDITS)
    replay = Replay(ledger, customers, run_id, part.customers, advance=advance, warn=warn, observe=observe)
    with open_records(part.file, part.record_format, part.options) as records:
        return await replay.run(records)


def read_agent_sessions() -> list[Record]:
    """The sessions that are sold in every style."""
    with open_records(SESSIONS_FILE, RecordFormat.AGENT_SESSIONS, RecordOptions()) as records:
        return [row for row in records if isinstance(row, Record)]


async def open_studio(ledger: Ledger, run_id: str) -> str:
    """Makes the customer whose agents are driven round by round; answers with its id.

    It has bought 100 credits for $100 and got a quarter of one for nothing, which burns first: it is worth
    nothing in dollars, so what it pays for earns no revenue. Raises CreditsError.
    """
    customer_id = f"{run_id}/studio"
    customer = Customer(customer_id=customer_id, display_name="Studio", plan=PLAN, rate_card=ROUNDS_CARD)
    await call(
        ledger.admin.CreateCustomer,
        CreateCustomerRequest(request_id=f"{run_id}/create", customer=customer),
    )
    for name, kind, amount_micros, paid_usd in (
        ("paid", GRANT_KIND_PAID, _PAID_MICROS, _PAID_USD),
        ("promo", GRANT_KIND_PROMO, _PROMO_MICROS, "0"),
    ):
        request = IssueGrantRequest(
            request_id=f"{run_id}/{name}",
            customer_id=customer_id,
            amount_micros=amount_micros,
            kind=kind,
            paid_total_usd=paid_usd,
        )
        await call(ledger.admin.IssueGrant, request)
    return customer_id


async def sell_rounds(
    ledger: Ledger, customer_id: str, run_id: str, advance: Callable[[int], None]
) -> ReplayTally:
    """Drives each recorded session as one reservation with a commit a round. Raises CreditsError."""
    tally = ReplayTally()
    for session in read_sessions(ROUNDS_FILE):
        reservation_id = await _reserve(ledger, customer_id, run_id, session)
        for index, one in enumerate(session):
            charge = await ledger.credits.commit(
                customer_id,
                reservation_id,
                one.usage(),
                final=index == len(session) - 1,
                request_id=f"{run_id}/{one.session_id}/round-{one.number}",
            )
            explain = ExplainChargeRequest(customer_id=customer_id, charge_id=charge.charge_id)
            tally.records += 1
            tally.add(charge, await call(ledger.finance.ExplainCharge, explain))
            advance(1)
    return tally


async def _reserve(ledger: Ledger, customer_id: str, run_id: str, session: Sequence[Round]) -> str:
    """Holds an estimate: as many rounds as there will be, each like the first."""
    first = session[0]
    held = await ledger.credits.reserve(
        customer_id,
        usage=first.usage(times=len(session)),
        labels={"agent": "coder", "session": first.session_id},
        request_id=f"{run_id}/{first.session_id}",
    )
    return held.reservation_id


class Blend:
    """Cost of the agent sessions' tokens by model: as booked, and as the harness reported it."""

    def __init__(self) -> None:
        self.booked_nanousd: Counter[str] = Counter()
        self.reported_nanousd: Counter[str] = Counter()
        with SESSIONS_FILE.open(encoding="utf-8", newline="") as stream:
            self._reported = {
                row["session_id"]: int(Decimal(row["reported_cost_usd"]).scaleb(9).to_integral_value())
                for row in csv.DictReader(stream)
            }

    def observe(self, record: Record, _charge: Charge, explained: ExplainChargeResponse) -> None:
        """Adds one session."""
        for line in explained.lines:
            if line.kind == "tokens":
                self.booked_nanousd[line.name] += nanousd(line.cost_usd)
                self.reported_nanousd[line.name] += self._reported[record.key]
