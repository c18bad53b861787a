"""Logs: one JSON object a line, on stderr.

A fault is logged with its traceback, and never with the values of its variables, nor with what PostgreSQL
tells of the row at fault: those may tell a cost.
"""

from __future__ import annotations

import re
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

_DETAIL = re.compile(r"(?:\n|\\n)DETAIL:.*")
"""What the driver appends to an error's text, in its `repr` too."""


def log_to_stderr(level: int) -> None:
    """Sends the process's logs of a level and above (as in `logging`) to stderr."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_rows,
            structlog.processors.JSONRenderer(default=repr),
        ],
    )


def _without_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drops the details of the database's errors from all texts of an event."""
    return {key: _DETAIL.sub("", value) if isinstance(value, str) else value for key, value in event.items()}
