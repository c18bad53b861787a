"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AdminTarget = Annotated[str, typer.Option("--target", help="HOST:PORT of the server's back office.")]
PublicTarget = Annotated[str, typer.Option("--target", help="HOST:PORT of the server's public API.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
