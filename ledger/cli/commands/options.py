"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.cli.access import CA, KEY, access_from
from ledger.cli.services import Ledger, connect

Answer = TypeVar("Answer")

_SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

BACK_OFFICE: Final = "127.0.0.1:50052"
PUBLIC: Final = "127.0.0.1:50051"
"""Where a server listens if nothing else is said."""

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

    take_options(asked, command, {"ca": (_Ca, None), "plaintext": (_Plaintext, False)})
    return asked


def take_options(
    command: Callable[..., Any], wrapped: Callable[..., Any], added: Mapping[str, tuple[Any, Any]]
) -> None:
    """Gives a command what the one has that it wraps, and options of its own: by name type and default."""
    own = signature(wrapped, eval_str=True)
    parameters = [
        *own.parameters.values(),
        *(
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in added.items()
        ),
    ]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what `inspect` looks for
    command.__annotations__ = {each.name: each.annotation for each in parameters}


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


def duration(text: str) -> Duration:
    """A length of time that was given on the command line. Raises typer.BadParameter."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if found is None:
        raise typer.BadParameter("is no length of time: write 90s, 30m, 24h or 7d")
    return Duration(seconds=int(found[1]) * _SECONDS_OF[found[2]])
