"""The customers of a replay: made on first sight, each with credits enough at its card's credit price."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from ledger.admin.v1.admin_service_pb2 import (
    CreateCustomerRequest,
    Customer,
    GetRateCardRequest,
    IssueGrantRequest,
    ListRateCardsRequest,
)
from ledger.cli.output.amounts import dollars, nanousd
from ledger.cli.services import Ledger, call
from ledger.client import CreditsError, PlanNotFound
from ledger.errors import ClientError
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID

PLAN = "standard"
"""Of the built-in plans and of the sample's; where a configuration has no such plan, its first by name."""
GRANT_CREDITS_MAX = 10**9
GRANT_NANOUSD_MAX = 10**17
"""The API's own limits for one grant: a billion credits, a hundred million dollars."""
_MICROS = 1_000_000
_IN_FLIGHT = 32


class UnknownCardError(ClientError):
    """No card, or none of that name: the message lists those in force."""


async def find_card(ledger: Ledger, name: str | None) -> tuple[str, int]:
    """The card of a name, or the only one in force: its name and its credit price in nano-dollars.

    Raises UnknownCardError, and CreditsError where the server cannot be asked.
    """
    names = await _card_names(ledger)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        problem = "give --card" if name is None else f"no card {name!r}"
        raise UnknownCardError(f"{problem}; the cards in force are: {', '.join(names) or 'none'}")
    answer = await call(ledger.admin.GetRateCard, GetRateCardRequest(name=name))
    return name, nanousd(answer.rate_card.credit_price_usd)


async def _card_names(ledger: Ledger) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        page = await call(ledger.admin.ListRateCards, ListRateCardsRequest(page_token=token))
        names += [card.name for card in page.rate_cards]
        token = page.next_page_token
        if not token:
            return names


class ReplayedCustomers:
    """The customers of one run. A run of the same id finds them, and their credits, as they are.

    A grant is of `grant_credits`, or fewer where those would be worth more than one grant may be.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: str,
        card: str,
        credit_price_nanousd: int,
        grant_credits: int = GRANT_CREDITS_MAX,
    ) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._card = card
        self._plan = PLAN
        worth_max = GRANT_NANOUSD_MAX // credit_price_nanousd if credit_price_nanousd else grant_credits
        credits_each = max(1, min(grant_credits, worth_max))
        self.grant_micros = credits_each * _MICROS
        self._paid_total_usd = dollars(credits_each * credit_price_nanousd)
        self._grants: dict[str, int] = {}
        self._refused: dict[str, CreditsError] = {}
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    def customer_id(self, name: str) -> str:
        """Of this run alone."""
        return f"{self._run_id}/{name}"

    def refusal(self, customer_id: str) -> CreditsError | None:
        """Why a customer could not be made."""
        return self._refused.get(customer_id)

    async def open(self, customer_ids: Collection[str]) -> None:
        """Makes those that are new to this run, each with its first grant."""
        new = sorted(set(customer_ids) - self._grants.keys() - self._refused.keys())
        await asyncio.gather(*(self._open(customer_id) for customer_id in new))

    async def _open(self, customer_id: str) -> None:
        try:
            async with self._slots:
                await self._create(customer_id)
                self._grants[customer_id] = 1
                await self._grant(customer_id)
        except CreditsError as refused:
            self._refused[customer_id] = refused

    async def _create(self, customer_id: str) -> None:
        try:
            await call(self._ledger.admin.CreateCustomer, self._create_request(customer_id))
        except PlanNotFound as refused:
            plans = refused.metadata.get("allowed")
            if not plans:
                raise
            self._plan = plans.split(", ")[0]
            await call(self._ledger.admin.CreateCustomer, self._create_request(customer_id))

    def _create_request(self, customer_id: str) -> CreateCustomerRequest:
        return CreateCustomerRequest(
            request_id=f"{self._run_id}/create",
            customer=Customer(customer_id=customer_id, plan=self._plan, rate_card=self._card),
        )

    async def add_credits(self, customer_id: str, required_micros: int) -> None:
        """Issues as many more grants as cover an amount. Raises CreditsError."""
        for _ in range(-(-required_micros // self.grant_micros)):
            replayed = True
            while replayed:
                self._grants[customer_id] += 1
                replayed = await self._grant(customer_id)

    async def _grant(self, customer_id: str) -> bool:
        """Issues the customer's next grant; whether an earlier run of this id had done so."""
        request = IssueGrantRequest(
            request_id=f"{self._run_id}/grant-{self._grants[customer_id]}",
            customer_id=customer_id,
            amount_micros=self.grant_micros,
            kind=GRANT_KIND_PAID,
            paid_total_usd=self._paid_total_usd,
        )
        return (await call(self._ledger.admin.IssueGrant, request)).replayed
