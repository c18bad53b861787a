"""The same content under another revision: how an older version comes back as the next one."""

from __future__ import annotations

import json
import re

from pricing.cards.rate_card import RateCard
from pricing.costs.cost_book import CostBook
from pricing.documents.yaml_reader import Place, read_plain

_KEY = "revision"
_INTEGER = re.compile(r"[^\s,}#]+")


def revised_card(card: RateCard, revision: int) -> RateCard:
    """The card as its document says, comments and all, but for the revision."""
    return RateCard.from_document(_revised(card.document, revision))


def revised_costs(costs: CostBook, revision: int) -> CostBook:
    """The cost book, with the catalog prices that it resolved, but for the revision."""
    document = json.loads(costs.document)
    return CostBook({**document["costs"], _KEY: revision}, document["catalog"])


def _revised(text: str, revision: int) -> str:
    document = read_plain(text)
    stated = document.values.get((_KEY,))
    if stated is not None:
        at = _offset(text, stated)
        return text[:at] + _INTEGER.sub(str(revision), text[at:], count=1)
    first = min(document.keys[key] for key in document.keys if len(key) == 1)
    at, root = _offset(text, first), _offset(text, document.values[()])
    end = ", " if text[root] == "{" else "\n" + " " * (first[1] - 1)
    return f"{text[:at]}{_KEY}: {revision}{end}{text[at:]}"


def _offset(text: str, place: Place) -> int:
    line, column = place
    return sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column - 1
