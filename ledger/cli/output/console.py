"""What the command line says, where, and with which exit status.

Answers go to stdout; progress, notes and errors to stderr, so that `--json` leaves stdout to one object. The
exit status is 0, 1 where something was refused or does not hold, 2 for a command that makes no sense.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

REFUSED = 1
USAGE = 2
_PLAIN_WIDTH = 160
"""Of texts where nobody watches."""
_UNBOUNDED = 1_000_000
"""More columns than a table has."""


def _console(*, stderr: bool, width: int | None = None) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr,
        width=width or (None if terminal else _PLAIN_WIDTH),
        # Names are free text: a bracket or a colon in one is no instruction.
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def out() -> Console:
    """For answers."""
    return _console(stderr=False)


def note(message: str) -> None:
    """One line for a person, on stderr, as it is: a path or an id is never wrapped or coloured."""
    typer.echo(message, err=True)


def whoever(name: str, key_id: str) -> str:
    """Who did something: the name of the key, which another may have too, and its id, if there was one."""
    return f"{name} {key_id}" if key_id else name


def fail(message: str, status: int) -> NoReturn:
    """Ends the command with a message on stderr."""
    note(message)
    raise typer.Exit(status)


def print_json(answer: Mapping[str, object] | Message) -> None:
    """One object on stdout; messages in protobuf's own JSON form, with the names of the proto files."""
    if isinstance(answer, Message):
        answer = MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    typer.echo(json.dumps(answer, ensure_ascii=False))


def table(title: str, *columns: str, numbers: int = 0) -> Table:
    """A table whose last `numbers` columns are right-aligned."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        right = index >= len(columns) - numbers
        made.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


def print_table(made: Table) -> None:
    """A table on stdout that cuts nothing, and breaks no id: what cannot be read whole can be copied whole.

    On a terminal it is wider than that if its words are; where nobody watches each row is one line.
    """
    for column in made.columns:
        column.no_wrap = column.no_wrap or all(" " not in str(cell) for cell in column.cells)
    console = out()
    least, most = Measurement.get(console, console.options.update_width(_UNBOUNDED), made)
    width = max(least, console.width) if sys.stdout.isatty() else most
    _console(stderr=False, width=width).print(made)


def print_answer(answer: Message, made: Table, *, as_json: bool) -> None:
    """A server's answer on stdout: whole as JSON, or the table that was made of it."""
    if as_json:
        print_json(answer)
    else:
        print_table(made)


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on stderr; where that is no terminal, each bar's last state, once."""
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console(stderr=True)) as bars:
        yield bars
