"""The journal's file: whatever ends the process or the disk, what was stored is read, and damage is said."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.client.errors import JournalCorrupt, JournalError, JournalFull
from ledger.client.journal import MAGIC, Journal, framed, left_in, read

RECORDS = (b"one", b"the second, which is longer\n", b"\0\0\0", b"last")
PATH = Path("some.journal")


def whole(*records: bytes) -> bytes:
    """What a file with these records holds."""
    return MAGIC + b"".join(map(framed, records))


def ends(*records: bytes) -> list[int]:
    """Where each record ends."""
    return [len(whole(*records[:number])) for number in range(len(records) + 1)]


def test_records_are_read_in_their_order() -> None:
    """What was stored is what is read, newlines and zeros too."""
    assert read(whole(*RECORDS), PATH) == (RECORDS, len(whole(*RECORDS)))
    assert read(MAGIC, PATH) == ((), len(MAGIC))


@pytest.mark.parametrize("zeros", [0, 1, 4096])
def test_cut_at_every_byte(zeros: int) -> None:
    """A file that ends anywhere is read up to its last whole record, also with zeros after it."""
    content = whole(*RECORDS)
    for length in range(len(content)):
        stored = [end for end in ends(*RECORDS) if end <= length]
        records, end = read(content[:length] + bytes(zeros), PATH)
        assert records == RECORDS[: max(0, len(stored) - 1)]
        assert end == (stored[-1] if stored else 0)


def test_every_changed_byte_is_found() -> None:
    """A byte that is not what was written is damage, reported with the record's place."""
    content = whole(*RECORDS)
    starts = [0, *ends(*RECORDS)[:-1]]
    # The last byte says that the last record is whole: without it, it is not.
    for at in range(len(content) - 1):
        damaged = bytearray(content)
        damaged[at] ^= 0x55
        with pytest.raises(JournalCorrupt) as found:
            read(bytes(damaged), PATH)
        assert found.value.offset_bytes == max(start for start in starts if start <= at)
        assert (found.value.path, str(PATH) in str(found.value)) == (PATH, True)


def test_a_record_says_something() -> None:
    """Of zeros on a disk none can be told from a record of nothing."""
    with pytest.raises(ValueError, match="not empty"):
        framed(b"")


def test_what_a_process_left_is_adopted(tmp_path: Path) -> None:
    """Whoever finds the file reads what was stored, and goes on after it."""
    journal = Journal.create(tmp_path / "deep" / "directory")
    journal.append(b"one", b"two")
    journal.append(b"three")
    journal.close()
    (path,) = left_in(tmp_path / "deep" / "directory")
    adopted = Journal.adopt(path)
    assert adopted is not None
    assert adopted.records == (b"one", b"two", b"three")
    adopted.append(b"four")
    adopted.close()
    assert read(path.read_bytes(), path).records == (b"one", b"two", b"three", b"four")


def test_a_torn_tail_is_overwritten(tmp_path: Path) -> None:
    """What comes after what was read is not in the way of what is added."""
    for length in range(len(whole(*RECORDS))):
        path = tmp_path / f"{length}.journal"
        path.write_bytes(whole(*RECORDS)[:length])
        adopted = Journal.adopt(path)
        assert adopted is not None
        adopted.append(b"new")
        adopted.close()
        assert read(path.read_bytes(), path).records == (*adopted.records, b"new")


def test_an_open_file_is_left_alone(tmp_path: Path) -> None:
    """Clients have files of their own, and none takes another's, before and after it is written anew."""
    one, two = Journal.create(tmp_path), Journal.create(tmp_path)
    assert one.path != two.path
    one.append(b"record")
    assert Journal.adopt(one.path) is None
    one.rewrite([b"record"])
    assert Journal.adopt(one.path) is None
    one.close()
    adopted = Journal.adopt(one.path)
    assert adopted is not None
    assert Journal.adopt(one.path) is None
    adopted.remove()
    two.remove()
    assert list(tmp_path.iterdir()) == []
    assert Journal.adopt(one.path) is None


def test_written_anew(tmp_path: Path) -> None:
    """A file holds what is outstanding alone, and what is added to it afterwards."""
    journal = Journal.create(tmp_path, fsync=True)
    journal.append(*(b"settled" for _ in range(100)))
    journal.rewrite([b"left"])
    journal.append(b"added")
    journal.close()
    assert read(journal.path.read_bytes(), journal.path).records == (b"left", b"added")
    assert [path.name for path in tmp_path.iterdir()] == [journal.path.name]


def test_what_was_begun_anew_by_a_process_that_died_goes(tmp_path: Path) -> None:
    """The file itself was not touched yet: it holds all."""
    journal = Journal.create(tmp_path)
    journal.append(b"record")
    journal.close()
    journal.path.with_suffix(".new").write_bytes(MAGIC)
    adopted = Journal.adopt(journal.path)
    assert adopted is not None
    assert adopted.records == (b"record",)
    assert [path.name for path in tmp_path.iterdir()] == [journal.path.name]
    adopted.close()


Write = Callable[[int, bytes, int], int]


def full_after(bytes_left: int, write: Write = os.pwrite) -> Write:
    """`os.pwrite` on a disk that has so many bytes left."""

    def pwrite(descriptor: int, content: bytes, at: int) -> int:
        nonlocal bytes_left
        if not bytes_left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, content[:bytes_left], at)
        bytes_left -= written
        return written

    return pwrite


def test_a_full_disk_takes_a_record_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the room ends: it is reported, what was stored stays, and later there is room again."""
    for room in range(len(framed(b"refused"))):
        journal = Journal.create(tmp_path)
        journal.append(b"stored")
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full_after(room))
            with pytest.raises(JournalFull, match="No space left"):
                journal.append(b"refused")
            assert read(journal.path.read_bytes(), journal.path).records == (b"stored",)
        journal.append(b"later")
        assert read(journal.path.read_bytes(), journal.path).records == (b"stored", b"later")
        journal.remove()


def test_a_full_disk_leaves_the_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write it anew needs room: without any, it goes on as it was."""
    journal = Journal.create(tmp_path)
    journal.append(b"stored")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full_after(len(MAGIC) + 3))
        with pytest.raises(JournalFull):
            journal.rewrite([b"stored"])
    journal.append(b"later")
    assert read(journal.path.read_bytes(), journal.path).records == (b"stored", b"later")
    assert [path.name for path in tmp_path.iterdir()] == [journal.path.name]
    journal.remove()


def test_nothing_is_stored_that_the_disk_does_not_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fsync a record counts when the disk has it."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = Journal.create(tmp_path, fsync=True)
    journal.append(b"stored")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(JournalError, match="Input/output error"):
            journal.append(b"refused")
    assert read(journal.path.read_bytes(), journal.path).records == (b"stored",)
    journal.remove()


def test_a_name_that_the_disk_does_not_confirm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fsync a file that is written anew takes no record before its new name is stored."""
    journal = Journal.create(tmp_path, fsync=True)
    is_directory, fsync = stat.S_ISDIR, os.fsync
    names_stored = 0

    def without_names(descriptor: int) -> None:
        if is_directory(os.fstat(descriptor).st_mode):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        fsync(descriptor)

    def counted(descriptor: int) -> None:
        nonlocal names_stored
        names_stored += is_directory(os.fstat(descriptor).st_mode)
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", without_names)
        journal.rewrite([b"stored"])
        with pytest.raises(JournalError, match="Too many open files"):
            journal.append(b"refused")
        with pytest.raises(JournalError, match="Too many open files"):
            Journal.create(tmp_path, fsync=True)
        patched.setattr(os, "fsync", counted)
        journal.append(b"later")
        journal.append(b"last")
    assert names_stored == 1
    assert read(journal.path.read_bytes(), journal.path).records == (b"stored", b"later", b"last")
    assert list(tmp_path.iterdir()) == [journal.path]
    journal.remove()


def test_others_neither_read_nor_write_it(tmp_path: Path) -> None:
    """Whatever the process lets others do with its files: usage is nobody else's, and nobody adds to it."""
    mask = os.umask(0)
    try:
        journal = Journal.create(tmp_path / "made" / "journal")
        journal.rewrite([b"stored"])
    finally:
        os.umask(mask)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    journal.remove()


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    """A client says at once where its journal cannot be."""
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(JournalError, match="file"):
        Journal.create(tmp_path / "file")
