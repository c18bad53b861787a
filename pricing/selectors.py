"""Selectors: exact names, or globs whose `*` stands for any text, nothing included."""

from __future__ import annotations

import re
from collections.abc import Iterable


def is_glob(pattern: str) -> bool:
    """Tell a glob from an exact name."""
    return "*" in pattern


def matches(patterns: Iterable[str], name: str) -> bool:
    """Tell whether one of the patterns matches a name."""
    return any(covers(pattern, name) for pattern in patterns)


def covers(wide: str, narrow: str) -> bool:
    """Tell whether all that `narrow` matches is matched by `wide` too.

    A `*` of `narrow` may stand for a letter that `wide` never names, so only a `*` of `wide` can take it:
    matching the pattern itself as text decides.
    """
    if "*" not in wide:
        return wide == narrow
    return re.fullmatch(".*".join(map(re.escape, wide.split("*"))), narrow, re.DOTALL) is not None
