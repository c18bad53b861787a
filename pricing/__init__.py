"""From usage to credits and cost.

One question is answered here: given what was used, how many credits does the customer pay, and what does it
cost us? `load` reads the cost book and the rate cards, `compile_terms` makes of one of each what `price`
rests on. It is pure: no database, no clock, no import of `ledger`.
"""

from pricing.cards import PriceListItem, Rate, RateCard, Rounding
<<<<<<< HEAD
from pricing.config import Config, load
from pricing.costs import CostBook
from pricing.items import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units
from pricing.kept import item_of
from pricing.memory import Effect, Memory, State
from pricing.pricer import memory_keys, price
from pricing.quote import Line, PoolPart, Quote, Treatment
=======
from pricing.config import Config, load, read_card_for, unknown_to
from pricing.costs import CostBook, read_costs_text
from pricing.differences import Difference, DifferenceKind, differing_cards, differing_costs
from pricing.items import Compute, Item, KeyOwner, Outcome, Result, Tokens, Units, needs_runs
from pricing.pricer import price
from pricing.quote import Line, Quote, Treatment
from pricing.revisions import revised_card, revised_costs
from pricing.runs import Memory
>>>>>>> 3fb674c (Prices are published: numbered versions in the database, in force on every replica, from files or the back office)
from pricing.source import ConfigError, Problem, load_model
from pricing.terms import Terms, compile_terms
from pricing.unwinding import free_marks, unwind

__all__ = [
    "Compute",
    "Config",
    "ConfigError",
    "CostBook",
<<<<<<< HEAD
    "Effect",
=======
    "Difference",
    "DifferenceKind",
>>>>>>> 3fb674c (Prices are published: numbered versions in the database, in force on every replica, from files or the back office)
    "Item",
    "KeyOwner",
    "Line",
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
<<<<<<< HEAD
    "free_marks",
    "item_of",
=======
    "differing_cards",
    "differing_costs",
>>>>>>> 3fb674c (Prices are published: numbered versions in the database, in force on every replica, from files or the back office)
    "load",
    "load_model",
    "memory_keys",
    "price",
<<<<<<< HEAD
    "unwind",
=======
    "read_card_for",
    "read_costs_text",
    "revised_card",
    "revised_costs",
    "unknown_to",
>>>>>>> 3fb674c (Prices are published: numbered versions in the database, in force on every replica, from files or the back office)
]
