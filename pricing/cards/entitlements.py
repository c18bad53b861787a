"""Entitlements: which usage may be begun at all, by kind and name, whatever it would cost.

What is denied is never allowed. Of a kind for which names are allowed nothing else is; a kind for which none
are is allowed whole. Names and globs are matched as those of rules are: against the model asked for, the
resource, the meter, the outcome; never against what served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from pricing.cards.patterns import Index
from pricing.cards.price_document import KINDS
from pricing.documents.field_types import Selector
from pricing.documents.validate import RefusedError, Strict
from pricing.documents.yaml_reader import Loc
from pricing.usage.items import Item
from pricing.usage.journal import kind_of, name_of

Patterns = tuple[tuple[str, tuple[str, ...]], ...]
"""Names or globs of each kind of usage."""

ALLOW, DENY = "allow", "deny"


class NamesDoc(Strict):
    """Names or globs by kind of usage."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    tokens: Selector | None = None
    compute: Selector | None = None
    units: Selector | None = None
    outcome: Selector | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.patterns:
            raise RefusedError("names no kind of usage", f"write one of {', '.join(KINDS)}, or leave it out")
        return self

    @property
    def patterns(self) -> Patterns:
        """What is stated of each kind."""
        stated = ((kind, getattr(self, kind)) for kind in KINDS)
        return tuple((kind, patterns) for kind, patterns in stated if patterns is not None)


class EntitlementsDoc(Strict):
    """The section `entitlements` of a card or a plan."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    allow: NamesDoc | None = Field(default=None, description="Of a kind that is named, nothing else.")
    deny: NamesDoc | None = Field(default=None, description="Never, whatever is allowed.")

    @model_validator(mode="after")
    def _can_match(self) -> Self:
        if self.allow is None and self.deny is None:
            hint = 'write allow or deny, such as {allow: {tokens: ["anthropic/*"]}}, or leave it out'
            raise RefusedError("states nothing", hint)
        denied = _indexes(self.denied)
        for kind, patterns in self.allowed:
            for pattern in patterns if kind in denied else ():
                # One that covers a pattern matches it as a text.
                for taker in denied[kind].find(pattern):
                    message = f"{pattern!r} can never be allowed: {taker!r} is denied"
                    raise RefusedError(message, "leave one of them out", (ALLOW, kind))
        return self

    @property
    def allowed(self) -> Patterns:
        """What `allow` states."""
        return self.allow.patterns if self.allow is not None else ()

    @property
    def denied(self) -> Patterns:
        """What `deny` states."""
        return self.deny.patterns if self.deny is not None else ()

    def places(self) -> Iterator[tuple[Loc, str, str]]:
        """Yields each name or glob of both lists, after where it stands and its kind of usage."""
        for of_list, stated in ((ALLOW, self.allowed), (DENY, self.denied)):
            for kind, patterns in stated:
                for pattern in patterns:
                    yield (of_list, kind), kind, pattern


class Denied(NamedTuple):
    """An item that may not be begun."""

    item: int
    """Its index, from 0."""
    kind: str
    name: str
    """As it was reported."""
    of_list: str
    """Which list says so: `allow` names others of its kind alone, or `deny` names it."""


class Entitlements:
    """What a section states, compiled: an index of the names of each kind. Immutable."""

    __slots__ = ("_allowed", "_denied")

    def __init__(self, allow: Patterns, deny: Patterns) -> None:
        self._allowed, self._denied = _indexes(allow), _indexes(deny)

    def denied(self, items: Iterable[Item]) -> Iterator[Denied]:
        """Yields the items that may not be begun."""
        for index, item in enumerate(items):
            kind, name = kind_of(item), name_of(item)
            denied, allowed = self._denied.get(kind), self._allowed.get(kind)
            if denied is not None and denied.find(name):
                yield Denied(index, kind, name, DENY)
            elif allowed is not None and not allowed.find(name):
                yield Denied(index, kind, name, ALLOW)


def _indexes(stated: Patterns) -> dict[str, Index[str]]:
    """The names and globs of each kind of usage, each found as itself."""
    return {
        kind: Index((pattern, pattern) for pattern in dict.fromkeys(patterns)) for kind, patterns in stated
    }
