"""What the service must answer: each request is done to the model, and the reply is held against it.

The model says what happens, in credits. Only ids and instants are taken from the reply, and an instant must
lie in the model's minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import histories_grants as grants
from books_model import DAY_MINUTES, NEVER, ModelCharge, ModelDaily, ModelHold, ModelLot
from google.protobuf.timestamp_pb2 import Timestamp
from histories_account import Account, Figures
from histories_outcomes import Refusal, succeeded
from histories_requests import Bill, bill_of, minutes_of, timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

MINUTE = timedelta(minutes=1)
DEFAULT_TTL_MINUTES = 5
CARD = "small"


class PlanTerms(NamedTuple):
    """What a plan does with a charge beyond its hold, how far it overdraws, and its budget of all in all."""

    over_capture: str = "ALLOW_IF_AVAILABLE"
    overdraft: int = 0
    budget: int | None = None
    grant: str = ""
    """The name of what recurs each day."""
    kind: wallet.GrantKind.ValueType = wallet.GRANT_KIND_UNSPECIFIED
    daily: ModelDaily | None = None


PLANS = {
    "available": PlanTerms(),
    "capped": PlanTerms("CAP"),
    "strict": PlanTerms("REJECT"),
    "overdraft-0": PlanTerms("ALLOW_WITH_OVERDRAFT"),
    "overdraft-15": PlanTerms("ALLOW_WITH_OVERDRAFT", 15),
    "overdraft-40": PlanTerms("ALLOW_WITH_OVERDRAFT", 40, 120),
    "budget-25": PlanTerms(budget=25),
    "daily-10": PlanTerms(
        grant="ten", kind=wallet.GRANT_KIND_SUBSCRIPTION, daily=ModelDaily(10, 1, 0, 0, 7, None)
    ),
    "daily-6": PlanTerms(
        over_capture="ALLOW_WITH_OVERDRAFT",
        overdraft=15,
        grant="six",
        kind=wallet.GRANT_KIND_PROMO,
        daily=ModelDaily(6, 0, 1, 3, 10**6, 2 * DAY_MINUTES),
    ),
}

_STATUSES = {"PENDING": "PENDING_START", "UNPAID": "PENDING_PAYMENT"}

_HOLD_EXPIRES, _LOT_STARTS, _GRANT_RECURS, _LOT_EXPIRES = range(4)
"""The order of what is due at one instant."""


@dataclass
class Hold:
    """A reservation: the model's, and as it must be shown."""

    model: ModelHold
    shown: pb.Reservation


@dataclass
class Charged:
    """A charge: the model's (None: a part of a reservation), what it collected, and as it must be shown."""

    model: ModelHold | None
    collected: ModelCharge
    shown: pb.Charge


@dataclass
class Mirror:
    """All that is to be known of one customer."""

    customer_id: str
    began: datetime
    """The minute 0; a midnight, where credits are to recur."""
    alone: bool = True
    """One caller at a time: else an update may answer with what a later one has made of the customer."""
    account: Account = field(default_factory=Account)
    customer: admin.Customer = field(default_factory=admin.Customer)
    holds: dict[str, Hold] = field(default_factory=dict)
    charges: dict[str, Charged] = field(default_factory=dict)
    grants: list[wallet.Grant] = field(default_factory=list)
    """As issued; one for each lot of the model, those that reversals and refunds made without an id."""
    statement: list[tuple[int, wallet.Transaction, int | None]] = field(default_factory=list)
    """Lines with the minutes in which they were booked, and the places of their grants among `grants`; those
    of what was due with their exact instants."""
    answered: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Requests that had an effect, and their replies, by request id."""

    # -- Requests --------------------------------------------------------------------------------

    def judge(self, request: Any, outcome: Any) -> None:
        """Do a request to the model, and hold its reply or its `Refusal` against what the model says."""
        before = self.answered.get(request.request_id)
        if before is not None:
            expected = self._repeated(request, *before, outcome)
        else:
            handlers = {**self._HANDLERS, **grants.HANDLERS}
            expected = handlers[type(request)](self, request, outcome)
        if isinstance(expected, Refusal):
            assert isinstance(outcome, Refusal), f"{expected} was to be answered, not {outcome}"
            assert outcome.reason == expected.reason
            assert expected.metadata.items() <= outcome.metadata.items(), outcome
            return
        assert outcome == expected, f"answered:\n{outcome}\nexpected:\n{expected}"
        self.answered.setdefault(request.request_id, (request, outcome))

    def _repeated(self, request: Any, first: Any, reply: Any, outcome: Any) -> Any:
        if type(first) is not type(request) or first != request:
            return Refusal("REQUEST_ID_REUSED")
        again = type(reply)()
        again.CopyFrom(reply)
        again.replayed = True
        if isinstance(reply, admin.UpdateCustomerResponse):
            succeeded(outcome)
            again.customer.CopyFrom(self.customer if self.alone else outcome.customer)
        if isinstance(reply, grants.SHOW_GRANT_NOW):
            succeeded(outcome)
            again.grant.CopyFrom(self._grant_now(reply.grant.grant_id) if self.alone else outcome.grant)
        return again

    def _create(self, request: admin.CreateCustomerRequest, reply: Any) -> Any:
        succeeded(reply)
        self.customer.CopyFrom(request.customer)
        self.customer.zone = "UTC"
        self.customer.multiplier = "1"
        self.customer.created_at.CopyFrom(self.now(reply.customer.created_at))
        self.book(self.account.figures(), None)
        created = admin.CreateCustomerResponse(customer=self.customer, sequence=self.account.sequence)
        self._follow_plan()
        return created

    def _update(self, request: admin.UpdateCustomerRequest, reply: Any) -> Any:
        if "plan" in request.update_mask.paths and request.customer.plan not in PLANS:
            return Refusal("PLAN_NOT_FOUND")
        succeeded(reply)
        for path in request.update_mask.paths:
            setattr(self.customer, path, getattr(request.customer, path))
        self.book(self.account.figures(), None)
        customer = self.customer if self.alone else reply.customer
        updated = admin.UpdateCustomerResponse(customer=customer, sequence=self.account.sequence)
        if "plan" in request.update_mask.paths:
            self._follow_plan()
        return updated

    def _follow_plan(self) -> None:
        """Go by the customer's plan; what recurs by it is granted by the clock, at once."""
        account, terms = self.account, PLANS[self.customer.plan]
        account.over_capture, account.limit, account.budget = terms[:3]
        if terms.daily is None:
            return
        before = account.figures()
        made = account.come_to(self.customer.plan, terms.daily)
        if made is not None:
            self._keep_recurring(made, terms)
            self.book(before, "GRANT", grant=len(self.grants) - 1)

    def _reserve(self, request: pb.ReserveRequest, reply: Any) -> Any:
        account, bill = self.account, bill_of(request)
        if bill.unpriced is not None:
            return Refusal("UNPRICED_USAGE", bill.unpriced)
        up_to = request.fill == pb.FILL_UP_TO
        minimum = (request.minimum_micros or 1) if up_to else None
        minutes = minutes_of(request.ttl) if request.HasField("ttl") else DEFAULT_TTL_MINUTES
        before = account.figures()
        hold = account.reserve(bill.needs, minutes, minimum)
        if hold is None:
            required = bill.asked if minimum is None else min(minimum, bill.asked)
            return self._over_budget(required) or self._insufficient(required)
        succeeded(reply)
        reservation_id = reply.reservation.reservation_id
        self.book(before, "RESERVE", request.labels, reservation_id=reservation_id)
        shown = pb.Reservation(
            reservation_id=reservation_id,
            customer_id=self.customer_id,
            created_at=self.now(reply.reservation.created_at),
            expires_at=self.at(hold.expires, reply.reservation.expires_at),
            labels=request.labels if request.HasField("labels") else None,
            rate_card=CARD,
        )
        self.holds[reservation_id] = Hold(hold, shown)
        return pb.ReserveResponse(
            reservation=self.shown_reservation(reservation_id),
            balance=self.balance(),
            sequence=account.sequence,
        )

    def _extend(self, request: pb.ExtendReservationRequest, reply: Any) -> Any:
        hold = self.holds.get(request.reservation_id)
        if hold is None:
            return Refusal("RESERVATION_NOT_FOUND")
        before, model = self.account.figures(), hold.model
        minutes = minutes_of(request.ttl) if request.HasField("ttl") else 0
        reported = self.account.extend(model, request.amount_micros, minutes)
        if reported in ("INSUFFICIENT_CREDITS", "BUDGET_EXCEEDED"):
            return self._over_budget(request.amount_micros) or self._insufficient(request.amount_micros)
        if reported != "ok":
            return Refusal(reported)
        succeeded(reply)
        self.book(before, "EXTEND", hold.shown.labels, reservation_id=request.reservation_id)
        if request.HasField("ttl") and self.account.minute + minutes == model.expires:
            hold.shown.expires_at.CopyFrom(self.at(model.expires, reply.reservation.expires_at))
        return pb.ExtendReservationResponse(
            reservation=self._after_write(request.reservation_id),
            balance=self.balance(),
            sequence=self.account.sequence,
        )

    def _commit(self, request: pb.CommitReservationRequest, reply: Any) -> Any:
        hold = self.holds.get(request.reservation_id)
        if hold is None:
            return Refusal("RESERVATION_NOT_FOUND")
        model, bill = hold.model, bill_of(request)
        late, priced, charged = model.state == "EXPIRED", model.priced, model.charged
        before = self.account.figures()
        reported = self.account.commit(model, bill.needs, stated=bill.is_stated, final=request.final)
        if reported == "OVER_CAPTURE":
            held, required = str(self.account.found), str(bill.asked)
            return Refusal(reported, {"held_micros": held, "required_micros": required})
        if reported != "ok":
            return Refusal(reported)
        succeeded(reply)
        ids = {"reservation_id": request.reservation_id, "charge_id": reply.charge.charge_id}
        self.book(before, "COMMIT", hold.shown.labels, **ids)
        collected = model.charged - charged
        shown = self._keep_charge(bill, model, collected, model.priced - priced, reply, hold.shown.labels)
        shown.reservation_id = request.reservation_id
        shown.late, shown.final = late, request.final
        return pb.CommitReservationResponse(
            charge=shown,
            reservation=self._after_write(request.reservation_id),
            balance=self.balance(),
            sequence=self.account.sequence,
        )

    def _release(self, request: pb.ReleaseReservationRequest, reply: Any) -> Any:
        hold = self.holds.get(request.reservation_id)
        if hold is None:
            return Refusal("RESERVATION_NOT_FOUND")
        before = self.account.figures()
        reported = self.account.release(hold.model)
        if reported != "ok":
            return Refusal(reported)
        succeeded(reply)
        self.book(before, "RELEASE", hold.shown.labels, reservation_id=request.reservation_id)
        return pb.ReleaseReservationResponse(
            reservation=self._after_write(request.reservation_id),
            balance=self.balance(),
            sequence=self.account.sequence,
        )

    def _charge(self, request: pb.ChargeRequest, reply: Any) -> Any:
        bill = bill_of(request)
        if bill.unpriced is not None and not request.already_used:
            return Refusal("UNPRICED_USAGE", bill.unpriced)
        before = self.account.figures()
        model = self.account.charge(bill.needs, used=request.already_used)
        if model is None:
            return self._over_budget(bill.asked) or self._insufficient(bill.asked)
        succeeded(reply)
        self.book(before, "CHARGE", request.labels, charge_id=reply.charge.charge_id)
        labels = request.labels if request.HasField("labels") else None
        shown = self._keep_charge(bill, model, model.charged, model.priced, reply, labels)
        return pb.ChargeResponse(charge=shown, balance=self.balance(), sequence=self.account.sequence)

    def _reverse(self, request: pb.ReverseChargeRequest, reply: Any) -> Any:
        by_charge = request.WhichOneof("subject") == "charge_id"
        charge = self.charges.get(request.charge_id) if by_charge else None
        hold = None if by_charge else self.holds.get(request.reservation_id)
        if charge is None and hold is None:
            return Refusal("CHARGE_NOT_FOUND" if by_charge else "RESERVATION_NOT_FOUND")
        model = hold.model if hold else charge.model if charge else None
        if model is None:
            return Refusal("CHARGE_NOT_REVERSIBLE")
        subject = hold or charge
        assert subject is not None
        ids = {"reservation_id": request.reservation_id} if hold else {}
        undone = self._undone(request.reservation_id) if hold else [charge] if charge else []
        returned, lots = model.left, len(self.account.lots)
        before = self.account.figures()
        reported = self.account.reverse(model)
        if reported != "ok":
            return Refusal(reported)
        succeeded(reply)
        self.book(before, "REVERSAL", subject.shown.labels, **ids)
        for each in undone:
            each.shown.reversed = True
            self.account.cost_nanousd -= _cost(each.shown)
        self.grants += [self._heir(lot) for lot in self.account.lots[lots:]]
        return pb.ReverseChargeResponse(
            returned_micros=returned, balance=self.balance(), sequence=self.account.sequence
        )

    def _refund(self, request: pb.RefundRequest, reply: Any) -> Any:
        charge = self.charges.get(request.charge_id)
        if charge is None:
            return Refusal("CHARGE_NOT_FOUND")
        left, lots = charge.collected.left, len(self.account.lots)
        before = self.account.figures()
        reported = self.account.refund(charge.collected, request.amount_micros or None)
        if reported != "ok":
            return Refusal(reported, {"left_micros": str(left)})
        succeeded(reply)
        refunded = left - charge.collected.left
        self.book(before, "REFUND", charge.shown.labels, charge_id=request.charge_id)
        charge.shown.refunded_micros += refunded
        self.grants += [self._heir(lot) for lot in self.account.lots[lots:]]
        return pb.RefundResponse(
            refunded_micros=refunded, balance=self.balance(), sequence=self.account.sequence
        )

    def _heir(self, lot: ModelLot) -> wallet.Grant:
        """Give a grant that a reversal or a refund has made: its id and its instants are not known."""
        old = self.account.heirs[lot]
        of = self.grants[self.account.lots.index(old)] if old else None
        return wallet.Grant(
            kind=of.kind if of else wallet.GRANT_KIND_ADJUSTMENT,
            amount_micros=len(lot.credits),
            priority=of.priority if of else 0,
            scope=of.scope if of else "",
        )

    def _undone(self, reservation_id: str) -> list[Charged]:
        return [each for each in self.charges.values() if each.shown.reservation_id == reservation_id]

    # -- The clock -------------------------------------------------------------------------------

    def pass_minutes(self, minutes: int) -> None:
        """Let the clock run: what has become due is booked in the order in which it was due."""
        account = self.account
        end = account.minute + minutes
        while True:
            at, event, number = min(self._due(), default=(datetime.max.replace(tzinfo=UTC), 0, 0))
            if at >= self.began + (end + 1) * MINUTE:
                break
            account.minute = (at - self.began) // MINUTE
            self._pass(at, event, number)
        account.minute = end

    def _pass(self, at: datetime, event: int, number: int) -> None:
        account, before = self.account, self.account.figures()
        if event == _HOLD_EXPIRES:
            self.expire_hold(list(self.holds)[number])
        elif event == _LOT_STARTS:
            account.start_lot(account.lots[number])
            self.book(before, "GRANT_STARTED", at=at, grant=number)
        elif event == _GRANT_RECURS:
            self._renew(sorted(account.recurring)[number], at)
        else:
            account.expire_lot(account.lots[number])
            self.book(before, "GRANT_EXPIRED", at=at, grant=number)

    def _renew(self, plan: str, at: datetime) -> None:
        """What rolls over moves no credits from account to account; then there are those of the day."""
        account, before = self.account, self.account.figures()
        made = account.renew(plan, goes_on=plan == self.customer.plan)
        for lot in made:
            self._keep_recurring(lot, PLANS[plan], at)
        if made[:-1]:
            self.book(before, None)
        if made:
            self.book(before, "GRANT", at=at, grant=len(self.grants) - 1)

    def _keep_recurring(self, lot: ModelLot, terms: PlanTerms, at: datetime | None = None) -> None:
        """Take note of credits that recur, or have rolled over: their id is not known."""
        kept = wallet.Grant(
            kind=terms.kind,
            amount_micros=len(lot.credits),
            effective_at=timestamp(at) if at else None,
            expires_at=timestamp(self.began + lot.expires * MINUTE),
            priority=lot.priority,
            recurring=terms.grant,
        )
        self.grants.append(kept)

    def expire_hold(self, reservation_id: str) -> None:
        """Let a hold expire."""
        before, hold = self.account.figures(), self.holds[reservation_id]
        self.account.expire_hold(hold.model)
        at = hold.shown.expires_at.ToDatetime(UTC)
        self.book(before, "RESERVATION_EXPIRED", hold.shown.labels, at=at, reservation_id=reservation_id)

    def _due(self) -> list[tuple[datetime, int, int]]:
        """Give what the clock will do: when, what, and to which hold or lot."""
        due = [
            (hold.shown.expires_at.ToDatetime(UTC), _HOLD_EXPIRES, number)
            for number, hold in enumerate(self.holds.values())
            if hold.model.state == "OPEN"
        ]
        for number, lot in enumerate(self.account.lots):
            if lot.status == "PENDING":
                due.append((self.began + lot.starts * MINUTE, _LOT_STARTS, number))
            if lot.status in ("PENDING", "ACTIVE") and lot.expires < NEVER and not lot.is_used_up:
                due.append((self.began + lot.expires * MINUTE, _LOT_EXPIRES, number))
        for number, plan in enumerate(sorted(self.account.recurring)):
            due.append((self.began + self.account.recurring[plan].until * MINUTE, _GRANT_RECURS, number))
        return due

    # -- What is shown ---------------------------------------------------------------------------

    def balance(self) -> pb.Balance:
        """Give the balance as it is shown."""
        figures = self.account.figures()
        return pb.Balance(
            available_micros=figures.available,
            held_micros=figures.held,
            pending_micros=figures.pending,
            debt_micros=figures.debt,
        )

    def shown_reservation(self, reservation_id: str) -> pb.Reservation:
        """Give a reservation as it is shown."""
        hold = self.holds[reservation_id]
        held = [c for lot in self.account.lots for c in lot.credits if c.holder is hold.model]
        hold.shown.state = pb.ReservationState.Value(f"RESERVATION_STATE_{hold.model.state}")
        hold.shown.held_micros = len(held)
        hold.shown.charged_micros = hold.model.charged
        return _copy(hold.shown)

    def _after_write(self, reservation_id: str) -> pb.Reservation:
        """Give a reservation as writes after its first show it."""
        shown = self.shown_reservation(reservation_id)
        shown.ClearField("created_at")
        return shown

    def shown_grant(self, number: int) -> wallet.Grant:
        """Give a grant as it is shown."""
        account, lot, shown = self.account, self.account.lots[number], _copy(self.grants[number])
        shown.remaining_micros = lot.count("held", "available", "pending")
        shown.held_micros = lot.count("held")
        shown.expired_micros = lot.count("expired")
        shown.refunded_micros = lot.count("refunded")
        shown.voided_micros = lot.count("voided") + account.owed[lot]
        shown.rolled_over_micros = account.rolled_over[lot]
        stated = lot.count("unpaid")
        shown.remaining_micros += stated if lot.status == "UNPAID" else 0
        shown.voided_micros += stated if lot.status == "VOIDED" else 0
        gone = shown.expired_micros + shown.refunded_micros + shown.voided_micros + shown.rolled_over_micros
        shown.consumed_micros = shown.amount_micros - shown.remaining_micros - gone
        status = _STATUSES.get(lot.status, lot.status)
        shown.status = wallet.GrantStatus.Value(f"GRANT_STATUS_{'DEPLETED' if lot.is_used_up else status}")
        return shown

    def _grant_now(self, grant_id: str) -> wallet.Grant:
        return self.shown_grant([grant.grant_id for grant in self.grants].index(grant_id))

    # -- Parts -----------------------------------------------------------------------------------

    def book(
        self,
        before: Figures,
        kind: str | None,
        labels: pb.Labels | None = None,
        at: datetime | None = None,
        grant: int | None = None,
        **ids: str,
    ) -> None:
        """Take note of an entry, and of its line on the statement if it has moved credits."""
        self.account.sequence += 1
        after = self.account.figures()
        if kind is None or after == before:
            return
        line = wallet.Transaction(
            type=wallet.TransactionType.Value(f"TRANSACTION_TYPE_{kind}"),
            effective_at=timestamp(at) if at else None,
            available_change_micros=after.available - before.available,
            held_change_micros=after.held - before.held,
            debt_change_micros=after.debt - before.debt,
            consumed_micros=after.consumed - before.consumed,
            balance_after=self.balance(),
            labels=labels if labels is not None and labels.ByteSize() else None,
            **ids,
        )
        self.statement.append((self.account.minute, line, grant))

    def _keep_charge(
        self,
        bill: Bill,
        model: ModelHold,
        charged_micros: int,
        priced_micros: int,
        reply: Any,
        labels: pb.Labels | None,
    ) -> pb.Charge:
        shown = pb.Charge(
            charge_id=reply.charge.charge_id,
            customer_id=self.customer_id,
            charged_micros=charged_micros,
            uncollected_micros=priced_micros - charged_micros,
            created_at=self.now(reply.charge.created_at),
            lines=bill.lines,
            labels=labels if labels is not None and labels.ByteSize() else None,
            rate_card=CARD,
        )
        alone = model if isinstance(reply, pb.ChargeResponse) else None
        self.charges[shown.charge_id] = Charged(alone, model.charges[-1], shown)
        self.account.cost_nanousd += bill.cost_nanousd
        return shown

    def _over_budget(self, required: int) -> Refusal | None:
        account = self.account
        if not account.refused_by_budget:
            return None
        figures = {"limit": account.budget, "used": account.counted, "required": required}
        figures["left"] = account.leaves()
        return Refusal(
            "BUDGET_EXCEEDED", {"budget": "all", **{f"{name}_micros": str(n) for name, n in figures.items()}}
        )

    def _insufficient(self, required: int) -> Refusal:
        available = self.account.found
        figures = {"available": available, "required": required, "short": required - available}
        return Refusal("INSUFFICIENT_CREDITS", {f"{name}_micros": str(n) for name, n in figures.items()})

    def minute_of(self, instant: Timestamp) -> int:
        return (instant.ToDatetime(UTC) - self.began) // MINUTE

    def now(self, reported: Timestamp) -> Timestamp:
        """Take an instant from a reply, if it may be now."""
        return self.at(self.account.minute, reported)

    def at(self, minute: int, reported: Timestamp) -> Timestamp:
        """Take an instant from a reply, if it lies in this minute."""
        assert self.minute_of(reported) == minute, f"{reported} is not in minute {minute} after {self.began}"
        return reported

    _HANDLERS = {  # noqa: RUF012 -- one table
        admin.CreateCustomerRequest: _create,
        admin.UpdateCustomerRequest: _update,
        pb.ReserveRequest: _reserve,
        pb.ExtendReservationRequest: _extend,
        pb.CommitReservationRequest: _commit,
        pb.ReleaseReservationRequest: _release,
        pb.ChargeRequest: _charge,
        pb.ReverseChargeRequest: _reverse,
        pb.RefundRequest: _refund,
    }


def _cost(charge: pb.Charge) -> int:
    return sum(line.credits_micros for line in charge.lines)


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
