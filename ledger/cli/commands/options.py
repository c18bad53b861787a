"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.cli.access import CA, KEY, access_from
from ledger.cli.services import Ledger, connect

Answer = TypeVar("Answer")

AdminTarget = Annotated[str, typer.Option("--target", help="HOST:PORT of the server's back office.")]
PublicTarget = Annotated[str, typer.Option("--target", help="HOST:PORT of the server's public API.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
RequestId = Annotated[
    str | None,
    typer.Option(help="Repeating a command with the same one has no second effect; random, if not given."),
]
_Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca", help=f"PEM file of the authority that signed the server's certificate ({CA}). A key: {KEY}."
    ),
]
_Plaintext = Annotated[
    bool, typer.Option("--plaintext", help="Speak no TLS off loopback: what is sent can be read, a key too.")
]


_asked: ContextVar[tuple[Path | None, bool]] = ContextVar("asked", default=(None, False))
"""The file of `--ca`, and `--plaintext`, of the command that runs."""


def at_server(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Gives a command that talks to a server the options of how, which `reach` goes by."""

    @wraps(command)
    def asked(*args: Any, ca: Path | None, plaintext: bool, **kwargs: Any) -> Answer:
        _asked.set((ca, plaintext))
        return command(*args, **kwargs)

    own = signature(command, eval_str=True)
    added = (
        Parameter("ca", Parameter.KEYWORD_ONLY, default=None, annotation=_Ca),
        Parameter("plaintext", Parameter.KEYWORD_ONLY, default=False, annotation=_Plaintext),
    )
    asked.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]  # what `inspect` looks for
    asked.__annotations__ = {
        name: each.annotation
        for name, each in asked.__signature__.parameters.items()  # type: ignore[attr-defined]
    }
    return asked


def reach(target: str, admin_target: str | None = None) -> AbstractAsyncContextManager[Ledger]:
    """The services of a server, as the command was asked to reach it. Raises SettingsError."""
    ca, plaintext = _asked.get()
    return connect(target, admin_target or target, access_from(ca=ca, plaintext=plaintext))


def stamp(when: datetime | None) -> Timestamp | None:
    """An instant of UTC that was given on the command line."""
    if when is None:
        return None
    made = Timestamp()
    made.FromDatetime(when)
    return made
