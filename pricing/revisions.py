"""The same content under another revision: how an older version comes back as the next one."""

from __future__ import annotations

import json

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode

from pricing.cards import RateCard
from pricing.costs import CostBook

_KEY = "revision"


def revised_card(card: RateCard, revision: int) -> RateCard:
    """Return the card as its document says, comments and all, but for the revision."""
    return RateCard.from_document(_revised(card.document, revision))


def revised_costs(costs: CostBook, revision: int) -> CostBook:
    """Return the cost book, with the catalog prices that it resolved, but for the revision."""
    document = json.loads(costs.document)
    return CostBook({**document["costs"], _KEY: revision}, document["catalog"])


def _revised(text: str, revision: int) -> str:
    root = YAML(typ="safe", pure=True).compose(text)
    if not isinstance(root, MappingNode):
        raise TypeError("a document of prices is a mapping")
    first = root.value[0][0]
    for key, value in root.value:
        if key.value == _KEY:
            return _spliced(text, value.start_mark.index, value.end_mark.index, str(revision))
    end = ", " if root.flow_style else "\n" + " " * first.start_mark.column
    at = first.start_mark.index
    return _spliced(text, at, at, f"{_KEY}: {revision}{end}")


def _spliced(text: str, start: int, end: int, part: str) -> str:
    return text[:start] + part + text[end:]
