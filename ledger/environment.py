"""What the environment calls the settings, and how one is refused that nobody can go by.

Apart from the settings themselves, which only those read who serve: a client starts without them.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import OperatorError

PREFIX: Final = "ACU_LEDGER_"
OWNER_URL: Final = "DATABASE_URL"
LOOPBACK: Final = "127.0.0.1"


class SettingsError(OperatorError):
    """A setting that the service cannot go by: its name, what is wrong, and what is expected."""


def environment_name(field: str) -> str:
    """The variable that a setting is read from."""
    return field if field == OWNER_URL else PREFIX + field.upper()
