"""A TCP relay between clients and a server, whose connections can be cut."""

from __future__ import annotations

import asyncio

CHUNK_BYTES = 65_536


class Relay:
    """Listens on a free port of loopback and leads to one server."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.target = ""

    async def open(self) -> None:
        """Listens at `target`."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def cut(self) -> int:
        """Resets every connection, in the middle of whatever it carries; how many there were."""
        for writer in self._writers:
            writer.transport.abort()
        return len(self._writers) // 2

    def close(self) -> None:
        """Listens no more, and cuts what is left."""
        if self._listener is not None:
            self._listener.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        writers = {writer, there_writer}
        self._writers |= writers
        try:
            await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))
        except OSError:
            pass
        finally:
            self._writers -= writers
            for each in writers:
                each.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the sender ends; then both directions end."""
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError
