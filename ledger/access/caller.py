"""Who calls: what a key, a customer's token or the lack of both stands for, for the time of one call."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ledger.errors import RequestError

WALLET: Final = "wallet"
"""The scope of customers' tokens."""
SCOPES: Final = ("backend", "refund", WALLET, "ops", "finance")
"""As the methods declare them in their descriptors, in lower case."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a call is made by."""

    key_id: str
    """Of a customer's token that of its maker. Empty where no key was asked for."""
    name: str
    scopes: frozenset[str]
    customers: frozenset[str] | None = None
    """The only customers it may name; None: any."""
    by_token: bool = False
    """It came with a token that the key has made, not with the key."""

    @property
    def counted_as(self) -> str:
        """Under what its calls are limited: a key's tokens together, and apart from the key itself.

        So what browsers ask for takes nothing from the backend that has let them in.
        """
        return f"{self.key_id}/tokens" if self.by_token else self.key_id

    def looks_up(self, customer_id: str) -> str:
        """The id by which a customer that the call names is looked up: itself, or one that nobody has.

        So a customer that the caller may not name is looked up in vain, and no step of the answer differs
        from that of an id that does not exist.
        """
        may_name = self.customers is None or customer_id in self.customers
        return customer_id if may_name else _NOBODYS + customer_id

    def require(self, scope: str) -> None:
        """Raises ScopeRequiredError unless the caller has the scope."""
        if scope not in self.scopes:
            raise ScopeRequiredError(scope)


class ScopeRequiredError(RequestError):
    """The caller is known, and may not do this: the scope that it lacks."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(scope)


LOOPBACK: Final = Caller("", "loopback", frozenset(SCOPES))
"""Whoever reaches a port of loopback while the database has no key: one who is on the machine already."""

_caller: ContextVar[Caller] = ContextVar("caller")

current = _caller.get
"""The caller of the call that this code runs in. Raises LookupError outside of a call: nobody is nobody."""
enter = _caller.set
"""Says who makes the call that this code runs in, before its method runs."""

_NOBODYS: Final = "\x01"
"""No id of a customer has a control character."""


def looked_up(customer_id: str) -> str:
    """The id by which the caller of now looks a customer up. Raises LookupError outside of a call."""
    return current().looks_up(customer_id)
