"""From usage to credits and cost.

One question is answered here: given what was used, how many credits does the customer pay, and what does it
cost us? `load` reads the cost book and the rate cards, `compile_terms` makes of one of each what `price`
rests on. It is pure: no database, no clock, no import of `ledger`.

What the package offers (`pricing.public`) is imported when it is first asked for: a client installs what the
standard library is enough for, `pricing.adapters`, without what reads cards and prices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pricing.public import *  # noqa: F403 -- its __all__ is the list
else:
    from importlib import import_module
    from importlib.util import find_spec

    def __getattr__(name: str) -> object:
        # Modules of the package are asked for here too, before they are imported by themselves.
        if name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        public = import_module(f"{__name__}.public")
        globals().update({offered: getattr(public, offered) for offered in public.__all__})
        return getattr(public, name)
