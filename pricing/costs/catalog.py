"""List prices of models: the catalog of genai-prices, taken out of the package into plain data.

A cost book keeps that data in its document, so that an old version prices as it did under any later release
of the package. Only `snapshot` imports the package.

Matching a name, choosing a price by time or tier of service, and context cliffs follow the package's own
rules. A price that is missing is not 0 here: the package silently prices such a quantity at nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from pricing.costs.token_rates import Stepped, TokenRates, token_rates
from pricing.usage.items import RATED_QUANTITIES, REQUESTS

Plain = Any
"""JSON values."""

_QUANTITY_OF_PRICE = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "requests_kcount": REQUESTS,
}
_TIER_KEYS = frozenset({"service_tier", "processing", "speed"})
"""What the catalog calls a tier of service, by provider."""
_STANDARD = frozenset({"", "default", "standard", "auto"})
"""What providers call their standard tier: it has the prices that name no tier."""
HOUR_WRITES = frozenset({"cache_write_1h"})
ALL_QUANTITIES = frozenset(RATED_QUANTITIES)
_NONE: frozenset[str] = frozenset()
_HOUR_WRITE = 2
"""What a token written to the cache for an hour costs at Anthropic's, in tokens of input, whoever resells it
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching, "Pricing")."""
_ANTHROPIC = "claude"
"""What the names of Anthropic's models hold, at whatever provider."""
BATCH = "batch"
_BATCH_SHARES = dict.fromkeys(("anthropic", "aws", "azure", "google", "groq", "mistral", "openai"), "0.5")
"""What a batch costs of the standard price, where a provider says so of its models as a whole and the catalog
has no price of its own: half at each of these."""
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


# --- out of the package ------------------------------------------------------------------------------------


def snapshot() -> Plain:
    """The catalog of the installed genai-prices as JSON values: {providers: [...]}.

    A provider is {id, match, fallback, batch, models}, a model [match, prices, variants], a price
    [constraint, rates], a variant [tier, constraint, rates]; rates are USD per million tokens (thousand
    requests) by quantity, as decimal strings, or [base, [start, rate], ...] where they depend on the context.
    `batch` is the share of the standard price that a batch costs where no variant says it; null: not known.

    Writes to the cache for an hour that the package has no price for are derived where the rule of who
    makes the model is known.
    """
    from genai_prices.data import providers  # noqa: PLC0415 - takes a third of a second: only who loads pays

    return {
        "providers": [
            {
                "id": provider.id,
                "match": provider.provider_match and _clause(provider.provider_match),
                "fallback": provider.fallback_model_providers or [],
                "batch": _BATCH_SHARES.get(provider.id),
                "models": [_model(model) for model in provider.models],
            }
            for provider in providers
        ]
    }


def _model(model: Any) -> Plain:
    doubled = _ANTHROPIC in model.id
    listed = model.prices if isinstance(model.prices, list) else None
    prices = [[_constraint(p.constraint), _rates(p.prices, doubled=doubled)] for p in listed or ()]
    return [
        _clause(model.match),
        prices if listed is not None else [[None, _rates(model.prices, doubled=doubled)]],
        [
            [tier, _constraint(variant.constraint), _rates(variant.prices, doubled=doubled)]
            for variant in model.price_variants or ()
            if variant.when.keys() <= _TIER_KEYS and len(variant.when) == 1
            for tier in variant.when.values()
        ],
    ]


def _clause(clause: Any) -> Plain:
    (name,) = clause.__dataclass_fields__
    value = getattr(clause, name)
    return [name, value if isinstance(value, str) else [_clause(part) for part in value]]


def _constraint(constraint: Any) -> Plain:
    if constraint is None:
        return None
    if hasattr(constraint, "start_date"):
        return ["from", constraint.start_date.isoformat()]
    return ["daily", constraint.start_time.isoformat(), constraint.end_time.isoformat()]


def _rates(price: Any, *, doubled: bool) -> Plain:
    """The rates of a price; `doubled`: writes for an hour are known to cost twice the input."""
    rates: dict[str, Plain] = {}
    for key, quantity in _QUANTITY_OF_PRICE.items():
        value = getattr(price, key)
        if value is None or quantity in rates:
            continue
        if isinstance(value, Decimal):
            rates[quantity] = f"{value:f}"
        else:
            rates[quantity] = [f"{value.base:f}", *([tier.start, f"{tier.price:f}"] for tier in value.tiers)]
    if doubled and "cache_write" in rates and "input" in rates and "cache_write_1h" not in rates:
        rates["cache_write_1h"] = _times(rates["input"], _HOUR_WRITE)
    return rates


def _times(rate: Plain, factor: int) -> Plain:
    if isinstance(rate, str):
        return f"{Decimal(rate) * factor:f}"
    base, *steps = rate
    return [_times(base, factor), *([start, _times(price, factor)] for start, price in steps)]


# --- from plain data ---------------------------------------------------------------------------------------


class Since(NamedTuple):
    """Holds from an instant on."""

    start: datetime

    def holds(self, instant: datetime) -> bool:
        return instant >= self.start


class Daily(NamedTuple):
    """Holds every day in [start, end), in UTC, over midnight where end is before start."""

    start: time
    end: time

    def holds(self, instant: datetime) -> bool:
        now = instant.astimezone(UTC).timetz()
        if self.end < self.start:
            return now >= self.start or now < self.end
        return self.start <= now < self.end


class Condition(NamedTuple):
    """Rates, and when they hold; None: always."""

    constraint: Since | Daily | None
    rates: Mapping[str, Plain]

    def holds(self, instant: datetime) -> bool:
        return self.constraint is None or self.constraint.holds(instant)


class CatalogPrice:
    """List prices of one model at one tier of service, in nano-dollars."""

    def __init__(
        self, prices: Sequence[Condition], variants: Sequence[Condition], share: Fraction | None = None
    ) -> None:
        """Takes the standard prices, and those of the tier, which go before them quantity by quantity.

        `share` is what the tier costs of all of them; None: the tier is priced by its variants alone.
        """
        self._prices = prices
        self._variants = variants
        self._share = share
        steady = len(prices) == 1 and all(variant.constraint is None for variant in variants)
        self._known: dict[tuple[int, ...], TokenRates] = {}
        self._always = self._rates(0, tuple(range(len(variants)))) if steady else None

    def stand_ins(self, service_tier: str) -> frozenset[str]:
        """The quantities whose rates at a tier are those of something else.

        All, where nothing is known of the tier; writes for an hour, where only shorter ones have a price.
        """
        if service_tier not in _STANDARD and not self._variants and self._share is None:
            return ALL_QUANTITIES
        names = {name for condition in (*self._prices, *self._variants) for name in condition.rates}
        return HOUR_WRITES if "cache_write" in names and not HOUR_WRITES & names else _NONE

    @property
    def is_steady(self) -> bool:
        """The same prices hold at all times."""
        return self._always is not None

    def at(self, instant: datetime) -> TokenRates:
        """The prices that hold at an instant: the last whose condition is met, else the first."""
        if self._always is not None:
            return self._always
        last_first = reversed(range(len(self._prices)))
        standard = next((n for n in last_first if self._prices[n].holds(instant)), 0)
        return self._rates(standard, tuple(n for n, v in enumerate(self._variants) if v.holds(instant)))

    def _rates(self, standard: int, variants: tuple[int, ...]) -> TokenRates:
        key = (standard, *variants)
        if key not in self._known:
            rates = dict(self._prices[standard].rates)
            for n in reversed(variants):
                rates.update(self._variants[n].rates)
            made = token_rates({name: _nanousd(name, rate) for name, rate in rates.items()})
            self._known[key] = made if self._share is None else made.times(self._share)
        return self._known[key]


class Catalog:
    """Looks models up in the plain data of `snapshot`."""

    def __init__(self, plain: Plain) -> None:
        self._providers: Mapping[str, Plain] = {provider["id"]: provider for provider in plain["providers"]}

    def provider(self, name: str) -> str | None:
        """The id of the provider that is known by a name."""
        name = name.lower().strip()
        if name in self._providers:
            return name
        matches = ((key, provider["match"]) for key, provider in self._providers.items())
        return next((key for key, clause in matches if clause and _matches(clause, name)), None)

    @property
    def providers(self) -> Collection[str]:
        """The ids of the providers."""
        return self._providers.keys()

    def models(self) -> Iterator[str]:
        """Yields the models that have names of their own, as provider/name; others go by pieces of theirs.

        Providers whose models the most others offer too come first.
        """
        offered = Counter(other for provider in self._providers.values() for other in provider["fallback"])
        for key in sorted(self._providers, key=lambda key: -offered[key]):
            for match, *_ in self._providers[key]["models"]:
                yield from (f"{key}/{name}" for name in _whole_names(match))

    def tiers(self) -> Iterator[str]:
        """Yields the tiers of service that some model has prices of."""
        for provider in self._providers.values():
            for _, _, variants in provider["models"]:
                yield from (tier for tier, *_ in variants)

    def find(self, provider: str, model: str, service_tier: str) -> CatalogPrice | None:
        """The prices of a model of a provider (an id); None if the catalog has none for it."""
        name = model.lower()
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        for candidate in (name, dashed) if dashed != name else (name,):
            for number, (match, prices, variants) in enumerate(self._models(provider)):
                if _matches(match, candidate):
                    own = number < len(self._providers[provider]["models"])
                    standard = [_condition(*price) for price in prices]
                    tiers = [_condition(*rest) for tier, *rest in variants if own and tier == service_tier]
                    priced = any(condition.rates for condition in (*standard, *tiers))
                    share = self._batch_share(provider) if service_tier == BATCH and not tiers else None
                    return CatalogPrice(standard, tiers, share) if priced else None
        return None

    def _batch_share(self, provider: str) -> Fraction | None:
        share = self._providers[provider].get("batch")
        return Fraction(share) if share is not None else None

    def _models(self, provider: str) -> Iterator[Plain]:
        yield from self._providers[provider]["models"]
        for other in self._providers[provider]["fallback"]:
            yield from self._providers[other]["models"]


def _whole_names(clause: Plain) -> Iterator[str]:
    if clause[0] in {"equals", "starts_with"}:
        yield clause[1]
    elif clause[0] == "or_":
        for part in clause[1]:
            yield from _whole_names(part)


def _nanousd(quantity: str, rate: Plain) -> Fraction | Stepped:
    scale = Fraction(10**9, 10**3 if quantity == REQUESTS else 10**6)
    if isinstance(rate, str):
        return Fraction(rate) * scale
    base, *steps = rate
    return Stepped(Fraction(base) * scale, tuple((start, Fraction(price) * scale) for start, price in steps))


def _condition(constraint: Plain, rates: Plain) -> Condition:
    match constraint:
        case None:
            return Condition(None, rates)
        case ["from", day]:
            return Condition(Since(datetime.combine(date.fromisoformat(day), time(tzinfo=UTC))), rates)
        case [_, start, end]:
            return Condition(Daily(_utc(time.fromisoformat(start)), _utc(time.fromisoformat(end))), rates)
    raise ValueError(f"unknown constraint {constraint!r}")


def _utc(value: time) -> time:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return datetime.combine(date(1970, 1, 1), value).astimezone(UTC).timetz()


def _matches(clause: Plain, text: str) -> bool:  # noqa: PLR0911 - one return a clause
    name: str = clause[0]
    value: Any = clause[1]
    match name:
        case "equals":
            return bool(text == value.lower())
        case "starts_with":
            return text.startswith(str(value).lower())
        case "ends_with":
            return text.endswith(str(value).lower())
        case "contains":
            return str(value).lower() in text
        case "regex":
            return re.search(value, text) is not None
        case "or_":
            return any(_matches(part, text) for part in value)
        case _:
            return all(_matches(part, text) for part in value)
