"""Recovery: what an earlier process left is charged once, as it was, or late where its hold has ended."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in, searches

from ledger.client import (
    Credits,
    CustomerNotFound,
    InvalidArgument,
    Reservation,
    ReservationState,
    Session,
)
from ledger.client.errors import JournalCorrupt
from ledger.client.journal import Journal, left_in
from ledger.client.outbox import Outbox
from ledger.client.outstanding import charge_of, commit_of, release_of
from ledger.client.requests import labels_message
from ledger.v1.credit_service_pb2 import Labels, ListChargesRequest, ListChargesResponse
from ledger.v1.usage_pb2 import UsageItem
from tests.calling import patient
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LABELS = {"agent": "reviewer", "team": "blue"}


def leave(directory: Path, held: Reservation, *items: UsageItem, request_id: str = "left-1") -> None:
    """What a process leaves that dies in a session with a hold, between an add and the commit."""
    outbox = Outbox(Journal.create(directory))
    write = commit_of(request_id, held.customer_id, held.reservation_id, labels_message(LABELS))
    outbox.take([release_of(held.customer_id, held.reservation_id)], [])
    if items:
        outbox.take([write], [(write, item) for item in items])
    outbox.close()


async def hold(credits: Credits, customer: str, *, ttl_seconds: int = 3_600) -> Reservation:
    """A hold of 10 credits."""
    return await credits.reserve(customer, amount=10, labels=LABELS, ttl_seconds=ttl_seconds)


async def charges(credits: Credits, customer: str) -> ListChargesResponse:
    """What the customer was charged, the latest first."""
    wire = credits._wire
    assert wire is not None
    return await patient(lambda: wire.credits.ListCharges(ListChargesRequest(customer_id=customer)))


async def recovered(shop: Shop, directory: Path, give_up: Sequence[str] = ()) -> tuple[int, list[object]]:
    """What another process recovers: how many items, and the errors of what is refused."""
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=directory) as other:
        recovery = await other.recover(give_up=give_up)
    return recovery.items, [each.error for each in recovery.refused]


async def test_what_was_left_is_committed_and_the_hold_given_back(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """Its file goes, and the customer has what is left."""
    held = await hold(credits, customer)
    leave(tmp_path, held, searches(100), searches(200))
    assert await recovered(shop, tmp_path) == (2, [])
    (charge,) = (await charges(credits, customer)).charges
    assert (charge.reservation_id, charge.late) == (held.reservation_id, False)
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (97, 0)
    assert files_in(tmp_path) == []


async def test_a_hold_of_which_nothing_was_used_goes_back(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """Nobody waits for it to expire."""
    leave(tmp_path, await hold(credits, customer))
    assert await recovered(shop, tmp_path) == (0, [])
    assert (await credits.balance(customer)).held == 0


async def test_a_hold_that_has_expired(credits: Credits, shop: Shop, customer: str, tmp_path: Path) -> None:
    """The commit is taken as a late one."""
    held = await hold(credits, customer, ttl_seconds=1)
    leave(tmp_path, held, searches(100))

    async def has_expired() -> bool:
        found = await credits.get_reservation(customer, held.reservation_id)
        return found.state is ReservationState.EXPIRED

    await until(has_expired)
    assert await recovered(shop, tmp_path) == (1, [])
    (charge,) = (await charges(credits, customer)).charges
    assert (charge.late, charge.charged_micros, charge.reservation_id) == (
        True,
        1_000_000,
        held.reservation_id,
    )


async def test_a_hold_that_is_closed(credits: Credits, shop: Shop, customer: str, tmp_path: Path) -> None:
    """A charge of work that is done takes the commit's place, with its labels, and once."""
    held = await hold(credits, customer)
    await credits.release(customer, held.reservation_id)
    leave(tmp_path / "journal", held, searches(100))
    shutil.copytree(tmp_path / "journal", tmp_path / "as it was")
    for directory in ("journal", "as it was"):
        assert await recovered(shop, tmp_path / directory) == (1, [])
        (charge,) = (await charges(credits, customer)).charges
        assert (charge.reservation_id, charge.charged_micros) == ("", 1_000_000)
        assert (charge.labels.agent, dict(charge.labels.other)) == ("reviewer", {"team": "blue"})


async def test_a_late_charge_is_in_the_journal_before_it_is_sent(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """A process that dies at it leaves the charge: the commit is not tried again."""
    held = await hold(credits, customer)
    leave(tmp_path, held, searches(100))
    await credits.release(customer, held.reservation_id)
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path) as other:
        sent: list[str] = []
        assert other._delivery is not None
        carry_out = other._delivery._carry_out

        async def died(item: object, *, timeout_seconds: float | None = None) -> object:
            sent.append(item.WhichOneof("write"))
            if sent == ["commit", "charge"]:
                raise asyncio.CancelledError
            return await carry_out(item, timeout_seconds=timeout_seconds)

        other._delivery._carry_out = died
        with pytest.raises(asyncio.CancelledError):
            await other.recover()
        assert sent == ["commit", "charge"]
    (path,) = left_in(tmp_path)
    left = Journal.adopt(path)
    assert left is not None
    (turn,) = [turn for turn in Outbox(left).in_turns() if turn[0].items]
    assert turn[0].request_id == "left-1.late"
    assert turn[0].outline.charge.already_used
    left.close()
    assert await recovered(shop, tmp_path) == (1, [])
    assert await charged_searches(shop.target, customer) == [100]


async def test_what_is_refused_stays_until_it_is_given_up(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """A wrong item is reported at each recovery, and those that were added with it are charged."""
    held = await hold(credits, customer)
    leave(tmp_path, held, *(searches(number) for number in (1, 2, 3, -4, 5)))
    items, (error,) = await recovered(shop, tmp_path)
    assert (items, type(error)) == (4, InvalidArgument)
    assert sorted(await charged_searches(shop.target, customer)) == [1, 2, 3, 5]
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path) as other:
        (refused,) = (await other.recover()).refused
        assert (refused.customer_id, refused.usage) == (customer, (searches(-4),))
        recovery = await other.recover(give_up=[refused.request_id])
        assert (recovery.refused, recovery.given_up) == ((), (refused.request_id,))
    assert files_in(tmp_path) == []
    assert (await credits.balance(customer)).held == 0


async def test_what_a_session_was_refused_is_recovered_by_its_process_too(
    shop: Shop, customer: str, tmp_path: Path
) -> None:
    """Leaving says so, the summary has it, and recovery reports it until it is given up."""
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path) as own:

        async def work(session: Session) -> None:
            async with session:
                session.add([searches(100), searches(-4), searches(200)])

        session = own.session(customer, estimate=10)
        with pytest.raises(InvalidArgument):
            await work(session)
        assert [item.units.quantity for item in session.summary().uncommitted] == ["-4"]
        for _ in range(2):
            (refused,) = (await own.recover()).refused
            assert [item.units.quantity for item in refused.usage] == ["-4"]
        assert (await own.recover(give_up=[refused.request_id])).given_up == (refused.request_id,)
        assert (await own.recover()).refused == ()
    assert sorted(await charged_searches(shop.target, customer)) == [100, 200]
    assert files_in(tmp_path) == []


async def test_a_customer_whom_the_ledger_does_not_know(shop: Shop, tmp_path: Path) -> None:
    """Nothing is dropped: once there is the customer, it is charged."""
    outbox = Outbox(Journal.create(tmp_path))
    write = charge_of("left-1", "nobody", Labels())
    outbox.take([write], [(write, searches(100))])
    outbox.close()
    items, (error,) = await recovered(shop, tmp_path)
    assert (items, type(error)) == (0, CustomerNotFound)
    assert len(files_in(tmp_path)) == 1


async def test_a_damaged_file_is_reported_and_left(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """With its place; the other files are recovered."""
    held = await hold(credits, customer)
    leave(tmp_path, held, searches(1), request_id="damaged")
    (path,) = left_in(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    leave(tmp_path, held, searches(100))
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path) as other:
        with pytest.raises(JournalCorrupt, match="damaged at byte") as found:
            await other.recover()
    assert found.value.path == path
    assert await charged_searches(shop.target, customer) == [100]
    assert path.read_bytes() == content


async def test_two_processes_recover_at_once(
    credits: Credits, shop: Shop, customer: str, tmp_path: Path
) -> None:
    """A file is one's or the other's."""
    for number in range(10):
        leave(tmp_path, await hold(credits, customer), searches(number), request_id=f"left-{number}")
    outcomes = await asyncio.gather(recovered(shop, tmp_path), recovered(shop, tmp_path))
    assert sum(items for items, _ in outcomes) == 10
    assert sorted(await charged_searches(shop.target, customer)) == list(range(10))
    assert files_in(tmp_path) == []
