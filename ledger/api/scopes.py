"""Who may call what: every method states its scope in its descriptor, or the server does not start."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import ServiceDescriptor

from ledger.v1 import scope_pb2


class ScopeMissingError(Exception):
    """A method that declares no scope: it would be open to any key."""


def require_scopes(services: Iterable[ServiceDescriptor]) -> None:
    """Raises ScopeMissingError if a method of these services does not declare who may call it."""
    for service in services:
        for method in service.methods:
            if scope_pb2.scope not in method.GetOptions().Extensions:
                raise ScopeMissingError(f"{method.full_name} declares no (ledger.v1.scope)")
            if method.GetOptions().Extensions[scope_pb2.scope] == scope_pb2.SCOPE_UNSPECIFIED:
                raise ScopeMissingError(f"{method.full_name} declares the scope SCOPE_UNSPECIFIED")
