"""What the service must answer: each request is done to the model, and the reply is held against it.

The model says what happens, in credits. Only ids and instants are taken from the reply, and an instant must
lie in the model's minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from books_model import NEVER, ModelCharge, ModelHold, ModelLot
from google.protobuf.timestamp_pb2 import Timestamp
from histories_account import Account, Figures
from histories_requests import Bill, bill_of, minutes_of, timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.amounts import nanousd_of

MINUTE = timedelta(minutes=1)
DEFAULT_TTL_MINUTES = 5
CARD = "small"
PLANS = {
    "available": ("ALLOW_IF_AVAILABLE", 0, None),
    "capped": ("CAP", 0, None),
    "strict": ("REJECT", 0, None),
    "overdraft-0": ("ALLOW_WITH_OVERDRAFT", 0, None),
    "overdraft-15": ("ALLOW_WITH_OVERDRAFT", 15, None),
    "overdraft-40": ("ALLOW_WITH_OVERDRAFT", 40, 120),
    "budget-25": ("ALLOW_IF_AVAILABLE", 0, 25),
}
"""What each does with a charge beyond its hold, how far it overdraws, and its budget of all work in all."""


_HOLD_EXPIRES, _LOT_STARTS, _LOT_EXPIRES = range(3)
"""The order of what is due at one instant."""


class WouldSucceedError(AssertionError):
    """The model has done what the service has refused."""


class Refusal(NamedTuple):
    """A request that has no effect, and what its error says."""

    reason: str
    metadata: Mapping[str, str] = {}


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
    alone: bool = True
    """One caller at a time: else an update may answer with what a later one has made of the customer."""
    account: Account = field(default_factory=Account)
    customer: admin.Customer = field(default_factory=admin.Customer)
    holds: dict[str, Hold] = field(default_factory=dict)
    charges: dict[str, Charged] = field(default_factory=dict)
    grants: list[wallet.Grant] = field(default_factory=list)
    """As issued; one for each lot of the model, those that reversals and refunds made without an id."""
    statement: list[tuple[int, wallet.Transaction]] = field(default_factory=list)
    """Lines with the minutes in which they were booked; those of what was due with their exact instants."""
    answered: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Requests that had an effect, and their replies, by request id."""

    # -- Requests --------------------------------------------------------------------------------

    def judge(self, request: Any, outcome: Any) -> None:
        """Do a request to the model, and hold its reply or its `Refusal` against what the model says."""
        before = self.answered.get(request.request_id)
        if before is not None:
            expected = self._repeated(request, *before, outcome)
        else:
            expected = self._HANDLERS[type(request)](self, request, outcome)
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
            _succeeded(outcome)
            again.customer.CopyFrom(self.customer if self.alone else outcome.customer)
        return again

    def _create(self, request: admin.CreateCustomerRequest, reply: Any) -> Any:
        _succeeded(reply)
        self.customer.CopyFrom(request.customer)
        self.customer.zone = "UTC"
        self.customer.multiplier = "1"
        self.customer.created_at.CopyFrom(self._now(reply.customer.created_at))
        self._follow_plan()
        self._book(self.account.figures(), None)
        return admin.CreateCustomerResponse(customer=self.customer, sequence=self.account.sequence)

    def _update(self, request: admin.UpdateCustomerRequest, reply: Any) -> Any:
        if "plan" in request.update_mask.paths and request.customer.plan not in PLANS:
            return Refusal("PLAN_NOT_FOUND")
        _succeeded(reply)
        for path in request.update_mask.paths:
            setattr(self.customer, path, getattr(request.customer, path))
        self._follow_plan()
        self._book(self.account.figures(), None)
        customer = self.customer if self.alone else reply.customer
        return admin.UpdateCustomerResponse(customer=customer, sequence=self.account.sequence)

    def _follow_plan(self) -> None:
        self.account.over_capture, self.account.limit, self.account.budget = PLANS[self.customer.plan]

    def _grant(self, request: admin.IssueGrantRequest, reply: Any) -> Any:
        _succeeded(reply)
        account, now = self.account, self.account.minute
        amount, paid = request.amount_micros, nanousd_of(request.paid_total_usd or "0")
        starts = self._minute(request.effective_at) if request.HasField("effective_at") else now
        expires = self._minute(request.expires_at) if request.HasField("expires_at") else NEVER
        before = account.figures()
        account.granted += amount
        account.paid_nanousd += paid
        account.grant(amount, paid // amount, request.priority, request.scope or None, starts, expires)
        self._book(before, "GRANT", grant_id=reply.grant.grant_id)
        issued = wallet.Grant(
            grant_id=reply.grant.grant_id,
            kind=request.kind,
            amount_micros=amount,
            effective_at=request.effective_at if starts > now else self._now(reply.grant.effective_at),
            expires_at=request.expires_at if request.HasField("expires_at") else None,
            priority=request.priority,
            scope=request.scope,
        )
        self.grants.append(issued)
        return admin.IssueGrantResponse(
            grant=shown_grant(account.lots[-1], issued),
            paid_total_usd=request.paid_total_usd or "0",
            balance=self.balance(),
            sequence=account.sequence,
        )

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
        _succeeded(reply)
        reservation_id = reply.reservation.reservation_id
        self._book(before, "RESERVE", request.labels, reservation_id=reservation_id)
        shown = pb.Reservation(
            reservation_id=reservation_id,
            customer_id=self.customer_id,
            created_at=self._now(reply.reservation.created_at),
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
        _succeeded(reply)
        self._book(before, "EXTEND", hold.shown.labels, reservation_id=request.reservation_id)
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
        _succeeded(reply)
        ids = {"reservation_id": request.reservation_id, "charge_id": reply.charge.charge_id}
        self._book(before, "COMMIT", hold.shown.labels, **ids)
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
        _succeeded(reply)
        self._book(before, "RELEASE", hold.shown.labels, reservation_id=request.reservation_id)
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
        _succeeded(reply)
        self._book(before, "CHARGE", request.labels, charge_id=reply.charge.charge_id)
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
        _succeeded(reply)
        self._book(before, "REVERSAL", subject.shown.labels, **ids)
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
        _succeeded(reply)
        refunded = left - charge.collected.left
        self._book(before, "REFUND", charge.shown.labels, charge_id=request.charge_id)
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
        account.minute += minutes
        for at, event, number in sorted(self._due()):
            if at >= self.began + (account.minute + 1) * MINUTE:
                break
            if event == _HOLD_EXPIRES:
                self.expire_hold(list(self.holds)[number])
            elif event == _LOT_STARTS:
                before = account.figures()
                account.start_lot(account.lots[number])
                self._book(before, "GRANT_STARTED", at=at, grant_id=self.grants[number].grant_id)
            elif account.lots[number].count("available", "held"):
                before = account.figures()
                account.expire_lot(account.lots[number])
                self._book(before, "GRANT_EXPIRED", at=at, grant_id=self.grants[number].grant_id)
            else:
                account.expire_lot(account.lots[number])

    def expire_hold(self, reservation_id: str) -> None:
        """Let a hold expire."""
        before, hold = self.account.figures(), self.holds[reservation_id]
        self.account.expire_hold(hold.model)
        at = hold.shown.expires_at.ToDatetime(UTC)
        self._book(before, "RESERVATION_EXPIRED", hold.shown.labels, at=at, reservation_id=reservation_id)

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
            if lot.status in ("PENDING", "ACTIVE") and lot.expires < NEVER:
                due.append((self.began + lot.expires * MINUTE, _LOT_EXPIRES, number))
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

    # -- Parts -----------------------------------------------------------------------------------

    def _book(
        self,
        before: Figures,
        kind: str | None,
        labels: pb.Labels | None = None,
        at: datetime | None = None,
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
        self.statement.append((self.account.minute, line))

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
            created_at=self._now(reply.charge.created_at),
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

    def _minute(self, instant: Timestamp) -> int:
        return (instant.ToDatetime(UTC) - self.began) // MINUTE

    def _now(self, reported: Timestamp) -> Timestamp:
        """Take an instant from a reply, if it may be now."""
        return self.at(self.account.minute, reported)

    def at(self, minute: int, reported: Timestamp) -> Timestamp:
        """Take an instant from a reply, if it lies in this minute."""
        assert self._minute(reported) == minute, f"{reported} is not in minute {minute} after {self.began}"
        return reported

    _HANDLERS = {  # noqa: RUF012 -- one table
        admin.CreateCustomerRequest: _create,
        admin.UpdateCustomerRequest: _update,
        admin.IssueGrantRequest: _grant,
        pb.ReserveRequest: _reserve,
        pb.ExtendReservationRequest: _extend,
        pb.CommitReservationRequest: _commit,
        pb.ReleaseReservationRequest: _release,
        pb.ChargeRequest: _charge,
        pb.ReverseChargeRequest: _reverse,
        pb.RefundRequest: _refund,
    }


def shown_grant(lot: ModelLot, issued: wallet.Grant) -> wallet.Grant:
    """Give a grant as it is shown."""
    held, remaining = lot.count("held"), lot.count("held", "available", "pending")
    status = lot.status if remaining or lot.status != "ACTIVE" else "DEPLETED"
    status = "PENDING_START" if status == "PENDING" else status
    shown = _copy(issued)
    shown.remaining_micros, shown.held_micros = remaining, held
    shown.expired_micros = lot.count("expired")
    shown.consumed_micros = shown.amount_micros - remaining - shown.expired_micros
    shown.status = wallet.GrantStatus.Value(f"GRANT_STATUS_{status}")
    return shown


def _succeeded(reply: Any) -> None:
    if isinstance(reply, Refusal):
        raise WouldSucceedError(f"refused: {reply}")


def _cost(charge: pb.Charge) -> int:
    return sum(line.credits_micros for line in charge.lines)


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
