"""Labels and quantities of usage, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.v1.credit_service_pb2 import Labels

_NAMED: Final = ("project", "user", "agent", "session")
"""Labels that have fields of their own."""


def label(labels: Labels, key: str) -> str:
    """The value of a label; empty where there is none."""
    return str(getattr(labels, key)) if key in _NAMED else labels.other.get(key, "")


def show_quantities(quantities: Mapping[str, str]) -> str:
    """Quantities as they were reported: input 1200, output 7."""
    return ", ".join(f"{name} {quantity}" for name, quantity in sorted(quantities.items()))
