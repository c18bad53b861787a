"""Who may call what: every method states its scope in its descriptor, or the server does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

from ledger.errors import OperatorError
from ledger.v1 import scope_pb2

_PREFIX: Final = "SCOPE_"


class ScopeMissingError(OperatorError):
    """A method that declares no scope: it would be open to any key."""


def scopes_of(services: Iterable[ServiceDescriptor]) -> Mapping[str, str]:
    """Which scope each method of these services needs, by `service/method`.

    Raises ScopeMissingError if a method does not declare who may call it.
    """
    return {
        f"{service.full_name}/{method.name}": _scope_of(method)
        for service in services
        for method in service.methods
    }


def scopes_of_items(service: ServiceDescriptor, item: Descriptor) -> Mapping[str, str]:
    """Which scope each write of a batch's item needs, by its name: that of the method with this request."""
    by_request = {method.input_type.full_name: _scope_of(method) for method in service.methods}
    requests = {field.name: field.message_type for field in item.fields}
    return {name: by_request[request.full_name] for name, request in requests.items() if request is not None}


def _scope_of(method: MethodDescriptor) -> str:
    if scope_pb2.scope not in method.GetOptions().Extensions:
        raise ScopeMissingError(f"{method.full_name} declares no (ledger.v1.scope)")
    scope = method.GetOptions().Extensions[scope_pb2.scope]
    if scope == scope_pb2.SCOPE_UNSPECIFIED:
        raise ScopeMissingError(f"{method.full_name} declares the scope SCOPE_UNSPECIFIED")
    return scope_pb2.Scope.Name(scope).removeprefix(_PREFIX).lower()
