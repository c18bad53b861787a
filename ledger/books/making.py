"""How the values that every command makes are made.

To call the class of a named tuple takes more than twice the time: `type` calls the `__new__` of the class, a
function, and this that of `tuple`. `make` is the last alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar, TypeVarTuple, cast

T_co = TypeVar("T_co", covariant=True)
Fields = TypeVarTuple("Fields")


class _Make(Protocol):
    def __call__(self, cls: Callable[[*Fields], T_co], fields: tuple[*Fields], /) -> T_co: ...


make: Final = cast("_Make", tuple.__new__)
"""Make a named tuple of its class and all its fields in order, those that have a default too: the types are
checked as those of a call are, a missing one with a default is not."""
