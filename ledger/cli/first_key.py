"""A key that is made at the database itself, with no server and no key: the first one is."""

from __future__ import annotations

import logging
from pathlib import Path

from ledger import at_database
from ledger.admin.v1.admin_service_pb2 import CreateKeyRequest, CreateKeyResponse
from ledger.client.statuses import error_of_status
from ledger.logs import log_to_stderr
from ledger.settings import Settings


async def made_at_database(data: Path | None, request: CreateKeyRequest) -> CreateKeyResponse | None:
    """The key; None where neither a directory nor the environment names a database.

    Raises SettingsError, and CreditsError where the key is refused.
    """
    settings = Settings.read(**({} if data is None else {"data_dir": data}))
    if data is None and settings.database_url is None:
        return None
    log_to_stderr(logging.WARNING)
    try:
        return await at_database.key_made_at_database(settings, request)
    except at_database.KeyRefusedError as error:
        raise error_of_status(error.status) from None
