"""The server of `ledger.client.testing`: a process that serves until its standard input ends.

So it ends with whoever started it, however that ends. The first line that it prints has its addresses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from ledger.app import running
from ledger.environment import OWNER_URL, PREFIX, SettingsError
from ledger.logs import log_to_stderr
from ledger.settings import Settings
from pricing import ConfigError


async def serve(config: Path, data: Path) -> None:
    """Serves on free ports of loopback, with an embedded PostgreSQL."""
    async with running(Settings.on_free_ports(config, data)) as stack:
        addresses = {"target": stack.public_target, "back_office": stack.back_office_target}
        print(json.dumps(addresses), flush=True)  # noqa: T201 -- it is what the caller reads
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    # Of the product that is tested, or of its developer: not this server's.
    for setting in [name for name in os.environ if name == OWNER_URL or name.startswith(PREFIX)]:
        del os.environ[setting]
    log_to_stderr(logging.CRITICAL)
    try:
        asyncio.run(serve(*map(Path, sys.argv[1:])))
    except (ConfigError, SettingsError) as wrong:
        sys.exit(str(wrong))
