"""All that `pricing` offers: the names that are imported from the package itself."""

from pricing.cards import RateCard, Rounding
from pricing.config import Config, load, read_card_for, unknown_to
from pricing.costs import CostBook, read_costs_text
from pricing.differences import Difference, DifferenceKind, differing_cards, differing_costs
from pricing.doubts import doubts_of_card, doubts_of_costs
from pricing.fields import CREDIT_PRICE_MAX_NANOUSD
from pricing.items import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units
from pricing.kept import item_of, kept_of, name_of
from pricing.memory import Effect, Memory, State
from pricing.notes import Measured, PoolPart
from pricing.price_list import PriceListItem, Rate
from pricing.pricer import memory_keys, price
from pricing.quote import Line, Quote, Treatment
from pricing.revisions import revised_card, revised_costs
from pricing.source import ConfigError, Problem, load_model
from pricing.terms import Terms, compile_terms
from pricing.unwinding import free_marks, unwind

__all__ = [
    "CREDIT_PRICE_MAX_NANOUSD",
    "Compute",
    "Config",
    "ConfigError",
    "CostBook",
    "Difference",
    "DifferenceKind",
    "Effect",
    "Item",
    "KeyOwner",
    "Line",
    "Measured",
    "Memory",
    "Outcome",
    "PoolPart",
    "PriceListItem",
    "Problem",
    "Quote",
    "Rate",
    "RateCard",
    "Result",
    "Rounding",
    "State",
    "Terms",
    "Tokens",
    "Treatment",
    "Units",
    "compile_terms",
    "differing_cards",
    "differing_costs",
    "doubts_of_card",
    "doubts_of_costs",
    "free_marks",
    "item_of",
    "kept_of",
    "load",
    "load_model",
    "memory_keys",
    "name_of",
    "price",
    "read_card_for",
    "read_costs_text",
    "revised_card",
    "revised_costs",
    "unknown_to",
    "unwind",
]
