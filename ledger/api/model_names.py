"""What to write instead of a model's bare name: the form that is expected, and the nearest known name.

Names are those of the public catalog alone: what only the cost book has is nobody's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cache
from itertools import takewhile

from pricing.adapters.vocabulary import asked_of
from pricing.costs.catalog import Catalog, snapshot

_ALIKE = 0.7
"""How much of a name another has to begin with, to be the nearest to it."""


def expected_form(name: str) -> str:
    """What to write instead of a model's bare name."""
    name = name.lower()
    maker, _, _ = asked_of("", name).partition("/")
    found = f"{maker}/{name}"
    if not (maker and _catalog().find(maker, name, "")):
        found = _nearest(name, _by_bare_name()) or ""
    return f"provider/name, such as {found}" if found else "provider/name"


@cache
def _catalog() -> Catalog:
    return Catalog(snapshot())


@cache
def _by_bare_name() -> list[tuple[str, str]]:
    """Bare names in order, each with the whole name by its first provider: makers come before resellers."""
    return _sorted(_catalog().models())


def prepare() -> None:
    """Reads the catalog, some 0.2 s: not to be done while calls are served."""
    _by_bare_name()


def _sorted(models: Iterable[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for model in models:
        found.setdefault(model.partition("/")[2].lower(), model)
    return sorted(found.items())


def _nearest(name: str, known: list[tuple[str, str]]) -> str | None:
    """The whole name of the known one that begins the most like it: a neighbour in their order."""
    place = bisect_left(known, (name, ""))
    neighbours = known[max(0, place - 1) : place + 1]
    alike, whole = max(((_alike(name, bare), whole) for bare, whole in neighbours), default=(0, ""))
    return whole if alike >= _ALIKE * len(name) else None


def _alike(one: str, other: str) -> int:
    """How many letters two names begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
