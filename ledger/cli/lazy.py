"""Groups of commands of which only the one that runs is imported.

What serves takes a second to import, and what calls a server a fifth of one: a command does not wait for
what others need.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
import typer.main
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """Commands of its own, and after them those of other modules."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """By the command's name: `module:attribute` of a function, or of a group."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _LazyCommands({**self.commands, **self.elsewhere})


class _LazyCommands(UserDict[str, Any]):
    """Commands by name; one that is elsewhere is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            found = self.data[name] = _imported(name, found)
        return found


def _imported(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(module), attribute)
    alone = typer.Typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
