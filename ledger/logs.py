"""Logs: one JSON object a line, on stderr, whoever logs: the service, its libraries, or Python itself.

A fault is logged with its traceback, and never with the values of its variables, nor with what PostgreSQL
tells of the row at fault: those may tell a cost. What is logged for a call has the ids of its request, its
key and its trace.
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from ledger import calls

_DETAIL = re.compile(r"(?:\n|\\n)DETAIL:.*")
"""What the driver appends to an error's text, in its `repr` too."""

_TRANSPORT = "grpc"
"""Its errors are warnings: any peer that breaks the rules of the transport makes it log one."""

_log = structlog.get_logger(__name__)


def log_to_stderr(level: int) -> None:
    """Sends the process's logs of a level and above (as in `logging`) to stderr.

    Of libraries, and of Python itself, warnings and above.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            _of_call,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_rows,
            structlog.processors.JSONRenderer(default=repr),
        ],
    )
    _take_in_libraries()


def _take_in_libraries() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Libraries) for handler in root.handlers):
        root.addHandler(_Libraries(logging.WARNING))
    logging.captureWarnings(capture=True)


class _Libraries(logging.Handler):
    """What libraries log is an object like all else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs it under the name of its logger."""
        is_fault = record.levelno >= logging.ERROR and record.name.partition(".")[0] != _TRANSPORT
        log = _log.error if is_fault else _log.warning
        log("library", logger=record.name, said=record.getMessage(), exc_info=record.exc_info)


def _of_call(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Adds what may be said of the call that is logged for; what the event says itself stands."""
    call = calls.current()
    return event if call is None else {**call.log_fields(), **event}


def _without_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drops the details of the database's errors from all texts of an event."""
    return {key: _DETAIL.sub("", value) if isinstance(value, str) else value for key, value in event.items()}
