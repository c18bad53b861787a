"""Versions of prices, as the back office reads them from the database and reports them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.rate_messages import no_such_version
from ledger.api.messages import encode
from ledger.prices.reading import in_reader
from ledger.prices.versions import READ_DOCUMENT, InForce, Published
from ledger.store.postgres.database import Pool
from ledger.store.prices.versions import (
    Kind,
    Source,
    UnknownVersionError,
    Version,
    find_version,
    get_document,
    list_versions,
)

NUMBER_MAX: Final = 2**31 - 1
"""Of a version: what its column holds."""

_SOURCES: Final = {source: pb.PriceSource.Value(f"PRICE_SOURCE_{source}") for source in Source}


class RateVersions:
    """The published versions of cards, of the cost book and of the plans."""

    def __init__(self, published: Published, writer: Pool, clock: Callable[[], datetime]) -> None:
        self._published = published
        self._writer = writer
        self._clock = clock

    async def read(self, kind: Kind, name: str, number: int) -> InForce[Any]:
        """A version with what it says. Raises StatusError where there is none of the number."""
        try:
            version = await find_version(self._writer, kind, name, number)
        except UnknownVersionError:
            raise no_such_version(name, number) from None
        document = await get_document(self._writer, kind, name, number)
        return InForce(version, await in_reader(READ_DOCUMENT[kind], document))

    async def page(
        self, kind: Kind, name: str, after: tuple[str, int], size: int
    ) -> tuple[list[Version], tuple[str, int] | None]:
        """A page, and the key of its last row if there is another page."""
        found = await list_versions(self._writer, kind, name, after, size + 1)
        last = (found[size - 1].name, found[size - 1].number) if len(found) > size else None
        return found[:size], last

    def to_come(self, version: Version) -> list[pb.PriceVersion]:
        """What will be in force in place of a version."""
        later = self._published.versions(version.kind, version.name)
        return [self.message(each) for each in later if each.effective_from > version.effective_from]

    def message(self, version: Version) -> pb.PriceVersion:
        """A version, without its document."""
        return pb.PriceVersion(
            name=version.name,
            number=version.number,
            revision=version.revision,
            version=version.version,
            effective_from=encode.timestamp(version.effective_from),
            published_at=encode.timestamp(version.published_at),
            published_by=version.published_by,
            published_by_key_id=version.published_by_key_id,
            source=_SOURCES[version.source],
            restores=version.restores or 0,
            forced=version.forced,
            in_force=version == self._in_force(version.kind, version.name),
        )

    def _in_force(self, kind: Kind, name: str) -> Version | None:
        now = self._clock()
        if kind is Kind.COSTS:
            return self._published.costs(now).version
        found = self._published.plans(now) if kind is Kind.PLANS else self._published.card(name, now)
        return found.version if found is not None else None
