"""Versions of prices: of each rate card, of the cost book, and of the plans. Numbered, hashed, immutable.

Their documents tell margins and costs: the pools to use are the writer's and finance's.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.errors import RequestError
from ledger.store.audit import instant, note
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from asyncpg import Record

    from ledger.store.audit import Act, Image
    from ledger.store.postgres.database import Pool

POLL_SECONDS: Final = 1.0
"""How often a process looks for versions that others have published."""
CONVERGENCE: Final = timedelta(seconds=2 * POLL_SECONDS)
"""A version takes effect no sooner after it was published: until then every process has found it."""
COST_BOOK: Final = ""
"""The name of the cost book: there is one."""
PLANS: Final = ""
"""The name of the plans: they are one document."""

_SQL = statements_of(__name__)
LOCK = _SQL["lock"]
LOOK = _SQL["look"]
ADVANCE = _SQL["advance"]
LATEST = _SQL["latest"]
SINCE = _SQL["since"]
LIST = _SQL["list"]
FIND = _SQL["find"]
DOCUMENT = _SQL["document"]


class Kind(StrEnum):
    """What is versioned."""

    CARD = "CARD"
    COSTS = "COSTS"
    PLANS = "PLANS"


STORE: Mapping[Kind, str] = {
    Kind.CARD: _SQL["store_prices"],
    Kind.COSTS: _SQL["store_prices"],
    Kind.PLANS: _SQL["store_plans"],
}


class Source(StrEnum):
    """Where a version came from."""

    FILE = "FILE"
    API = "API"
    ROLLBACK = "ROLLBACK"


class NewVersion(NamedTuple):
    """What somebody wants to be published."""

    kind: Kind
    name: str
    """Of the card; COST_BOOK; PLANS."""
    revision: int
    version: str
    """Content hash."""
    effective_from: datetime
    document: str
    by: Act
    source: Source
    restores: int | None = None
    """The number of the version that a rollback publishes again."""
    forced: bool = False
    """Published in spite of its card's margin floor, or of the customers that its plans leave without one."""


class Version(NamedTuple):
    """A published version, without its document."""

    kind: Kind
    name: str
    number: int
    """1, 2, 3 … of its card, of the cost book, or of the plans."""
    revision: int
    version: str
    """Content hash."""
    effective_from: datetime
    published_at: datetime
    published_by: str
    """The name of the key, which another may have too; without a key it says how."""
    published_by_key_id: str
    """Empty: with no key."""
    source: Source
    restores: int | None
    forced: bool
    generation: int
    """Rises with every version of anything."""

    @property
    def mark(self) -> Mark:
        """No version of another history of the database has it."""
        return Mark(self.version, self.published_at)


class Mark(NamedTuple):
    """What tells a version from one that stands where it stood, after the database has gone back."""

    version: str
    """Content hash."""
    published_at: datetime


class Look(NamedTuple):
    """A look at what is published."""

    generation: int
    """How many versions there are, of anything."""
    mark: Mark | None
    """Of the version of the generation that was asked for; None: there is none."""
    now: datetime
    """Of the database."""


class Publication(NamedTuple):
    """What came of a draft."""

    version: Version
    repeated: bool
    """It had been published before."""


class RevisionRefusedError(RequestError):
    """A draft whose revision is not above that of the latest version of the same name."""

    def __init__(self, draft: NewVersion, latest: Version) -> None:
        self.draft = draft
        self.latest = latest
        super().__init__(f"revision {draft.revision} is not above {latest.revision}")

    @property
    def is_taken(self) -> bool:
        """The latest version has this very revision, with other content; else a later one is published."""
        return self.draft.revision == self.latest.revision


class UnknownVersionError(RequestError):
    """No such version has been published."""


def numbered(
    draft: NewVersion, latest: Version | None, generation: int, now: datetime, convergence: timedelta
) -> Version:
    """The version that a draft becomes after the latest of its name. Raises RevisionRefusedError.

    The first of a name may reach back; a later one takes effect when every process knows of it.
    """
    effective_from = draft.effective_from
    if latest is not None:
        if draft.revision <= latest.revision:
            raise RevisionRefusedError(draft, latest)
        effective_from = max(effective_from, now + convergence)
    return Version(
        kind=draft.kind,
        name=draft.name,
        number=latest.number + 1 if latest is not None else 1,
        revision=draft.revision,
        version=draft.version,
        effective_from=effective_from,
        published_at=now,
        published_by=draft.by.name,
        published_by_key_id=draft.by.key_id,
        source=draft.source,
        restores=draft.restores,
        forced=draft.forced,
        generation=generation,
    )


async def publish(pool: Pool, draft: NewVersion, convergence: timedelta = CONVERGENCE) -> Publication:
    """Publishes a draft, unless it is the latest version already. Processes take turns.

    Raises RevisionRefusedError.
    """
    async with pool.acquire() as connection, connection.transaction():
        generation = await connection.fetchval(LOCK)
        record = await connection.fetchrow(LATEST, draft.kind, draft.name)
        latest = _version(record) if record is not None else None
        if latest is not None and latest.version == draft.version:
            return Publication(latest, repeated=True)
        now = await connection.fetchval("SELECT clock_timestamp()")
        made = numbered(draft, latest, generation + 1, now, convergence)
        await connection.execute(STORE[draft.kind], *made, draft.document)
        before = _image(latest) if latest is not None else None
        await note(connection, draft.by, resource_of(draft.kind, draft.name), before, _image(made))
        await connection.execute(ADVANCE, made.generation)
    return Publication(made, repeated=False)


def resource_of(kind: Kind, name: str) -> str:
    """What a publication concerns, in the audit."""
    return f"rateCards/{name}" if kind is Kind.CARD else kind.lower()


def title_of(kind: Kind, name: str) -> str:
    """What a version is of, for people."""
    return {Kind.CARD: f"card {name}", Kind.COSTS: "cost book", Kind.PLANS: "plans"}[kind]


def _image(version: Version) -> Image:
    """A version, in the audit. Its document stands under its number, and never changes."""
    return {
        "number": version.number,
        "revision": version.revision,
        "version": version.version,
        "effective_from": instant(version.effective_from),
        "source": version.source,
        "restores": version.restores,
        "forced": version.forced,
    }


async def look(pool: Pool, known: int) -> Look:
    """How much is published, and whether the version of a generation is the one that was."""
    [(generation, now, version, published_at)] = await pool.fetch(LOOK, known)
    return Look(generation, Mark(version, published_at) if version is not None else None, now)


async def versions_since(pool: Pool, generation: int) -> list[Version]:
    """What was published after a generation, in order."""
    return [_version(record) for record in await pool.fetch(SINCE, generation)]


async def list_versions(
    pool: Pool, kind: Kind, name: str, after: tuple[str, int], limit: int
) -> list[Version]:
    """Versions of one name ('': of all), by name, the latest first; those after (name, number)."""
    records = await pool.fetch(LIST, kind, name, after[0], -after[1], limit)
    return [_version(record) for record in records]


async def find_version(pool: Pool, kind: Kind, name: str, number: int) -> Version:
    """A version by its number. Raises UnknownVersionError."""
    record = await pool.fetchrow(FIND, kind, name, number)
    if record is None:
        raise UnknownVersionError(number)
    return _version(record)


async def get_document(pool: Pool, kind: Kind, name: str, number: int) -> str:
    """The document of a version, by its number. Raises UnknownVersionError."""
    document = await pool.fetchval(DOCUMENT, kind, name, number)
    if document is None:
        raise UnknownVersionError(number)
    return str(document)


def _version(record: Record) -> Version:
    made = Version(*record)
    return made._replace(kind=Kind(made.kind), source=Source(made.source))
