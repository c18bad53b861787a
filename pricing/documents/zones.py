"""Time zones by which prices and customers count their days, and instants: the same on every machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

_OF_A_MACHINE: Final = frozenset({"Factory", "localtime", "posixrules"})
_OTHER_CLOCKS: Final = ("posix/", "right/")
"""Copies of all zones that some systems have beside them; those of `right/` count leap seconds."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def is_storable(instant: datetime) -> bool:
    """Whether an instant is read as it was written.

    The first and the last microsecond that Python knows are not: databases' drivers take them for infinite.
    """
    return _FIRST < instant < _LAST


def is_zone(name: str) -> bool:
    """Whether an IANA zone has this name: none that means another clock, or nothing, on the next machine."""
    if name in _OF_A_MACHINE or name.startswith(_OTHER_CLOCKS):
        return False
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True
