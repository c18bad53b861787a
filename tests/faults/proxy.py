"""A proxy on PostgreSQL's Unix socket that reads the protocol's messages, and spoils what passes.

It knows a connection's application name from the start-up message, and a batch's write from the text that was
parsed. All messages but the first have a type byte and a length (of itself and the content).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.postgres import PORT

CANCEL_CODE = 80877102
"""In the place of the protocol's version."""
WRITE_MARK = b"INSERT INTO"
IN_TRANSACTION = b"T"
"""What a ReadyForQuery says where a COMMIT is still to come."""
WRITER_NAMES = (" writer ", " locked rounds ")


@dataclass(slots=True, eq=False)
class Link:
    """One proxied connection."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    application_name: str = ""
    writes: set[bytes] = field(default_factory=set)
    """Names of prepared statements that write a batch."""
    in_write: bool = False
    """A write has been bound, and its ReadyForQuery has not come: the COMMIT and its reply lie between."""

    uncommitted: bool = False
    """A write has been carried out in a transaction that is still open: its COMMIT comes apart."""

    commits_apart: bool = False
    """It is that COMMIT that is under way."""

    def cut(self) -> None:
        """Both sides at once, nothing more is sent to either."""
        for _, writer in (self.client, self.server):
            writer.transport.abort()


BeforeWrite = Callable[[Link], Awaitable[None]]
AfterCommit = Callable[[Link, Sequence[bytes]], Awaitable[bool]]
"""Takes all messages of the reply; False: they are not passed on, the link has been cut."""


class Proxy:
    """Listens in a directory of its own, as PostgreSQL would, and leads to the real socket."""

    def __init__(self, directory: Path, upstream: Path) -> None:
        self.directory = directory
        self._path = directory / f".s.PGSQL.{PORT}"
        self._upstream = upstream / f".s.PGSQL.{PORT}"
        self._listener: asyncio.Server | None = None
        self.links: set[Link] = set()
        self.before_write: BeforeWrite | None = None
        """Called when the client has sent all of a batch's write, before its Sync is passed on."""
        self.after_commit: AfterCommit | None = None
        """Called when the server has said that the batch is committed, before the client hears of it."""
        self.delay_seconds = 0.0
        """How long each message of the client is held back."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self) -> None:
        """Listens."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._serve, self._path)

    async def refuse(self) -> None:
        """Cuts every connection, and listens no more until `open`."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._path.unlink(missing_ok=True)
        for link in list(self.links):
            link.cut()

    def stall(self) -> None:
        """Passes nothing on, and cuts nothing, until `flow`: a network that swallows packets."""
        self._flowing.clear()

    def flow(self) -> None:
        """Passes everything on."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            writer.transport.abort()
            return
        link = Link((reader, writer), server)
        self.links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._from_client(link))
                tasks.create_task(self._from_server(link))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.links.discard(link)
            link.cut()

    async def _from_client(self, link: Link) -> None:
        reader, _ = link.client
        _, writer = link.server
        writer.write(await _startup(reader, link))
        while True:
            kind, message = await _message(reader)
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._flowing.wait()
            self._note(link, kind, message)
            if kind in (b"S", b"Q") and link.in_write and self.before_write:
                await self.before_write(link)
            writer.write(message)
            await writer.drain()

    async def _from_server(self, link: Link) -> None:
        reader, _ = link.server
        _, writer = link.client
        held: list[bytes] = []
        while True:
            kind, message = await _message(reader)
            await self._flowing.wait()
            held.append(message)
            if link.in_write and kind != b"Z":
                continue
            if kind == b"Z" and link.in_write:
                link.in_write = False
                link.uncommitted = message[5:] == IN_TRANSACTION
                if self.after_commit and not link.uncommitted and not await self.after_commit(link, held):
                    return
            writer.write(b"".join(held))
            held.clear()
            await writer.drain()

    def _note(self, link: Link, kind: bytes, message: bytes) -> None:
        """Learns which statements write, and when one is under way."""
        if not any(name in link.application_name for name in WRITER_NAMES):
            return
        if kind == b"P":
            name, query = message[5:].split(b"\0", 2)[:2]
            (link.writes.add if WRITE_MARK in query else link.writes.discard)(name)
        elif kind == b"B":
            statement = message[5:].split(b"\0", 2)[1]
            link.in_write, link.commits_apart = statement in link.writes, False
        elif kind == b"Q":
            link.in_write = link.commits_apart = link.uncommitted and b"COMMIT" in message.upper()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One message, with its type."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:5]) - 4)


async def _startup(reader: asyncio.StreamReader, link: Link) -> bytes:
    """The first message: a start-up, or a request to cancel. Nobody asks for encryption on a Unix socket."""
    head = await reader.readexactly(8)
    length, code = struct.unpack("!ii", head)
    rest = await reader.readexactly(length - 8)
    if code != CANCEL_CODE:
        words = rest.split(b"\0")
        parameters = dict(zip(words[::2], words[1::2], strict=False))
        link.application_name = parameters.get(b"application_name", b"").decode()
    return head + rest
