"""A process whose wall clock is off: everything that Python reads of it is shifted.

To be done before anything of the service is imported. The boot clock, and the database in its own process,
are not shifted. At a signal SIGUSR1 the process reads a new shift from a file.
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from grpc._cython import cygrpc

_real_datetime = dt.datetime
_real_time, _real_time_ns, _real_gettime = time.time, time.time_ns, time.clock_gettime
NANOS = 1_000_000_000


class _Shift:
    seconds = 0.0


class _Meta(type):
    """Instants are the real class's; this one's only tells another time."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class _ShiftedDatetime(_real_datetime, metaclass=_Meta):
    __slots__ = ()  # Of the real one's size, by which compiled modules know it.

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _real_datetime(*args, **kwargs)

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return _real_datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return _real_datetime.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()


def _time() -> float:
    return max(_real_time() + _Shift.seconds, 0.0)


def _time_ns() -> int:
    return max(_real_time_ns() + int(_Shift.seconds * NANOS), 0)


def _clock_gettime(clock: int) -> float:
    return _time() if clock == time.CLOCK_REALTIME else _real_gettime(clock)


def shift_clock(seconds: float, file: Path) -> None:
    """Shifts this process's wall clock, and again at each SIGUSR1, by what the file then says."""
    _Shift.seconds = seconds

    def again(*_: object) -> None:
        _Shift.seconds = float(file.read_text(encoding="utf-8"))
        _say()

    signal.signal(signal.SIGUSR1, again)
    patched: dict[str, Any] = {"time": _time, "time_ns": _time_ns, "clock_gettime": _clock_gettime}
    for name, function in patched.items():
        setattr(time, name, function)
    # gRPC's core has a clock of its own, which is not shifted: what it says of deadlines is by that one.
    cygrpc.time = SimpleNamespace(time=_real_time)
    setattr(dt, "datetime", _ShiftedDatetime)  # noqa: B010 -- types may not be assigned to
    _say()


def _say() -> None:
    """To the server's log, so that the harness sees that the shift is in force."""
    sys.stderr.write(f"shifted clock: {dt.datetime.now(dt.UTC).isoformat()}\n")
    sys.stderr.flush()
