"""Which rules of many may apply: by name, and by what else they ask for, without trying them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import NamedTuple

from pricing.cards.patterns import Index

Facets = Mapping[str, Sequence[str]]
"""What a rule asks for beside the name: patterns by condition or label, one of each of which has to match."""


class Finder:
    """Rules, by their numbers in order.

    Under each of its names a rule is filed by that facet whose patterns the fewest other rules ask for.
    """

    __slots__ = ("_names",)

    def __init__(self, rules: Sequence[tuple[Iterable[str], Facets]]) -> None:
        """Takes the names, or globs, and the facets of each rule."""
        asked = (
            (facet, pattern) for _, facets in rules for facet, found in facets.items() for pattern in found
        )
        common = Counter(asked)
        shelves: dict[str, _Shelf] = {}
        for number, (names, facets) in enumerate(rules):
            rarest = _rarest(common, facets)
            for name in dict.fromkeys(names):
                shelf = shelves.setdefault(name, _Shelf([], {}))
                if rarest is None:
                    shelf.plain.append(number)
                    continue
                by_pattern = shelf.faceted.setdefault(rarest, {})
                for pattern in dict.fromkeys(facets[rarest]):
                    by_pattern.setdefault(pattern, []).append(number)
        self._names = Index(
            (name, (shelf.plain, [(facet, Index(by.items())) for facet, by in shelf.faceted.items()]))
            for name, shelf in shelves.items()
        )

    def candidates(self, name: str, value_of: Callable[[str], str | None]) -> Iterator[int]:
        """Yields the numbers, ascending, of rules that match a name and one facet; some may come twice.

        `value_of` gives the value that a facet has, or None if it has none. Instead of a name or a value a
        pattern may be given: rules are found that match all that it does.
        """
        found = []
        for plain, faceted in self._names.find(name):
            found.append(plain)
            for facet, index in faceted:
                value = value_of(facet)
                if value is not None:
                    found += index.find(value)
        return iter(found[0]) if len(found) == 1 else merge(*found)


class _Shelf(NamedTuple):
    """Rules of one name."""

    plain: list[int]
    """Those that ask for nothing else."""
    faceted: dict[str, dict[str, list[int]]]
    """By facet and pattern."""


def _rarest(common: Mapping[tuple[str, str], int], facets: Facets) -> str | None:
    def commonest(facet: str) -> int:
        return max(common[facet, pattern] for pattern in facets[facet])

    return min(facets, key=commonest, default=None)
