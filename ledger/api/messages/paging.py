"""Page tokens: where a page has ended, sealed to the list and the filters that it belongs to.

What is sealed is the key of the page's last row, or of the last that was looked at. A token is opaque, stays
right while others write, and is refused by another list or with other filters; the size of the page may
change from call to call (AIP-158). The seal has no secret, for a token gives nothing that a request does not:
so what is in one is checked like a field, and nothing rests on who made it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final, TypeVar, cast

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import limits
from ledger.api.messages.validation import Problems
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

_SEAL_BYTES: Final = 8

Key = TypeVar("Key", bound=tuple[int | str, ...])
ListRequest = (
    pb.ListReservationsRequest
    | pb.ListChargesRequest
    | wallet.ListGrantsRequest
    | wallet.ListTransactionsRequest
    | wallet.GetUsageReportRequest
    | wallet.GetStatementRequest
    | wallet.ListEventsRequest
    | admin.ListCustomersRequest
    | admin.ListCustomerGrantsRequest
    | admin.ListTopUpsRequest
    | admin.ListRateCardsRequest
    | admin.ListRateCardVersionsRequest
    | admin.ListCostVersionsRequest
    | admin.ListPlanVersionsRequest
    | admin.ListKeysRequest
    | admin.ListAuditEventsRequest
    | admin.ListAllEventsRequest
)


def page_size(problems: Problems, request: ListRequest) -> int:
    """Rows of a page; the default, if unset."""
    size = request.page_size
    if not 0 <= size <= limits.PAGE_SIZE_MAX:
        most = limits.PAGE_SIZE_MAX
        problems.add("page_size", f"is {size}; 1 to {most} is allowed, 0 for {limits.PAGE_SIZE_DEFAULT}")
    return size or limits.PAGE_SIZE_DEFAULT


def last_key(problems: Problems, request: ListRequest, first: Key) -> Key:
    """The key of the row after which the page begins; `first` if the request continues no page.

    A key has the parts of `first`, and no number above the one that stands there.
    """
    token = request.page_token
    if not token:
        return first
    key = _key(token, request, first) if len(token) <= limits.PAGE_TOKEN_LENGTH_MAX else None
    if key is None:
        problems.add("page_token", "is not a next_page_token of this method with these filters")
        return first
    return key


def next_page_token(request: ListRequest, key: tuple[int | str, ...]) -> str:
    """The token of the page after the row of this key."""
    body = _body(key)
    return urlsafe_b64encode(_seal(request, body) + body).decode("ascii").rstrip("=")


def token_below(request: ListRequest, sequence: int | None) -> str:
    """The token of the page of what is older than a sequence; None: there is none, and it is empty."""
    return next_page_token(request, (sequence,)) if sequence is not None else ""


def _key(token: str, request: ListRequest, like: Key) -> Key | None:
    try:
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        body = sealed[_SEAL_BYTES:]
        if sealed[:_SEAL_BYTES] != _seal(request, body):
            return None
        key = json.loads(body)
        # Half a surrogate pair is text in JSON, and cannot be written.
        if not isinstance(key, list) or _body(tuple(key)) != body:
            return None
    except (ValueError, RecursionError):
        return None
    if [type(part) for part in key] != [type(part) for part in like]:
        return None
    return cast("Key", tuple(key)) if all(map(_is_part, key, like)) else None


def _is_part(part: int | str, like: int | str) -> bool:
    if isinstance(part, str) or isinstance(like, str):
        return "\0" not in str(part)
    return 0 <= part <= like


def _body(key: tuple[int | str, ...]) -> bytes:
    return json.dumps(key, separators=(",", ":"), ensure_ascii=False).encode()


def _seal(request: ListRequest, body: bytes) -> bytes:
    """Binds a key to the method (each has a request type of its own) and to its filters."""
    filters = type(request)()
    filters.CopyFrom(request)  # type: ignore[arg-type]
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    name = request.DESCRIPTOR.full_name.encode("ascii")
    return blake2b(
        name + b"\0" + filters.SerializeToString(deterministic=True) + b"\0" + body, digest_size=_SEAL_BYTES
    ).digest()
