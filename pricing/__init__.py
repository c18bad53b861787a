"""From usage to credits and cost.

One question is answered here: given what was used, how many credits does the customer pay, and what does it
cost us? `load` reads the cost book and the rate cards, `compile_terms` makes of one of each what `price`
rests on. It is pure: no database, no clock, no import of `ledger`.
"""

from pricing.cards import PriceListItem, Rate, RateCard, Rounding
from pricing.config import Config, load
from pricing.costs import CostBook
from pricing.items import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units, needs_runs
from pricing.kept import item_of
from pricing.pricer import price
from pricing.quote import Line, Quote, Treatment
from pricing.runs import Memory
from pricing.source import ConfigError, Problem, load_model
from pricing.terms import Terms, compile_terms

__all__ = [
    "Compute",
    "Config",
    "ConfigError",
    "CostBook",
    "Item",
    "KeyOwner",
    "Line",
    "Memory",
    "Outcome",
    "PriceListItem",
    "Problem",
    "Quote",
    "Rate",
    "RateCard",
    "Result",
    "Rounding",
    "Terms",
    "Tokens",
    "Treatment",
    "Units",
    "compile_terms",
    "item_of",
    "load",
    "load_model",
    "needs_runs",
    "price",
]
