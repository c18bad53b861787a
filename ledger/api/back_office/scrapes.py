"""Who may scrape finance's metrics: whoever has a key of that scope, as at its service, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from grpc import StatusCode

from ledger.access.table import AUTHORIZATION, Authorize
from ledger.api.errors import code_of, status_of
from ledger.metrics.port import Admit, HttpRefusal

SCOPE: Final = "finance"

_HTTP: Final = {
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


def admit_finance(authorize: Authorize) -> Admit:
    """Looks at a scrape as the service looks at a call."""

    def admit(sent: Sequence[str]) -> HttpRefusal | None:
        try:
            authorize([(AUTHORIZATION, authorization) for authorization in sent]).require(SCOPE)
        except Exception as error:  # noqa: BLE001 -- whatever it was, nobody is let in by it
            status = status_of(error, "a scrape of finance's metrics")
            refused = _HTTP.get(code_of(status), HTTPStatus.INTERNAL_SERVER_ERROR)
            return HttpRefusal(refused, status.message)
        return None

    return admit
