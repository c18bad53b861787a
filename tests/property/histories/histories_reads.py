"""Every read, held against the mirror."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from books_model import DAY_MINUTES, NEVER
from histories_mirror import Mirror
from histories_requests import timestamp

from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

NEW_LIFE = timedelta(days=30)
SETTLED = timedelta(seconds=17)
"""How long ago an instant is as of which a server answers, by its estimate of the database's clock."""
_TOTALS = ("granted", "used", "expired", "voided", "refunded", "rolled_over")
CREDIT_PLACES, DOLLAR_PLACES = 6, 9


class Reads:
    """The reads of one server; each asserts that it answers what the mirror says."""

    def __init__(self, public: grpc.Channel, back_office: grpc.Channel) -> None:
        self._credit = CreditServiceStub(public)
        self._wallet = WalletServiceStub(public)
        self._finance = FinanceServiceStub(back_office)

    def all(self, mirror: Mirror, page_size: int) -> None:
        """Compare everything."""
        self.balance(mirror)
        self.past_balances(mirror)
        self.statement(mirror, page_size)
        self.reservations(mirror, page_size)
        self.charges(mirror, page_size)
        self.grants(mirror, page_size)
        self.trial_balance(mirror)
        self.budgets(mirror)
        self.months(mirror)
        for reservation_id in mirror.holds:
            self.reservation(mirror, reservation_id)
            self.charges(mirror, page_size, reservation_id)
        for charge_id in mirror.charges:
            self.charge(mirror, charge_id)

    def balance(self, mirror: Mirror) -> None:
        """Compare the balance, in all, by kind of grant, and what expires next."""
        read = self._wallet.GetBalance(wallet.GetBalanceRequest(customer_id=mirror.customer_id))
        assert read.balance == mirror.balance()
        kinds: dict[int, list[int]] = {}
        live = list(zip(mirror.account.lots, mirror.grants, strict=True))
        for lot, grant in live:
            sums = kinds.setdefault(grant.kind, [0, 0])
            sums[0] += lot.count("available")
            sums[1] += lot.count("held")
        reported = {each.kind: [each.available_micros, each.held_micros] for each in read.by_kind}
        assert reported == {kind: sums for kind, sums in kinds.items() if any(sums)}
        mortal = [lot for lot, _ in live if lot.count("available") and lot.expires < NEVER]
        assert read.HasField("next_expiry") == bool(mortal)
        if mortal:
            # Lots that two reversals made in one minute are told apart by the order that they burn in.
            first = min((lot.expires, lot.order[2]) for lot in mortal)
            ending = [lot for lot in mortal if (lot.expires, lot.order[2]) == first]
            assert read.next_expiry.amount_micros == sum(lot.count("available") for lot in ending)
            mirror.at(ending[0].expires, read.next_expiry.expires_at)

    def budgets(self, mirror: Mirror) -> None:
        """Compare what the plan's budget has counted, and leaves."""
        read = self._wallet.GetBudgets(wallet.GetBudgetsRequest(customer_id=mirror.customer_id)).budgets
        account = mirror.account
        expected = [] if account.budget is None else [(account.budget, account.counted, account.leaves())]
        assert [(each.limit_micros, each.used_micros, each.left_micros) for each in read] == expected

    def past_balances(self, mirror: Mirror) -> None:
        """Compare the balance at the last settled instants of the statement."""
        now = self._wallet.GetBalance(wallet.GetBalanceRequest(customer_id=mirror.customer_id)).as_of
        settled = now.ToDatetime(UTC) - SETTLED
        known: dict[datetime, pb.Balance] = {}
        for line in reversed(self._lines(mirror, 1000)):
            known[line.effective_at.ToDatetime(UTC)] = line.balance_after
        for instant in [each for each in sorted(known) if each < settled][-3:]:
            request = wallet.GetBalanceRequest(customer_id=mirror.customer_id, as_of=timestamp(instant))
            assert self._wallet.GetBalance(request).balance == known[instant], instant

    def statement(self, mirror: Mirror, page_size: int) -> None:
        """Compare the lines of the statement; those of what was due with their instants."""
        if not all(grant.grant_id for grant in mirror.grants):
            self.grants(mirror, 50)
        lines = self._lines(mirror, page_size)
        assert len(lines) == len(mirror.statement)
        for read, (minute, expected, grant) in zip(lines, reversed(mirror.statement), strict=True):
            if grant is not None:
                expected.grant_id = mirror.grants[grant].grant_id
            if not expected.HasField("effective_at"):
                mirror.at(minute, read.effective_at)
                read.ClearField("effective_at")
            assert read == expected

    def _lines(self, mirror: Mirror, page_size: int) -> list[wallet.Transaction]:
        request = wallet.ListTransactionsRequest(customer_id=mirror.customer_id, page_size=page_size)
        return list(_pages(self._wallet.ListTransactions, request, "transactions"))

    def months(self, mirror: Mirror) -> None:
        """Compare what the statements of all months add up to, and that each begins as the last one ended."""
        figures, closing = mirror.account.figures(), pb.Balance()
        totals: Counter[str] = Counter()
        days = mirror.account.minute // DAY_MINUTES
        months = dict.fromkeys(f"{mirror.began + timedelta(days=day):%Y-%m}" for day in range(days + 1))
        for month in months:
            read = self._wallet.GetStatement(
                wallet.GetStatementRequest(customer_id=mirror.customer_id, month=month)
            )
            assert read.opening == closing
            closing = read.closing
            totals.update({name: getattr(read, f"{name}_micros") for name in _TOTALS})
        assert closing == mirror.balance()
        assert totals == {
            "granted": figures.granted,
            "used": figures.consumed,
            "expired": figures.expired,
            "voided": figures.voided,
            "refunded": figures.refunded,
            "rolled_over": mirror.account.rolled_over.total(),
        }

    def reservation(self, mirror: Mirror, reservation_id: str) -> None:
        """Compare one reservation."""
        request = pb.GetReservationRequest(customer_id=mirror.customer_id, reservation_id=reservation_id)
        read = self._credit.GetReservation(request).reservation
        assert read == mirror.shown_reservation(reservation_id)

    def reservations(self, mirror: Mirror, page_size: int) -> None:
        """Compare the list of reservations, all and those in each state and of each project."""
        shown = [mirror.shown_reservation(reservation_id) for reservation_id in reversed(mirror.holds)]
        request = pb.ListReservationsRequest(customer_id=mirror.customer_id, page_size=page_size)
        assert list(_pages(self._credit.ListReservations, request, "reservations")) == shown
        for state in {each.state for each in shown}:
            request.state = state
            filtered = [each for each in shown if each.state == state]
            assert list(_pages(self._credit.ListReservations, request, "reservations")) == filtered
        request.ClearField("state")
        for project in {each.labels.project for each in shown} - {""}:
            request.labels.project = project
            filtered = [each for each in shown if each.labels.project == project]
            assert list(_pages(self._credit.ListReservations, request, "reservations")) == filtered

    def charge(self, mirror: Mirror, charge_id: str) -> None:
        """Compare one charge."""
        request = pb.GetChargeRequest(customer_id=mirror.customer_id, charge_id=charge_id)
        assert self._credit.GetCharge(request).charge == mirror.charges[charge_id].shown

    def charges(self, mirror: Mirror, page_size: int, reservation_id: str = "") -> None:
        """Compare the list of charges, all or those of a reservation."""
        request = pb.ListChargesRequest(
            customer_id=mirror.customer_id, page_size=page_size, reservation_id=reservation_id
        )
        shown = [each.shown for each in reversed(mirror.charges.values())]
        expected = [each for each in shown if reservation_id in ("", each.reservation_id)]
        assert list(_pages(self._credit.ListCharges, request, "charges")) == expected

    def grants(self, mirror: Mirror, page_size: int) -> None:
        """Compare the grants; of those that no request made the ids are not known before."""
        request = wallet.ListGrantsRequest(customer_id=mirror.customer_id, page_size=page_size)
        read = list(_pages(self._wallet.ListGrants, request, "grants"))
        for grant, number in zip(read, reversed(range(len(mirror.grants))), strict=True):
            lot, issued = mirror.account.lots[number], mirror.grants[number]
            issued.grant_id = issued.grant_id or grant.grant_id
            if not issued.HasField("effective_at"):
                issued.effective_at.CopyFrom(mirror.at(lot.starts, grant.effective_at))
                if lot in mirror.account.heirs:
                    assert grant.expires_at.ToDatetime() - grant.effective_at.ToDatetime() == NEW_LIFE
                    issued.expires_at.CopyFrom(grant.expires_at)
            assert grant == mirror.shown_grant(number)

    def trial_balance(self, mirror: Mirror) -> None:
        """Compare the accounts of the customer's books, in both commodities."""
        read = self._finance.GetTrialBalance(finance.GetTrialBalanceRequest(customer_id=mirror.customer_id))
        figures = mirror.account.figures()
        stored = figures._asdict()
        stored["issued"], stored["debt"] = -stored.pop("granted"), -stored["debt"]
        assert {each.account: _units(each.balance, CREDIT_PLACES) for each in read.credits} == stored
        dollars = {each.account: _units(each.balance, DOLLAR_PLACES) for each in read.dollars}
        assert dollars == mirror.account.dollars()

    def journal(self) -> None:
        """Ask the service to verify all that it has written."""
        read = self._finance.VerifyJournal(finance.VerifyJournalRequest())
        assert read.holds, read.violations


def _pages(method: Any, request: Any, field: str) -> Iterator[Any]:
    """Give all items of a list, page by page."""
    asked = type(request)()
    asked.CopyFrom(request)
    while True:
        page = method(asked)
        yield from getattr(page, field)
        if not page.next_page_token:
            return
        asked.page_token = page.next_page_token


def _units(decimal: str, places: int) -> int:
    whole, _, fraction = decimal.lstrip("-").partition(".")
    assert len(fraction) == places, decimal
    return (-1 if decimal.startswith("-") else 1) * (int(whole) * 10**places + int(fraction))
