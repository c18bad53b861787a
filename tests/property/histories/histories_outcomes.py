"""What a request may come to: a reply, or its refusal; and what a model says that disagrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class WouldSucceedError(AssertionError):
    """The model has done what the service has refused."""


class Refusal(NamedTuple):
    """A request that has no effect, and what its error says."""

    reason: str
    metadata: Mapping[str, str] = {}


def succeeded(outcome: Any) -> None:
    """Take it that the service has done what the model has."""
    if isinstance(outcome, Refusal):
        raise WouldSucceedError(f"refused: {outcome}")
