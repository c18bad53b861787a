"""What histories ask for: requests with small amounts, and what their usage costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from tests.calling import fresh

UNHEARD_OF = "unheard-of"
"""A meter without a price."""

Spent = int | list[tuple[str, int]]
"""An amount of credits, or usage: kinds and quantities, a micro-credit each (`UNHEARD_OF`: no price)."""


@dataclass
class Bill:
    """What a command asks for, in micro-credits by kind of usage (None: stated in credits)."""

    needs: dict[str | None, int] = field(default_factory=dict)
    cost_nanousd: int = 0
    lines: list[pb.ChargeLine] = field(default_factory=list)
    unpriced: dict[str, str] | None = None
    """What a refusal says of the first item that has no price."""

    @property
    def asked(self) -> int:
        """Give the price of all."""
        return sum(self.needs.values())

    @property
    def is_stated(self) -> bool:
        """Tell whether the command states credits, and no usage."""
        return None in self.needs


def hold_of(spent: Spent) -> dict[str, Any]:
    """Give the field of a request that says what is spent."""
    if isinstance(spent, int):
        return {"amount_micros": spent}
    return {"usage": use.UsageList(items=[_item(kind, quantity) for kind, quantity in spent])}


def bill_of(request: Any) -> Bill:
    """Read from a request what it asks for."""
    if not request.HasField("usage"):
        return Bill({None: request.amount_micros})
    bill = Bill()
    for index, item in enumerate(request.usage.items):
        line, micros = _line(item)
        bill.lines.append(line)
        if line.unpriced:
            bill.unpriced = bill.unpriced or {"item": str(index), "kind": line.kind, "name": line.name}
            continue
        bill.needs[line.kind] = bill.needs.get(line.kind, 0) + micros
        bill.cost_nanousd += micros
    return bill


def _item(kind: str, quantity: int) -> use.UsageItem:
    match kind:
        case "tokens":
            return use.UsageItem(tokens=use.TokenUsage(model="acme/small", input=quantity))
        case "compute":
            duration = Duration(seconds=quantity)
            return use.UsageItem(compute=use.ComputeUsage(resource="sandbox", duration=duration))
        case "units":
            return use.UsageItem(units=use.UnitUsage(meter="page", quantity=str(quantity)))
        case _:
            return use.UsageItem(units=use.UnitUsage(meter=UNHEARD_OF, quantity=str(quantity)))


def _line(item: use.UsageItem) -> tuple[pb.ChargeLine, int]:
    """Give the line that a charge shows for an item, and its price."""
    kind = item.WhichOneof("kind")
    if kind == "tokens":
        micros = item.tokens.input
        quantities = {"input": str(micros), "requests": "1"}
        named = ("Tokens", "acme/small")
    elif kind == "compute":
        micros = item.compute.duration.seconds
        quantities = {"duration_seconds": str(micros), "count": "1"}
        named = ("Sandbox time", "sandbox")
    else:
        micros = int(item.units.quantity)
        quantities = {"quantity": str(micros)}
        named = ("Pages", "page")
        if item.units.meter == UNHEARD_OF:
            title, name = f"{kind}: {UNHEARD_OF}", UNHEARD_OF
            line = pb.ChargeLine(title=title, kind=kind, name=name, quantities=quantities, unpriced=True)
            return line, 0
    title, name = named
    line = pb.ChargeLine(title=title, kind=kind, name=name, quantities=quantities, credits_micros=micros)
    return line, micros


def timestamp(instant: datetime) -> Timestamp:
    """Give an instant as a message, exact to the microsecond."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def minutes_of(ttl: Duration) -> int:
    """Give a time to live in minutes."""
    return ttl.ToTimedelta() // timedelta(minutes=1)


def update_of(customer_id: str, path: str, value: str) -> admin.UpdateCustomerRequest:
    """Change a field of a customer."""
    customer = admin.Customer(customer_id=customer_id, **{path: value})
    mask = FieldMask(paths=[path])
    return admin.UpdateCustomerRequest(request_id=fresh(), customer=customer, update_mask=mask)
