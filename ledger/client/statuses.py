"""What a server, or gRPC itself, answers in place of a response, as an error of the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ledger.client.errors import (
    CreditsError,
    DeadlineExceeded,
    FieldViolation,
    InternalFault,
    NotNow,
    Refused,
    TlsFailed,
    Unavailable,
)

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where gRPC carries a `google.rpc.Status`."""
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Where gRPC carries how long a server asks to be left alone."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def _leaves(family: type[CreditsError]) -> Iterator[type[CreditsError]]:
    yield family
    for child in family.__subclasses__():
        yield from _leaves(child)


OF_REASON: Final[Mapping[str, type[CreditsError]]] = {
    each.reason: each
    for family in (InternalFault, NotNow, Refused)
    for each in _leaves(family)
    if each.reason
}
"""The class of each reason that a server answers with."""

_OF_CODE: Final[Mapping[grpc.StatusCode, type[CreditsError]]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # gRPC's own word for a call that the server had not come to.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: InternalFault,
    grpc.StatusCode.UNKNOWN: InternalFault,
}
"""Where no reason came: something on the way answered, or nothing did."""

_HANDSHAKES: Final = {
    "CERTIFICATE_VERIFY_FAILED": "no authority of ca signed the server's certificate",
    "Hostname Verification Check failed": "the server's certificate is for other names: call one of them",
    "WRONG_VERSION_NUMBER": "the server speaks no TLS here",
}
"""What gRPC says of a handshake that no repeat will mend, and what it means."""
_CLOSED: Final = "Socket closed"
"""What gRPC says where plaintext meets TLS, and where a server ends."""
_MAY_BE_TLS: Final = (
    "a server that speaks TLS is reached with ca, one that asks for a certificate with certificate and"
    " certificate_key"
)
_ELSEWHERE: Final = (
    "It is a method of the server's other port (public API or back office), or of a later version."
)
"""What it means where a server does not know a method."""


def error_of_status(status: Status) -> CreditsError:
    """The error that a `google.rpc.Status` reports."""
    reason, metadata, fields, delay = "", _NOTHING, [], None
    for detail in status.details:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, MappingProxyType(dict(info.metadata))
        elif detail.Unpack(bad):
            fields = [FieldViolation(each.field, each.description) for each in bad.field_violations]
        elif detail.Unpack(retry):
            delay = retry.retry_delay.ToMilliseconds() / 1_000
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _class_of(reason, code)(
        status.message,
        code=code,
        reason=reason or code.name,
        metadata=metadata,
        fields=tuple(fields),
        retry_after_seconds=delay,
    )


def error_of_call(error: grpc.aio.AioRpcError) -> CreditsError:
    """The error that a failed call reports: the server's own, or gRPC's where none came."""
    pushback = None
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return error_of_status(Status.FromString(value))
        if key == PUSHBACK_KEY:
            pushback = int(value) / 1_000
    code, message = error.code(), error.details() or "no answer"
    for said, meant in _HANDSHAKES.items():
        if said in message:
            return TlsFailed(f"{meant} ({message})", code=code)
    if _CLOSED in message:
        message = f"{message}; {_MAY_BE_TLS}"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        message = f"{message} {_ELSEWHERE}"
    return _class_of("", code)(message, code=code, reason=code.name, retry_after_seconds=pushback)


def _class_of(reason: str, code: grpc.StatusCode) -> type[CreditsError]:
    return OF_REASON.get(reason) or _OF_CODE.get(code, Refused)
