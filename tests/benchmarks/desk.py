"""The pairs decided in memory, by the real books and the real prices, into batches for the store.

It fills journals, and it prepares what the store alone is measured with: the rows are those that the
service would write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pricing
from ledger import books
from ledger.prices.plans import read_files
from ledger.prices.price_book import priced_of
from ledger.sample import SAMPLE_CONFIG
from ledger.store.cells.load import Loaded
from ledger.store.cells.write import Batch, Standing
from tests import batches
from tests.benchmarks import workload

GRANT_MICROS = 10**11
"""A hundred thousand credits: no figure ends for want of them."""
GRANT_NANOUSD = 10**14
_FINGERPRINT = bytes(16)
_TTL = timedelta(seconds=workload.TTL_SECONDS)


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation that waits for its commit."""

    customer: int
    reservation: books.Reservation


class Desk:
    """Customers in memory, ahead of the database by the batches that are not written yet."""

    def __init__(self) -> None:
        config, book = read_files(SAMPLE_CONFIG)
        if book is None:
            raise AssertionError("the sample has plans")
        self._plan = book.plans[workload.PLAN]
        if self._plan.card is None:
            raise AssertionError("the sample plan has a card")
        self._card = config.cards[self._plan.card]
        self._prices = pricing.compile_terms(self._card, config.costs)
        self._terms = books.Terms(self._card.name, 1, 1, self._card.credit_price_nanousd)
        self._wallets: dict[int, books.Wallet] = {}
        self._tokens: dict[int, int] = {}

    def create(self, customer: int, now: datetime) -> books.Decision:
        """A customer, not written yet."""
        decision = books.create(
            customer,
            display_name=workload.customer_id(customer),
            plan=self._plan.name,
            card=None,
            zone="UTC",
            request_id=workload.request_id(),
            fingerprint=_FINGERPRINT,
            now=now,
        )
        self._wallets[customer] = decision.wallet
        return decision

    def grants(self, customers: Iterable[int]) -> Batch:
        """Two grants for each: one that will expire, which is drawn first, and one that never does."""
        batch = Batch(decided_at=datetime.now(UTC))
        for customer in customers:
            for expires_at in (workload.in_a_year(), None):
                grant = books.IssueGrant(
                    workload.request_id(),
                    _FINGERPRINT,
                    amount_micros=GRANT_MICROS,
                    kind=books.GrantKind.PAID,
                    paid_total_nanousd=GRANT_NANOUSD,
                    expires_at=expires_at,
                )
                self._decide(batch, customer, grant)
        return batch

    def reserves(self, customers: Iterable[int]) -> tuple[Batch, list[Hold]]:
        """A hold for each of the customers, who may come more than once."""
        batch, holds = Batch(decided_at=datetime.now(UTC)), []
        for customer in customers:
            reserve = books.Reserve(
                workload.request_id(),
                _FINGERPRINT,
                amount_micros=workload.HOLD_MICROS,
                ttl=_TTL,
                labels=workload.LABELS,
            )
            reservation = self._decide(batch, customer, reserve).reservation
            if reservation is None:
                raise AssertionError("a hold is a reservation")
            holds.append(Hold(customer, reservation))
        return batch, holds

    def commits(self, holds: Iterable[Hold]) -> Batch:
        """The final commit of each hold, priced."""
        batch = Batch(decided_at=datetime.now(UTC))
        for hold in holds:
            command = books.Commit(
                workload.request_id(), _FINGERPRINT, hold.reservation.sequence, None, final=True
            )
            quote = pricing.price(
                workload.USAGE,
                hold.reservation.labels,
                self._prices,
                pricing.Memory(),
                now=batch.decided_at,
            )
            terms = hold.reservation.terms
            priced = priced_of(quote, {}, terms, batch.decided_at)
            self._decide(batch, hold.customer, command, priced, books.Facts(reservation=hold.reservation))
        return batch

    def wallet(self, customer: int) -> books.Wallet:
        """A customer's wallet as the last batch leaves it."""
        return self._wallets[customer]

    def take(self, loaded: Loaded) -> int:
        """A customer as it was loaded, from here on written by nobody else; its number."""
        customer = loaded.wallet.customer
        self._wallets[customer], self._tokens[customer] = loaded.wallet, loaded.token
        return customer

    def _decide(
        self,
        batch: Batch,
        customer: int,
        command: books.Command,
        priced: books.Priced | None = None,
        facts: books.Facts | None = None,
    ) -> books.Decision:
        wallet = self._wallets[customer]
        outcome = books.decide(
            wallet,
            command,
            now=max(batch.decided_at, wallet.last_instant),
            plan=self._plan,
            priced=priced,
            terms=self._terms,
            facts=facts or books.Facts(),
        )
        if isinstance(outcome, books.Refusal):
            raise TypeError(f"refused: {outcome}")
        batches.add(batch, Standing(wallet.sequence, self._tokens[customer]), outcome)
        self._wallets[customer], self._tokens[customer] = outcome.wallet, batch.token
        return outcome
