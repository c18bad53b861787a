"""A line between a client and a server on which answers can be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_CHUNK_BYTES = 65_536


@dataclass(slots=True)
class Line:
    """Carries bytes both ways. While answers are withheld a server gets requests, its client nothing."""

    server: str
    """HOST:PORT, as it is now."""
    target: str = ""
    """What the client calls."""
    withholds: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Ends all connections, and carries whatever comes then."""
        self.withholds = False
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        host, _, port = self.server.rpartition(":")
        try:
            their_reader, their_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, their_writer}
        try:
            await asyncio.gather(
                self._pass(reader, their_writer, is_answer=False),
                self._pass(their_reader, writer, is_answer=True),
            )
        finally:
            self._writers -= {writer, their_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if not (is_answer and self.withholds):
                    writer.write(data)
        writer.transport.abort()


@asynccontextmanager
async def line_to(server: str) -> AsyncIterator[Line]:
    """A line to a server, which may become another one."""
    line = Line(server)
    listener = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        listener.close()
        line.cut()
        await listener.wait_closed()
