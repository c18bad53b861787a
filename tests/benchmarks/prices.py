"""How fast one core prices, on a card of 200 rules, and how fast it loads a card of 10,000.

Of the rules some are exact names, some globs, some ask for labels; some models no rule names but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pricing

TRIES = 5
RULES = 200
LOADED_RULES = 10_000
ITEMS = 100
"""Of one call."""
_MODELS = 45
_FAMILIES = 100
_TEAMS = 50
_COSTS = """\
tokens:
  models:
{models}
compute: {{sandbox: {{per_hour: "0.12"}}, h100: {{per_hour: "2.49"}}}}
units: {{web_search: {{each: "0.01"}}, page: {{each: "0.001"}}}}
"""
_CARD = """\
card: bench
credit: credit
credit_price_usd: "0.01"
rules:
{rules}
"""
_LABELS = {"project": "checkout", "agent": "reviewer"}


def items_per_second(seconds: float, items_a_call: int = ITEMS) -> float:
    """The best of five tries: of what else runs on a machine none makes it faster."""
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        config = _config(Path(directory))
    terms = pricing.compile_terms(config.cards["bench"], config.costs)
    items = _items(items_a_call)
    return max(_rate(terms, items, seconds) for _ in range(TRIES))


def _rate(terms: pricing.Terms, items: tuple[pricing.Item, ...], seconds: float) -> float:
    now, memory, priced = datetime.now(UTC), pricing.Memory(), 0
    began = perf_counter()
    while (taken := perf_counter() - began) < seconds:
        pricing.price(items, _LABELS, terms, memory, now=now)
        priced += len(items)
    return priced / taken


def load_seconds() -> float:
    """The best of three tries to load a directory with one card of 10,000 rules."""
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        rules = [
            (
                f'tokens: "acme/family-{n}-*", labels: {{project: p{n % 7}}}',
                f'per_million: {{input: "{n + 1}"}}',
            )
            for n in range(LOADED_RULES)
        ]
        _write(Path(directory), rules)
        return min(_seconds_to_load(Path(directory)) for _ in range(3))


def _seconds_to_load(directory: Path) -> float:
    began = perf_counter()
    pricing.load(directory)
    return perf_counter() - began


def _config(directory: Path) -> pricing.Config:
    """Prices by model, family of models and team, by the hour and by the piece, and a margin on all else."""
    rules = [
        (f"tokens: acme/model-{n}, labels: {{project: team-{n}}}", f'per_million: {{input: "{n + 2}"}}')
        for n in range(_TEAMS)
    ]
    rules += [
        (f"tokens: acme/model-{n}", f'per_million: {{input: "{n + 2}00", output: "{n + 9}00"}}')
        for n in range(_MODELS)
    ]
    rules += [
        (f'tokens: "acme/family-{n}-*"', f'per_million: {{input: "{n + 2}00", output: "{n + 9}00"}}')
        for n in range(_FAMILIES)
    ]
    rules += [
        ('tokens: "acme/*"', 'cost_plus: {margin: "30%"}'),
        ("compute: sandbox", 'per_hour: "50", minimum: 60s, increment: 1s'),
        ("compute: h100", 'per_hour: "400", increment: 1s'),
        ("units: web_search", 'each: "2"'),
        ("units: page", 'each: "1"'),
    ]
    if len(rules) != RULES:
        raise AssertionError(f"the figure is for {RULES} rules")
    _write(directory, rules)
    return pricing.load(directory)


def _write(directory: Path, rules: Sequence[tuple[str, str]]) -> None:
    """Write a cost book and a card whose rules have these matches and prices."""
    models = [
        f'    acme/model-{n}: {{per_million: {{input: "{n + 1}", output: "{5 * n + 5}"}}}}' for n in range(60)
    ]
    lines = [
        f"  - {{name: r{n}, match: {{{match}}}, price: {{{price}}}}}"
        for n, (match, price) in enumerate(rules)
    ]
    (directory / "cards").mkdir()
    (directory / "costs.yaml").write_text(_COSTS.format(models="\n".join(models)), encoding="utf-8")
    (directory / "cards" / "bench.yaml").write_text(_CARD.format(rules="\n".join(lines)), encoding="utf-8")


def _items(count: int) -> tuple[pricing.Item, ...]:
    """Of ten items eight are tokens, of many models; the others are time and pieces."""
    items: list[pricing.Item] = []
    for n in range(count):
        match n % 10:
            case 8:
                items.append(pricing.Compute("sandbox", 90 * 10**9))
            case 9:
                items.append(pricing.Units("web_search", 3 * 10**9))
            case _:
                items.append(pricing.Tokens(f"acme/model-{7 * n % 60}", {"input": 1_200 + n, "output": 350}))
    return tuple(items)
