"""The journal: a local file of what was done and is not acknowledged, which outlives the process.

A file is a line that says what it is, and records after it: the length and the CRC-32 of what is stored,
the CRC-32 of these two, what is stored, and a newline. A process that dies, or a machine that loses power,
leaves at most a last record that is not whole (or zeros where the file had grown): nobody was answered that
it is stored, and it is passed over. Anything else that does not read is damage, reported with its place, and
never passed over.

Each process has a file of its own in a directory of all, locked (`flock`) while it is open: who finds a
file that is not locked has found what a process left. A process that is forked lets go of its parent's files
at once: it would write into them, and hold their locks after the parent has died. What the records mean says
`ledger.client.outbox`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple
from weakref import WeakSet
from zlib import crc32

from ledger.client.errors import JournalCorrupt, JournalError, JournalFull

MAGIC: Final = b"acu-ledger usage journal 1\n"
SUFFIX: Final = ".journal"
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a file, if nothing else is said: some 500,000 items without an answer, hours of a busy process."""

_HEADER: Final = struct.Struct("<III")
_FIRST: Final = struct.Struct("<II")
_END: Final = b"\n"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What an operating system says where there is no room."""
_OWN_DIRECTORY: Final = 0o700
"""Of one that is made for it: who could add a file to it would have it sent as usage."""
_CLOSED: Final = -1
"""In the place of a descriptor: its number may be another file's by now."""


class Contents(NamedTuple):
    """What a file holds."""

    records: tuple[bytes, ...]
    end_bytes: int
    """Where the last whole record ends."""


def framed(record: bytes) -> bytes:
    """A record as it stands in a file. Raises ValueError for an empty one, which says nothing."""
    if not record:
        raise ValueError("a record is not empty")
    first = _FIRST.pack(len(record), crc32(record))
    return b"".join((first, crc32(first).to_bytes(4, "little"), record, _END))


def read(content: bytes, path: Path) -> Contents:
    """The records of a file's content. Raises JournalCorrupt, which names the path."""
    if not content.startswith(MAGIC):
        if MAGIC.startswith(content.rstrip(b"\0")):
            return Contents((), 0)
        raise JournalCorrupt(path, 0)
    records, at = [], len(MAGIC)
    while (after := _end_of_record(content, at, path)) is not None:
        records.append(content[at + _HEADER.size : after - len(_END)])
        at = after
    return Contents(tuple(records), at)


def _end_of_record(content: bytes, at: int, path: Path) -> int | None:
    """Where the record that begins at `at` ends; None where no whole one does."""
    if len(content) - at < _HEADER.size:
        return None
    length, check, check_of_header = _HEADER.unpack_from(content, at)
    start = at + _HEADER.size
    if not length or crc32(content[at : at + _FIRST.size]) != check_of_header:
        if any(content[start:]):
            raise JournalCorrupt(path, at)
        # The file had grown, and power was lost before the record was on the disk.
        return None
    end: int = start + length
    if content[end : end + len(_END)] != _END:
        if any(content[end + len(_END) :]):
            raise JournalCorrupt(path, at)
        return None
    if crc32(content[start:end]) != check:
        raise JournalCorrupt(path, at)
    return end + len(_END)


class Journal:
    """One file, open and locked, to whose end records are added."""

    def __init__(
        self, path: Path, descriptor: int, contents: Contents, *, bytes_max: int, fsync: bool
    ) -> None:
        self.path = path
        self.records = contents.records
        """What it held when it was opened."""
        self._descriptor = descriptor
        self._end_bytes = contents.end_bytes
        self._bytes_max = bytes_max
        self._fsync = fsync
        self._tail_is_clean = False
        self._is_listed = not fsync
        """Whether its name is stored: without, a loss of power takes all that is added."""
        _open.add(self)

    @classmethod
    def create(cls, directory: Path, *, bytes_max: int = BYTES_MAX, fsync: bool = False) -> Journal:
        """A new file of this process's own. With `fsync` a record outlives a loss of power too.

        Raises JournalError.
        """
        try:
            directory.mkdir(_OWN_DIRECTORY, parents=True, exist_ok=True)
            while True:
                path = directory / f"{os.getpid()}-{token_hex(8)}{SUFFIX}"
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                if _locked(path, descriptor):
                    break
            journal = cls(path, descriptor, Contents((), 0), bytes_max=bytes_max, fsync=fsync)
            journal._begin()
        except OSError as error:
            raise _failed(directory, error) from error
        return journal

    @classmethod
    def adopt(cls, path: Path, *, bytes_max: int = BYTES_MAX, fsync: bool = False) -> Journal | None:
        """A file that another process left; None where one has it open, or it is gone.

        Raises JournalCorrupt, JournalError.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(path, error) from error
        if not _locked(path, descriptor):
            return None
        try:
            with suppress(FileNotFoundError):
                _unfinished(path).unlink()
            contents = read(_content(descriptor), path)
        except OSError as error:
            os.close(descriptor)
            raise _failed(path, error) from error
        except JournalCorrupt:
            os.close(descriptor)
            raise
        return cls(path, descriptor, contents, bytes_max=bytes_max, fsync=fsync)

    @property
    def end_bytes(self) -> int:
        """How long it is."""
        return self._end_bytes

    @property
    def bytes_max(self) -> int:
        """How long it may be with what is to be done; what is said of it afterwards is always taken."""
        return self._bytes_max

    def append(self, *records: bytes) -> None:
        """Stores records, all of them or none. Raises JournalFull where the disk is full, JournalError."""
        self._write(b"".join(map(framed, records)))

    def rewrite(self, records: Iterable[bytes]) -> None:
        """Holds these records alone from now on. Raises JournalError, and then holds what it held."""
        self._check_open()
        fresh = _unfinished(self.path)
        descriptor = None
        try:
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = b"".join((MAGIC, *map(framed, records)))
            _write_at(descriptor, content, 0)
            if self._fsync:
                os.fsync(descriptor)
            fresh.rename(self.path)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
                with suppress(OSError):
                    fresh.unlink()
            raise _failed(self.path, error) from error
        os.close(self._descriptor)
        self._descriptor, self._end_bytes, self._tail_is_clean = descriptor, len(content), True
        self._is_listed = not self._fsync

    def close(self) -> None:
        """Leaves what it holds to whoever finds it. Closed twice is closed."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def remove(self) -> None:
        """Closes it, and takes the file away; one that is closed is not its own any more."""
        if self._descriptor != _CLOSED:
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def _begin(self) -> None:
        """Writes what says that it is a journal."""
        try:
            _write_at(self._descriptor, MAGIC, 0)
            self._store_name()
        except OSError:
            self.remove()
            raise
        self._end_bytes, self._tail_is_clean = len(MAGIC), True

    def _check_open(self) -> None:
        if self._descriptor == _CLOSED:
            raise JournalError(f"the journal {self.path} is closed: nothing was stored")

    def _write(self, frames: bytes) -> None:
        self._check_open()
        try:
            self._clean_tail()
            self._store_name()
            self._tail_is_clean = False
            _write_at(self._descriptor, frames, self._end_bytes)
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                self._clean_tail()
            raise _failed(self.path, error) from error
        self._end_bytes += len(frames)
        self._tail_is_clean = True

    def _clean_tail(self) -> None:
        """Takes away what stands after the last whole record: a later one would be read after it."""
        if self._tail_is_clean:
            return
        if not self._end_bytes:
            _write_at(self._descriptor, MAGIC, 0)
            self._end_bytes = len(MAGIC)
        os.ftruncate(self._descriptor, self._end_bytes)
        self._tail_is_clean = True

    def _store_name(self) -> None:
        if self._is_listed:
            return
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._is_listed = True


_open: Final[WeakSet[Journal]] = WeakSet()
"""Those of this process, and closed ones that somebody holds yet."""


def _let_go() -> None:
    """In a process that was forked. The locks stay with the parent, whose descriptors are open."""
    for journal in _open:
        journal.close()


os.register_at_fork(after_in_child=_let_go)


def left_in(directory: Path) -> Iterator[Path]:
    """The files of a directory, whoever has them open, the oldest first."""
    if directory.is_dir():
        yield from sorted(directory.glob(f"*{SUFFIX}"), key=_age)


def _age(path: Path) -> tuple[float, str]:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime, path.name
    return 0.0, path.name


def _unfinished(path: Path) -> Path:
    """Where a file is written anew: only who has the file itself locked does."""
    return path.with_suffix(".new")


def _locked(path: Path, descriptor: int) -> bool:
    """Locks a file, or closes it where another process has it, or the path is of another file by now."""
    mine = False
    try:
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(descriptor), path.stat())
    finally:
        if not mine:
            os.close(descriptor)
    return mine


def _content(descriptor: int) -> bytes:
    parts, at = [], 0
    while part := os.pread(descriptor, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _write_at(descriptor: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _failed(path: Path, error: OSError) -> JournalError:
    if error.errno in _FULL:
        return JournalFull(f"no room for the journal {path}: {error.strerror}")
    return JournalError(f"the journal {path}: {error.strerror}")
