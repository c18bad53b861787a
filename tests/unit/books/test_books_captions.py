"""What every entry says of itself beside its postings: who asked, under which plan, terms and labels."""

from __future__ import annotations

from datetime import timedelta

from books_world import World

from ledger.books import (
    Command,
    Entry,
    EntryKind,
    Extend,
    GrantKind,
    IssueGrant,
    Plan,
    Release,
    Reserve,
)
from tests.build import decided

LABELS = {"project": "red"}
LATER = timedelta(minutes=3)


def entry_of(world: World, command: Command) -> Entry:
    """Run a command that charges nothing, and check what its entry says of the request and the plan."""
    entry = decided(world.run(command)).entry
    assert (entry.request_id, entry.fingerprint) == (command.request_id, command.fingerprint)
    assert entry.plan == world.plan.name
    assert (entry.late, entry.final) == (False, False)
    return entry


def a_hold(world: World) -> int:
    """Grant credits and hold some; give the reservation's sequence."""
    entry_of(world, IssueGrant("grant", b"g", 10, GrantKind.PAID, 10))
    held = entry_of(world, Reserve("hold", b"h", 5, ttl=LATER, labels=LABELS))
    assert (held.kind, held.terms, held.labels) == (EntryKind.RESERVE, world.terms, LABELS)
    return held.sequence


def test_an_extension_and_a_release_carry_the_terms_and_labels_of_their_hold() -> None:
    """Each names its own request, and what the reservation was made under."""
    world = World(Plan("gold", None))
    hold = a_hold(world)
    extended = entry_of(world, Extend("extend", b"e", hold, 1))
    released = entry_of(world, Release("release", b"r", hold))
    assert (extended.kind, released.kind) == (EntryKind.EXTEND, EntryKind.RELEASE)
    for entry in (extended, released):
        assert (entry.terms, entry.labels) == (world.terms, LABELS)


def test_an_expiry_carries_the_terms_and_labels_of_its_hold_and_names_no_request() -> None:
    """Nobody asked for what is due by the clock; plan, terms and labels are the reservation's."""
    world = World(Plan("gold", None))
    a_hold(world)
    (expired,) = [decision.entry for decision in world.pass_time(LATER)]
    assert (expired.kind, expired.request_id, expired.fingerprint) == (
        EntryKind.RESERVATION_EXPIRED,
        None,
        None,
    )
    assert (expired.plan, expired.terms, expired.labels) == ("gold", world.terms, LABELS)


def test_the_start_and_the_expiry_of_a_lot_name_the_plan_and_the_lot() -> None:
    """Both are entries of the customer's plan, about the lot that the grant made."""
    world = World(Plan("gold", None))
    start, end = world.now + LATER, world.now + 2 * LATER
    grant = entry_of(
        world, IssueGrant("grant", b"g", 10, GrantKind.PAID, 10, effective_at=start, expires_at=end)
    )
    entries = [decision.entry for decision in world.pass_time(2 * LATER)]
    assert [entry.kind for entry in entries] == [EntryKind.GRANT_STARTED, EntryKind.GRANT_EXPIRED]
    assert [entry.effective_at for entry in entries] == [start, end]
    for entry in entries:
        assert (entry.plan, entry.subject, entry.subject_n) == ("gold", grant.sequence, 0)
        assert entry.request_id is None
