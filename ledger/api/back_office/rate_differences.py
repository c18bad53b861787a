"""What a document or a version of prices changes against another version, rate by rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office import rate_messages
from ledger.api.back_office.rate_versions import NUMBER_MAX, RateVersions
from ledger.api.messages import validation
from ledger.api.messages.validation import Problems
from ledger.prices.plans import BUILT_IN, PlanBook
from ledger.prices.reading import in_reader
from ledger.prices.versions import Published
from ledger.store.prices.versions import COST_BOOK, PLANS, Kind


class _Compared(NamedTuple):
    """How documents of a kind are compared."""

    kind: Kind
    read: Callable[[str], Any]
    """Reads a document that nobody has published. Raises ConfigError."""
    differing: Callable[[Any, Any], Iterable[pricing.Difference]]
    """Takes what was before, None where that is nothing, and what comes after."""


def _differing_plans(before: PlanBook | None, after: PlanBook) -> Iterable[pricing.Difference]:
    return pricing.differing_sections((before or BUILT_IN).stated, after.stated, "plans")


_CARDS: Final = _Compared(Kind.CARD, pricing.RateCard.from_document, pricing.differing_cards)
_COSTS: Final = _Compared(Kind.COSTS, pricing.read_costs_text, pricing.differing_costs)
_PLANS: Final = _Compared(Kind.PLANS, PlanBook.from_document, _differing_plans)

_OF_DOCUMENT: Final = {"rate_card": _CARDS, "costs": _COSTS, "plans": _PLANS}
_OF_NUMBER: Final = {"rate_card_number": _CARDS, "cost_number": _COSTS, "plans_number": _PLANS}
_NAMES: Final = {Kind.COSTS: COST_BOOK, Kind.PLANS: PLANS}
"""Of kinds of which there is one document."""


class RateDifferences:
    """Compares documents and versions with what is published."""

    def __init__(self, versions: RateVersions, published: Published) -> None:
        self._versions = versions
        self._published = published

    async def diff(self, request: pb.DiffRatesRequest) -> pb.DiffRatesResponse:
        """The differences to `with_number`: without one, to the newest version, or to the version before.

        Raises InvalidArgumentError where a document cannot be read, StatusError where a version is unknown.
        """
        changed = request.WhichOneof("changed") or ""
        if changed in _OF_DOCUMENT:
            compared = _OF_DOCUMENT[changed]
            reading = in_reader(compared.read, getattr(request, changed))
            after = await rate_messages.of_field(changed, reading)
            name = after.name if compared is _CARDS else _NAMES[compared.kind]
            latest = self._published.latest(compared.kind, name)
            number = request.with_number or (latest.number if latest is not None else 0)
        else:
            compared = _OF_NUMBER[changed]
            name, wanted = _numbered(request, compared.kind)
            after = (await self._versions.read(compared.kind, name, wanted)).content
            number = request.with_number or wanted - 1
        before = await self._versions.read(compared.kind, name, number) if number else None
        return pb.DiffRatesResponse(
            name=name,
            before=self._versions.message(before.version) if before is not None else None,
            differences=await in_reader(_found, compared, before and before.content, after),
        )


def check_fields(request: pb.DiffRatesRequest) -> None:
    """Raises InvalidArgumentError with all that is wrong with a request's fields."""
    problems = Problems()
    validation.integer(problems, "with_number", request.with_number, 0, NUMBER_MAX)
    changed = request.WhichOneof("changed")
    if changed is None:
        allowed = ", ".join([*_OF_DOCUMENT, *_OF_NUMBER])
        problems.add("changed", f"one of {allowed} is required")
    elif changed in _OF_NUMBER:
        name, number = _numbered(request, _OF_NUMBER[changed].kind)
        is_of_card = changed == "rate_card_number"
        if is_of_card:
            validation.identifier(problems, "rate_card_number.name", name)
        validation.integer(problems, f"{changed}.number" if is_of_card else changed, number, 1, NUMBER_MAX)
    problems.raise_if_any()


def _numbered(request: pb.DiffRatesRequest, kind: Kind) -> tuple[str, int]:
    """The name and the number of the version that is compared."""
    if kind is Kind.CARD:
        return request.rate_card_number.name, request.rate_card_number.number
    return _NAMES[kind], request.cost_number if kind is Kind.COSTS else request.plans_number


def _found(compared: _Compared, before: Any, after: Any) -> list[pb.Difference]:
    return [rate_messages.difference(each) for each in compared.differing(before, after)]
