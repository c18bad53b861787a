"""Labels, under which work is done: what it was for, by key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

INTERNAL_LABEL = "internal."
"""Labels that begin so are stored, and leave by no public door: neither returned nor filtered by."""

NOTHING: Mapping[str, str] = MappingProxyType({})
"""No labels, no details."""
