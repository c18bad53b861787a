"""What callers read of prices: cards, differences, and why a document is refused."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.errors import StatusError, refused, some_of
from ledger.api.messages import encode
from ledger.api.messages.validation import InvalidArgumentError
from ledger.books.model.refusals import RefusalReason
from ledger.prices.versions import InForce
from ledger.publishing.publisher import MarginBelowFloorError, PlansInUseError
from ledger.store.prices.versions import RevisionRefusedError

Answer = TypeVar("Answer")

_DIFFERENCES: Final = {
    kind: pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{kind}") for kind in pricing.DifferenceKind
}


def rate_card(card: InForce[pricing.RateCard]) -> pb.RateCard:
    """A card, without its document."""
    content = card.content
    return pb.RateCard(
        name=content.name,
        revision=content.revision,
        version=content.version,
        credit_name=content.credit_name,
        credit_price_usd=encode.decimal(content.credit_price_nanousd),
        effective_from=encode.timestamp(card.version.effective_from),
        rules=len(content.rules),
        number=card.version.number,
    )


def difference(found: pricing.Difference) -> pb.Difference:
    """What two documents differ in."""
    return pb.Difference(
        kind=_DIFFERENCES[found.kind],
        rule=found.rule,
        path=found.path,
        before=found.before,
        after=found.after,
        change_percent=found.change_percent,
    )


async def of_field(field: str, doing: Awaitable[Answer]) -> Answer:
    """What becomes of the document, or the version, that a field of the request has.

    Raises InvalidArgumentError with what is wrong with it, StatusError where it is refused.
    """
    try:
        return await doing
    except pricing.ConfigError as error:
        raise InvalidArgumentError([(field, str(problem)) for problem in error.problems]) from error
    except MarginBelowFloorError as error:
        raise refused(
            RefusalReason.MARGIN_BELOW_FLOOR,
            name=error.card,
            margin_percent=error.margin_percent,
            floor_percent=error.floor_percent,
        ) from error
    except PlansInUseError as error:
        raise refused(
            RefusalReason.PLANS_IN_USE,
            plans=some_of(error.plans),
            customers=str(error.customers),
        ) from error
    except RevisionRefusedError as error:
        latest = error.latest
        reason = RefusalReason.RATE_REVISION_TAKEN if error.is_taken else RefusalReason.RATE_REVISION_PASSED
        raise refused(
            reason,
            name=latest.name,
            revision=str(error.draft.revision),
            latest_revision=str(latest.revision),
            latest_number=str(latest.number),
        ) from error


def no_such_version(name: str, number: int) -> StatusError:
    """The refusal of a version that nobody has published."""
    return refused(RefusalReason.RATE_VERSION_NOT_FOUND, name=name, number=str(number))
