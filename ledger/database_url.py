"""Whether the URL of a database in the settings leads to one, and what is said where it does not.

It may hold a password: no message quotes one, nor what the driver says of its form.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from ledger.environment import SettingsError

URL_FORM: Final = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_NO_URL = (
    f"is no URL of a PostgreSQL: {URL_FORM}, and a /, ?, # or @ of a name or password as %2F, %3F, %23 or %40"
)


async def check_url(name: str, url: str) -> None:
    """Signs in to the database of a setting, and leaves it. Raises SettingsError."""
    host = _host(name, url)
    try:
        connection = await asyncpg.connect(url)
        await connection.close()
    except asyncpg.PostgresError as refused:
        raise SettingsError(
            f"{name}: PostgreSQL at {host} lets nobody in so: {refused}; {URL_FORM}"
        ) from refused
    except OSError as error:
        why = error.strerror or str(error) or "no answer in time"
        raise SettingsError(f"{name}: no PostgreSQL can be reached at {host}: {why}; {URL_FORM}") from error
    except (asyncpg.InterfaceError, ValueError):
        raise SettingsError(f"{name} {_NO_URL}") from None


def _host(name: str, url: str) -> str:
    """Where a URL leads. One whose password may have ended too early is refused: it is told nowhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError(f"{name} {_NO_URL}") from None
    _, signed, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("postgresql", "postgres") or url.count("@") > len(signed):
        raise SettingsError(f"{name} {_NO_URL}")
    return host or dict(parse_qsl(parts.query)).get("host") or "the host of PGHOST, or its socket"
