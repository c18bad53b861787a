"""Whether the URL of a database in the settings leads to one, and what is said where it does not.

It may hold a password: no message quotes one, nor what the driver says of its form.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from ledger.environment import SettingsError

URL_FORM: Final = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_NO_URL = (
    f"is no URL of a PostgreSQL: {URL_FORM}, and a /, ?, # or @ of a name or password as %2F, %3F, %23 or %40"
)

_MODE: Final = "sslmode"
_MODES: Final = ("prefer", "disable", "allow", "require", "verify-ca", "verify-full")
_ROOT: Final = "sslrootcert"
_ROOT_FILE: Final = Path("~/.postgresql/root.crt")
_TLS_FILES: Final = (_ROOT, "sslcert", "sslkey", "sslcrl")
"""What a URL of a PostgreSQL says of TLS, as libpq has it."""
_PUBLIC: Final = "/etc/ssl/certs/ca-certificates.crt"
_PEM: Final = f"name a PEM file that this user may read ({_ROOT}={_PUBLIC}: public authorities)"


async def check_url(name: str, url: str) -> None:
    """Signs in to the database of a setting, and leaves it. Raises SettingsError."""
    host = _host(name, url)
    _check_tls(name, url)
    try:
        connection = await asyncpg.connect(url)
        await connection.close()
    except asyncpg.PostgresError as refused:
        raise SettingsError(
            f"{name}: PostgreSQL at {host} lets nobody in so: {refused}; {URL_FORM}"
        ) from refused
    except ssl.SSLError as error:
        raise SettingsError(f"{name}: {_no_tls(host, error)}") from error
    except OSError as error:
        why = error.strerror or str(error) or "no answer in time"
        raise SettingsError(f"{name}: no PostgreSQL can be reached at {host}: {why}; {URL_FORM}") from error
    except (asyncpg.InterfaceError, ValueError):
        raise SettingsError(f"{name} {_NO_URL}") from None


def _host(name: str, url: str) -> str:
    """Where a URL leads. One whose password may have ended too early is refused: it is reported nowhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError(f"{name} {_NO_URL}") from None
    _, signed, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("postgresql", "postgres") or url.count("@") > len(signed):
        raise SettingsError(f"{name} {_NO_URL}")
    return host or dict(parse_qsl(parts.query)).get("host") or "the host of PGHOST, or its socket"


def _check_tls(name: str, url: str) -> None:
    """What a URL says of TLS, and cannot mean: the driver would take it for no URL, or for no answer."""
    said = dict(parse_qsl(urlsplit(url).query))
    mode = said.get(_MODE, _MODES[0])
    if mode not in _MODES:
        raise SettingsError(f"{name}: {_MODE}={mode} is none: write one of {', '.join(_MODES)}")
    for field in _TLS_FILES:
        if field in said and not os.access(said[field], os.R_OK):
            raise SettingsError(f"{name}: {field}={said[field]} cannot be read: {_PEM}")
    root = said.get(_ROOT) or os.environ.get("PGSSLROOTCERT") or _ROOT_FILE.expanduser()
    if mode.startswith("verify") and not os.access(root, os.R_OK):
        raise SettingsError(f"{name}: {_MODE}={mode} takes {_ROOT}: {_PEM}")


def _no_tls(host: str, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        needed = f"in {_ROOT} the file of the authority that signed it, and the host that it is for"
        why = error.verify_message.rstrip(".")
        return f"the certificate of PostgreSQL at {host} does not verify: {why}; verify-full takes {needed}"
    return f"no TLS with PostgreSQL at {host}: {error.reason}; {', '.join(_TLS_FILES)} name PEM files"
