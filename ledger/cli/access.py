"""How the command line reaches a server: keys and certificates, by its options and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.access.keys import PREFIX, parse
from ledger.client.channel import Access, authorities_in, pair_in
from ledger.environment import SettingsError

KEY: Final = "ACU_LEDGER_KEY"
"""Never an option: every user of a machine can read the arguments of its programs."""
CA: Final = "ACU_LEDGER_CA"
CLIENT_CERTIFICATE: Final = "ACU_LEDGER_CLIENT_CERTIFICATE"
CLIENT_CERTIFICATE_KEY: Final = "ACU_LEDGER_CLIENT_CERTIFICATE_KEY"


def access_from(
    environment: Mapping[str, str] = os.environ, *, ca: Path | None = None, plaintext: bool = False
) -> Access:
    """What the environment has; arguments win. Raises SettingsError, which never quotes a key."""
    named = environment.get(CA)
    authorities = ca if ca is not None else Path(named) if named else None
    return Access(
        key_of(environment),
        None if authorities is None else _authorities(authorities),
        _certificate(environment.get(CLIENT_CERTIFICATE), environment.get(CLIENT_CERTIFICATE_KEY)),
        plaintext,
    )


def key_of(environment: Mapping[str, str] = os.environ) -> str:
    """The key to call with; empty where there is none. Raises SettingsError for a mistyped one."""
    key = environment.get(KEY, "")
    if key and parse(key) is None:
        raise SettingsError(
            f"{KEY} holds no key: one begins with {PREFIX} and ends with a checksum; copy it whole"
        )
    return key


def _authorities(file: Path) -> bytes:
    try:
        return authorities_in(file)
    except ValueError as wrong:
        raise SettingsError(f"--ca ({CA}): {wrong}") from None


def _certificate(certificate: str | None, key: str | None) -> tuple[bytes, bytes] | None:
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise SettingsError(f"{CLIENT_CERTIFICATE} and {CLIENT_CERTIFICATE_KEY} belong together: set both")
    try:
        return pair_in(certificate, key)
    except ValueError as wrong:
        raise SettingsError(f"{CLIENT_CERTIFICATE}, {CLIENT_CERTIFICATE_KEY}: {wrong}") from None
