"""Selectors: exact names, or globs whose `*` stands for any text, nothing included."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


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
    if not is_glob(wide):
        return wide == narrow
    return re.fullmatch(_regex(wide), narrow, re.DOTALL) is not None


def compile_patterns(patterns: Iterable[str]) -> Callable[[str], object]:
    """Compile patterns to a test of a name; what it returns is true if one of them matches."""
    return re.compile("|".join(map(_regex, patterns)), re.DOTALL).fullmatch


def _regex(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.split("*")))
