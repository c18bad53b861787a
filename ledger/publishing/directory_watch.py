"""The directory of prices, looked at again and again: what changed in it is published.

It is looked at, not listened to: a look is a few dozen `stat` calls, and sees what file system events do not,
such as a directory that is itself a swapped link, or one on another machine. A Kubernetes ConfigMap is a tree
of links behind one link that is swapped; files are followed to what they are.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import structlog

import pricing
from ledger.prices.plans import PLANS_FILE, Files, read_files, read_plans, refuse_disagreements
from ledger.prices.price_book import PriceBook
from ledger.prices.reading import in_reader
from ledger.publishing.publisher import FilesRead, Publisher
from ledger.store.audit import Act
from ledger.store.prices.versions import Kind

Look: TypeAlias = Mapping[str, tuple[int, ...]]
"""Of each file its device, inode, size and times."""

METHOD: Final = "files"
"""In the audit: not called, but read."""

_log = structlog.get_logger(__name__)


class PriceFiles:
    """`costs.yaml`, `cards/*.yaml` and `plans.yaml` of one process."""

    def __init__(self, directory: Path, publisher: Publisher, prices: PriceBook) -> None:
        self._directory = directory
        self._publisher = publisher
        self._prices = prices
        self._seen: Look = {}
        """At the last look."""
        self._taken: Look = {}
        """When the files were last read."""
        self._generation = 0
        """What was published then."""
        self.read = FilesRead()
        """What became of them then."""

    async def step(self) -> None:
        """Reads the files if they have changed, and not since the last look: half a file is no file.

        What is published since they were read may have changed what there is to say of them.
        """
        look = await in_reader(_look, self._directory)
        is_still = look == self._seen
        self._seen = look
        is_known = look == self._taken and self._generation == self._prices.published.generation
        if is_still and not is_known:
            await self.take()

    async def take(self) -> None:
        """Reads the files, and publishes what is new in them; all, or nothing.

        What is wrong is logged and stored in `read`; what was in force stays. Raises the driver's errors.
        """
        look, found = await in_reader(_read, self._directory)
        if isinstance(found, pricing.ConfigError):
            read = FilesRead(refused=tuple(map(str, found.problems)))
        else:
            read = await self._publisher.publish_files(found.config, found.plans, _files())
        self._note(look, read)

    async def require(self) -> None:
        """What a start needs: prices, and the plans of the files where none are published.

        Such plans are published whatever else is wrong with the files: the built-in ones would take their
        customers' from them. Raises ConfigError with what is in the way, and the driver's errors.
        """
        published = self._prices.published
        if not published.can_price():
            # It is read once more for its problems, with their places.
            config, plans = read_files(self._directory)
            if plans is not None:
                refuse_disagreements(plans, config.cards)
        if published.latest(Kind.PLANS) is None:
            plans = read_plans(self._directory)
            if plans is not None:
                await self._publisher.publish_plans_of_file(plans, _files())

    def _note(self, look: Look, read: FilesRead) -> None:
        self._taken = look
        self._generation = self._prices.published.generation
        if read == self.read:
            return
        self.read = read
        for problem in read.refused:
            _log.error("prices.refused", problem=problem)
        if read.older:
            _log.warning("prices.older_files", files=list(read.older))


def _files() -> Act:
    """Who publishes what stands in files: with no key, for whoever can write them needs none."""
    return Act("", f"files of {socket.gethostname()}", METHOD)


def _read(directory: Path) -> tuple[Look, Files | pricing.ConfigError]:
    """The files as they were at one look: those that change while they are read are read again."""
    while True:
        look = _look(directory)
        try:
            found: Files | pricing.ConfigError = read_files(directory)
        except pricing.ConfigError as error:
            found = error
        if _look(directory) == look:
            return look, found


def _look(directory: Path) -> Look:
    return dict(_states(directory))


def _states(directory: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    cards = directory / "cards"
    files = [directory / "costs.yaml", directory / PLANS_FILE]
    if cards.is_dir():
        files += sorted(cards.iterdir())
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        yield (
            str(file.relative_to(directory)),
            (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns),
        )
