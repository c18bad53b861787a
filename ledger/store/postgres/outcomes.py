"""What became of a statement that did not succeed.

Definite is only an error of severity ERROR on a connection that stays open: the server has said that the
statement is undone. Anything else (a cut connection, FATAL, whatever is not foreseen) is unknown: the
statement may still take effect, even after a first look has not found it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from ledger.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.store.postgres.database import Connection, PooledConnection

_REQUEST_ID_KEY = "entries_request_id"


class WriteError(LedgerError):
    """A statement that did not succeed; the cause is the driver's error."""


class RepeatedRequestError(WriteError):
    """A request id of the batch has an entry already. Nothing was written."""


class WriteRefusedError(WriteError):
    """A rule of the schema was broken, or the program has a fault. Nothing was written."""


class UnknownOutcomeError(WriteError):
    """The statement may or may not take effect, now or later."""


@contextmanager
def as_write_errors(connection: Connection | PooledConnection) -> Iterator[None]:
    """Turns the driver's errors into WriteErrors.

    A cancelled wait passes as it is: its outcome is unknown too.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if connection.is_closed():
            raise UnknownOutcomeError(str(error)) from error
        if error.constraint_name == _REQUEST_ID_KEY:
            raise RepeatedRequestError(error.detail) from error
        raise WriteRefusedError(str(error)) from error
    except Exception as error:
        if is_definite(error, connection):
            raise WriteRefusedError(str(error)) from error
        raise UnknownOutcomeError(str(error)) from error


def is_definite(error: Exception, connection: Connection | PooledConnection) -> bool:
    """Whether an error says for certain that its statement had no effect."""
    if connection.is_closed() or not isinstance(error, asyncpg.PostgresError):
        return False
    if error.severity_en is None:
        # Of the driver's own: a value that does not fit its type is found before anything is sent.
        return isinstance(error, asyncpg.DataError)
    return error.severity_en == "ERROR"
