"""What models, providers and tiers of service are called, and which known name is the nearest to one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from pricing.cards.patterns import is_glob, matches

if TYPE_CHECKING:
    from pricing.costs.cost_book import CostBook

_ALIKE = 0.75
"""How alike two names are, at least, for one to be written for the other."""
_TIERS = ("default", "standard", "auto", "batch", "flex", "priority")
"""Tiers of service that providers name in their answers, whether the catalog has prices of them or not."""


class Names:
    """The names that a cost book and its catalog know."""

    def __init__(self, costs: CostBook) -> None:
        self._costs = costs

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models as provider/name: those of the book, and of the catalog what it calls by whole names."""
        catalog = self._costs.catalog
        return tuple(dict.fromkeys([*self._costs.own_models, *catalog.models()]))

    @cached_property
    def tiers(self) -> tuple[str, ...]:
        """Tiers of service; the empty one is the standard."""
        return tuple(dict.fromkeys([*_TIERS, *self._costs.catalog.tiers()]))

    def knows_model(self, pattern: str) -> bool:
        """Whether a name, or a glob, is of some model that has a price."""
        if not is_glob(pattern):
            return self._costs.known_model(pattern)
        if any(matches([pattern], model) for model in self.models):
            return True
        # The catalog knows some models by a piece of their names, which the glob may hold.
        return self._costs.known_model(pattern.replace("*", ""))

    def model_advice(self, pattern: str) -> str:
        """What to write instead of the name of an unknown model; empty where nothing is like it."""
        _, slash, name = pattern.partition("/")
        if slash:
            known = self.misspelt_provider(pattern)
            if known is not None and self.knows_model(f"{known}/{name}"):
                return f"write {known}/{name}"
            return self.advice(pattern, self.models)
        if is_glob(pattern):
            whole = (model for model in self.models if matches([pattern], model.partition("/")[2]))
            return next((f"write {model.partition('/')[0]}/{pattern}" for model in whole), "")
        return self.advice(pattern, self.models, whole=False)

    def misspelt_provider(self, model: str) -> str | None:
        """The provider of the catalog whose name is nearly that of a model's; None if it is known."""
        provider = model.partition("/")[0]
        if self._costs.catalog.provider(provider) is not None:
            return None
        return next(iter(get_close_matches(provider, self._costs.catalog.providers, 1, _ALIKE)), None)

    def advice(self, name: str, known: Collection[str], *, whole: bool = True) -> str:
        """What to write instead of a name; `whole`: it has its provider, if it has to have one."""
        found = nearest(name.replace("*", ""), known) if whole else nearest_bare(name.replace("*", ""), known)
        return f"write {found}" if found else ""


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is the most like one; None if none is like it."""
    return next(iter(get_close_matches(name, known, 1, _ALIKE)), None)


def nearest_bare(name: str, known: Iterable[str]) -> str | None:
    """The known provider/name whose name is the most like one that lacks its provider.

    Of several providers it is the first: the catalog puts makers of models before those who resell them.
    """
    by_name: dict[str, str] = {}
    for each in known:
        by_name.setdefault(each.partition("/")[2].lower(), each)
    found = nearest(name.lower(), by_name)
    return by_name[found] if found is not None else None
