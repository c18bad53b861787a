"""Logs: one JSON object a line, on stderr.

A fault is logged with its traceback and never with the values of its variables: those may tell a cost.
"""

from __future__ import annotations

import sys

import structlog


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
            structlog.processors.JSONRenderer(default=repr),
        ],
    )
