"""All that `pricing` offers: the names that are imported from the package itself."""

from pricing.cards.diff import (
    Difference,
    DifferenceKind,
    differing_cards,
    differing_costs,
    differing_sections,
)
from pricing.cards.entitlements import Denied, Entitlements, EntitlementsDoc
from pricing.cards.price_list import PriceListItem, Rate
from pricing.cards.rate_card import RateCard, Rounding
from pricing.costs.cost_book import CostBook, read_costs_text, revised_costs
from pricing.directory import Config, load, read_card_for, unknown_to
from pricing.documents.field_types import CREDIT_PRICE_MAX_NANOUSD
from pricing.documents.revised import revised_text
from pricing.documents.validate import ConfigError, Problem, load_model
from pricing.planning.doubts import doubts_of_card, doubts_of_costs
from pricing.planning.entitlement_doubts import doubts_of_entitlements
from pricing.rating.price import memory_keys, price
from pricing.rating.quote import Line, Quote, Treatment
from pricing.rating.reversal import free_marks, unwind
from pricing.rating.state import Effect, Measured, Memory, PoolPart, State
from pricing.rating.terms import Terms, compile_terms
from pricing.usage.items import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units
from pricing.usage.journal import item_of, name_of, stored_of

__all__ = [
    "CREDIT_PRICE_MAX_NANOUSD",
    "Compute",
    "Config",
    "ConfigError",
    "CostBook",
    "Denied",
    "Difference",
    "DifferenceKind",
    "Effect",
    "Entitlements",
    "EntitlementsDoc",
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
    "differing_sections",
    "doubts_of_card",
    "doubts_of_costs",
    "doubts_of_entitlements",
    "free_marks",
    "item_of",
    "load",
    "load_model",
    "memory_keys",
    "name_of",
    "price",
    "read_card_for",
    "read_costs_text",
    "revised_costs",
    "revised_text",
    "stored_of",
    "unknown_to",
    "unwind",
]
