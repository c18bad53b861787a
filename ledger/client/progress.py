"""A session in one line of a terminal, for agents of the command line; the only module that needs `rich`."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

REFRESHES_PER_SECOND: Final = 4


class Shown(Protocol):
    """A session, asynchronous or not."""

    @property
    def customer_id(self) -> str: ...
    @property
    def charged(self) -> Decimal: ...
    @property
    def held(self) -> Decimal: ...
    @property
    def remaining(self) -> Decimal: ...


def progress(session: Shown, console: Console | None = None) -> Live:
    """The session's line, kept up to date until the block of this `with` ends."""
    return Live(
        get_renderable=lambda: _line(session), console=console, refresh_per_second=REFRESHES_PER_SECOND
    )


def _line(session: Shown) -> Text:
    return Text.assemble(
        (session.customer_id, "bold"),
        f"  {session.charged} credits charged, {session.held} held, {session.remaining} remaining",
        no_wrap=True,
        overflow="ellipsis",
    )
