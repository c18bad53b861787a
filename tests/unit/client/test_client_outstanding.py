"""What a journal says is outstanding: in its order, and nothing of it is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.client.errors import JournalError, UsageError
from ledger.client.journal import Journal
from ledger.client.outbox import Outbox
from ledger.client.outstanding import Write, charge_of, commit_of, halves
from ledger.v1.credit_service_pb2 import Labels
from ledger.v1.usage_pb2 import UnitUsage, UsageItem

LATER = b"\x06\x03\x00new"
"""A record of a kind that a later version may have, of a write that this one has never heard of."""


def write(name: str, *quantities: int) -> Write:
    """A part of one session."""
    made = commit_of(name, "acme", "reservation", Labels())
    made.items += [UsageItem(units=UnitUsage(meter="page", quantity=str(each))) for each in quantities]
    return made


def ids(outbox: Outbox) -> list[str]:
    """Of all writes, as they are to be sent."""
    return [each.request_id for turn in outbox.in_turns() for each in turn]


def taken(outbox: Outbox, *writes: Write) -> None:
    """Stores them as they are."""
    for each in writes:
        items = [(each, item) for item in each.items]
        each.items = []
        outbox.take([each], items)


@pytest.mark.parametrize(
    "record", [LATER, b"\x01", b"\x01\x01\x00a\xff\xff\xff\xff", b"\x02\x01\x00a\xff", b"\x03\x01\x00\xff"]
)
def test_what_a_later_version_wrote_is_neither_passed_over_nor_taken_away(
    tmp_path: Path, record: bytes
) -> None:
    """The file stays as it is, free for whoever reads it: also where nothing that is read is outstanding."""
    journal = Journal.create(tmp_path)
    taken(Outbox(journal), write("a", 1))
    journal.append(record)
    journal.close()
    content = journal.path.read_bytes()
    for _ in range(2):
        adopted = Journal.adopt(journal.path)
        assert adopted is not None
        with pytest.raises(JournalError, match=f"{journal.path.name} holds what this version"):
            Outbox(adopted)
    assert journal.path.read_bytes() == content


def test_what_takes_the_place_of_a_write_is_sent_in_its_place(tmp_path: Path) -> None:
    """By the process, by the one that adopts its journal, and after that is written anew."""
    outbox = Outbox(journal := Journal.create(tmp_path))
    first, middle, last = write("a", 1), write("b", 2, 3, 4), write("c", 5)
    taken(outbox, first, middle, last)
    _, second = outbox.replace(middle, halves(middle))
    outbox.replace(second, halves(second))
    expected = ["a", "b.1", "b.2.1", "b.2.2", "c"]
    assert ids(outbox) == expected
    outbox.close()
    for _ in range(2):
        adopted = Journal.adopt(journal.path)
        assert adopted is not None
        outbox = Outbox(adopted)
        assert ids(outbox) == expected
        outbox.tidy()
        outbox.close()


def test_a_request_id_that_no_journal_takes(tmp_path: Path) -> None:
    """It is refused as what is said, and nothing is stored."""
    outbox = Outbox(journal := Journal.create(tmp_path))
    with pytest.raises(UsageError, match="request_id: has 65536 bytes"):
        outbox.take([charge_of("x" * 65_536, "acme", Labels())], [])
    assert outbox.is_empty
    journal.remove()
