"""Labels, under which work is done: what it was for, by key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LABEL_KEY_LENGTH_MAX: Final = 63
"""Characters of a label's key: what Kubernetes and Prometheus users are used to."""

LABEL_VALUE_LENGTH_MAX: Final = 128
"""Characters of a label's value: an id fits."""

INTERNAL_LABEL = "internal."
"""Labels that begin so are stored, and leave by no public door: neither returned nor filtered by."""

NOTHING: Mapping[str, str] = MappingProxyType({})
"""No labels, no details."""
