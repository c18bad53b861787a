"""Cards of few rules, and their terms, as tests state them: as values, as texts, and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from pricing import CostBook, Memory, Quote, RateCard, Terms, compile_terms


def rules_of(*stated: Sequence[Any]) -> list[dict[str, Any]]:
    """Rules r0, r1, … that stand as (match, price) or (match, price, group)."""
    return [
        {"name": f"r{n}", "match": match, "price": price, **({"group": group[0]} if group else {})}
        for n, (match, price, *group) in enumerate(stated)
    ]


def document_of(rules: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """A card of rules on which a credit is a dollar, with more at its head."""
    return {"card": "c", "credit": "credit", "credit_price_usd": "1", **fields, "rules": rules}


def terms_of(document: Mapping[str, Any], costs: CostBook) -> Terms:
    """A card as it prices at these costs."""
    return compile_terms(RateCard.from_document(json.dumps(document)), costs)


def card_text(*rules: str, price: str = "1", extra: str = "") -> str:
    """A card of rules, each given as `match` and `price` in flow style; they are named r0, r1, ..."""
    lines = [f"card: test\ncredit: credit\ncredit_price_usd: {price!r}\n{extra}rules:\n"]
    lines += [f"  - {{name: r{number}, {rule}}}\n" for number, rule in enumerate(rules)]
    return "".join(lines)


def write_config(directory: Path, costs: str, *cards: str) -> Path:
    """A directory of prices."""
    (directory / "cards").mkdir(parents=True, exist_ok=True)
    (directory / "costs.yaml").write_text(dedent(costs), encoding="utf-8")
    for number, card in enumerate(cards):
        (directory / "cards" / f"card{number}.yaml").write_text(dedent(card), encoding="utf-8")
    return directory


def after(memory: Memory, quote: Quote) -> Memory:
    """What is remembered once the quote is booked."""
    return Memory(
        {**memory.states, **{key: state.text for key, state in quote.states.items()}}, quote.own_run
    )
