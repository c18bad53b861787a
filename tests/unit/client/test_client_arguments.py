"""What no request can carry is refused by the client, which names the field, and sends nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ledger.client import Credits, InvalidArgument, SyncCredits
from ledger.v1.credit_service_pb2 import BatchItem
from ledger.v1.usage_pb2 import UsageItem

NOWHERE = "127.0.0.1:1"
HALF = "\ud800"
"""A half of a character: a text that no message can carry."""
NO_TEXTS = (7, b"x", HALF, ["x"])
NO_INSTANTS = (datetime(2026, 1, 1), "2026-01-01T00:00:00Z", date(2026, 1, 1), 7)  # noqa: DTZ001 -- it is the point
NO_DAYS = ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC), 7)
NO_AMOUNTS = (1.5, True, "5", Decimal("NaN"), Decimal("-Infinity"), Decimal("1e-7"), 10**13, 10**40)
NO_COLLECTIONS = ("abc", 7, [7], [HALF])

WRONG: dict[str, tuple[object, ...]] = {
    "customer_id": (None, *NO_TEXTS),
    "reservation_id": NO_TEXTS,
    "charge_id": NO_TEXTS,
    "request_id": NO_TEXTS,
    "reason": (None, *NO_TEXTS),
    "month": (None, *NO_TEXTS),
    "cursor": (None, *NO_TEXTS),
    "labels": (7, ["team"], {"team": 1}, {1: "x"}, {"team": HALF}, {HALF: "x"}, {"user": None}),
    "amount": NO_AMOUNTS,
    "minimum": NO_AMOUNTS,
    "estimate": (True, Decimal("NaN"), 10**13),
    "ttl_seconds": (1.5, "5", True, 2**70, float("nan")),
    "timeout_seconds": ("5", 0, -1, float("nan"), float("inf"), True),
    "as_of": NO_INSTANTS,
    "expires_before": NO_INSTANTS,
    "first_day": (None, *NO_DAYS),
    "last_day": NO_DAYS,
    "label_keys": NO_COLLECTIONS,
    "types": NO_COLLECTIONS,
    "give_up": NO_COLLECTIONS,
    "final": (None, 1, "no"),
    "already_used": (None, 1, "no"),
    "state": (7, "never", []),
    "on_outage": ("maybe", None, True),
}
"""By the name of an argument; None stands where it is to be given."""

NO_USAGE = ("abc", 7, [7], UsageItem(), {"tokens": {}})
"""What is no list of items is a TypeError, as what is no write is: it says what it wants."""
OF_A_TYPE = {"usage": NO_USAGE, "estimate": ("5", 1.5, None, [7]), "item": (None, {}, "x")}

RIGHT: dict[str, object] = {
    "customer_id": "acme",
    "reservation_id": "res_1",
    "charge_id": "chg_1",
    "reason": "why",
    "month": "2026-01",
    "first_day": date(2026, 1, 1),
    "final": True,
    "item": BatchItem(),
    "estimate": 1,
}
"""What a call has beside."""


def _methods(client: type) -> dict[str, Callable[..., Any]]:
    found = inspect.getmembers(client, inspect.isfunction)
    own = {name: method for name, method in found if not name.startswith("_")}
    return {name: each for name, each in own.items() if name not in ("open", "close", "with_access")}


def _cases(table: dict[str, tuple[object, ...]]) -> Iterator[tuple[str, str]]:
    for name, method in _methods(Credits).items():
        for argument in inspect.signature(method).parameters:
            if argument in table:
                yield name, argument


def _given(name: str, argument: str, value: object) -> dict[str, object]:
    """The arguments of a call that are all right but for one."""
    parameters = inspect.signature(_methods(Credits)[name]).parameters
    given = {
        each: RIGHT[each]
        for each, about in parameters.items()
        if each in RIGHT and (about.default is inspect.Parameter.empty)
    }
    if "amount" in parameters and "usage" in parameters and argument != "usage":
        given["amount"] = 1
    if "usage" in parameters and "amount" not in parameters:
        given["usage"] = []
    if name == "reverse" and argument != "reservation_id":
        given["charge_id"] = "chg_1"
    return {**given, argument: value}


@contextmanager
def opened(client: type) -> Iterator[Callable[[str, dict[str, object]], object]]:
    """Calls of a client that reaches nobody; what is awaited is, and lists are begun."""
    if client is SyncCredits:
        with SyncCredits(NOWHERE, timeout_seconds=0.1) as waiting:
            yield lambda name, given: getattr(waiting, name)(**given)
        return
    with asyncio.Runner() as runner:
        credits = Credits(NOWHERE, timeout_seconds=0.1)
        runner.run(credits.open())

        async def called(name: str, given: dict[str, object]) -> object:
            answer = getattr(credits, name)(**given)
            return await answer if inspect.isawaitable(answer) else answer

        yield lambda name, given: runner.run(called(name, given))
        runner.run(credits.close())


def test_every_argument_has_its_row() -> None:
    """Of each public method, those that the two clients and their sessions begin with."""
    known = {*WRONG, *OF_A_TYPE, "self"}
    for name, method in _methods(Credits).items():
        assert inspect.signature(method).parameters.keys() <= known, name


@pytest.mark.parametrize("client", [Credits, SyncCredits])
def test_what_no_request_can_carry_is_named(client: type) -> None:
    """By its field, with what is allowed; an InvalidArgument, as the service's own, and a ValueError."""
    with opened(client) as call:
        for name, argument in _cases(WRONG):
            for value in WRONG[argument]:
                with pytest.raises(InvalidArgument) as refused:
                    call(name, _given(name, argument, value))
                [violation] = refused.value.fields
                assert violation.field.partition(".")[0] == argument, (name, argument, value)
                assert "allowed: " in violation.description
                assert isinstance(refused.value, ValueError)
                str(refused.value).encode()


@pytest.mark.parametrize("client", [Credits, SyncCredits])
def test_what_is_no_usage_is_a_type_error(client: type) -> None:
    """In the caller's words, whatever protobuf says of it."""
    with opened(client) as call:
        for name, argument in _cases(OF_A_TYPE):
            for value in OF_A_TYPE[argument]:
                with pytest.raises(TypeError, match=r"usage|amount|BatchItem"):
                    call(name, _given(name, argument, value))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None])
def test_a_client_waits_for_some_time(seconds: Any) -> None:
    """A patience that is none is refused where the client is made."""
    with pytest.raises(InvalidArgument, match="timeout_seconds"):
        Credits(NOWHERE, timeout_seconds=seconds)
