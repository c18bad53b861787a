"""What a process knows of keys, and whom it lets in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPConnection

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from ledger.access import table as table_module
from ledger.access.caller import LOOPBACK, Caller
from ledger.access.keys import Key
from ledger.access.table import KeysOutdatedError, UnauthenticatedError
from ledger.api.back_office.scrapes import admit_finance
from ledger.metrics.port import serve
from ledger.store.access.keys import revoke_key, rotate_key
from tests.acts import ACT
from tests.keys import draft


def sent(key: Key, scheme: str = "Bearer") -> list[tuple[str, str]]:
    return [("user-agent", "a test"), ("authorization", f"{scheme} {key.text}")]


async def test_whoever_is_on_the_machine_may_call_while_there_is_no_key(open_table, make, database):
    """A database without a key is open on loopback; one that holds a key, even a revoked one, is not."""
    table = await open_table()
    assert table.authorize(None) is LOOPBACK
    key = await make()
    assert table.authorize(()) is LOOPBACK
    await table.look()
    await revoke_key(database.writer, key.key_id, ACT)
    await table.look()
    for metadata in (None, (), sent(key)):
        with pytest.raises(UnauthenticatedError):
            table.authorize(metadata)
    assert table.has_keys
    assert not table.has_usable_key()


async def test_a_server_of_others_is_open_to_nobody(open_table, make):
    """Off loopback a database without a key lets nobody in."""
    table = await open_table(open_without_keys=False)
    with pytest.raises(UnauthenticatedError):
        table.authorize(None)
    key = await make()
    await table.look()
    assert table.authorize(sent(key)).key_id == key.key_id


async def test_a_key_stands_for_what_it_was_made_for(open_table, make, database):
    """Name, scopes and customers come from the key."""
    await database.writer.execute("INSERT INTO ledger.customers (customer_id, cell) VALUES ('a', 'cell_00')")
    key = await make("backend", "refund", name="app", customers=("a",))
    other = await make("ops", name="desk")
    table = await open_table()
    expected = Caller(key.key_id, "app", frozenset({"backend", "refund"}), frozenset({"a"}))
    assert table.authorize(sent(key)) == expected
    assert table.authorize(sent(key, "bearer")) == expected
    assert table.authorize(sent(other)) == Caller(other.key_id, "desk", frozenset({"ops"}), None)


async def test_who_is_let_in_by_nobody(open_table, make):
    """A key lets in as a whole: neither its id with another secret, nor twice, nor by another scheme."""
    key, other = await make(), await make()
    table = await open_table()
    for metadata in (
        None,
        [("authorization", "")],
        [("authorization", key.text)],
        [("authorization", f"Bearer  {key.text}")],
        [("authorization", f"Bearer {key.text[:-1]}")],
        [("authorization-bin", f"Bearer {key.text}".encode())],
        sent(key, "Basic"),
        sent(Key(key.key_id, other.secret)),
        sent(Key.draw()),
        sent(table_module._NOBODYS),
        [*sent(key), *sent(key)],
        [*sent(key), *sent(other)],
    ):
        with pytest.raises(UnauthenticatedError):
            table.authorize(metadata)


async def test_a_scrape_shows_one_key(open_table, make):
    """As a call does: with two it is refused, whichever comes first; a proxy may have added one."""
    key = await make("ops", "finance")
    table = await open_table()
    right, wrong = f"Bearer {key.text}", f"Bearer {Key.draw().text}"
    port = serve(0, "127.0.0.1", CollectorRegistry(), admit=admit_finance(table.authorize))
    try:
        for shown, expected in (
            ([right], 200),
            ([right.replace("Bearer", "bearer")], 200),
            ([], 401),
            ([wrong], 401),
            ([right, right], 401),
            ([right, wrong], 401),
            ([wrong, right], 401),
            ([f"{right}é"], 401),
            ([right + "0" * 60_000], 401),
        ):
            connection = HTTPConnection(f"127.0.0.1:{port.port}", timeout=60)
            connection.putrequest("GET", "/metrics")
            for each in shown:
                connection.putheader("Authorization", each.encode("latin-1"))
            connection.endheaders()
            assert (await asyncio.to_thread(connection.getresponse)).status == expected
            connection.close()
    finally:
        port.close()


async def test_wrong_keys_take_no_memory(open_table, make):
    """However many are sent, of known and of unknown ids; none is noted as used."""
    key = await make()
    table = await open_table()
    known = dict(table._known)
    for _ in range(1_000):
        for wrong in (Key.draw(), Key(key.key_id, Key.draw().secret)):
            with pytest.raises(UnauthenticatedError):
                table.authorize(sent(wrong))
    assert (table._known, table._used, table._noted) == (known, set(), {})


async def test_no_character_of_a_key_can_be_another(open_table, make):
    """Neither by case, nor by a digit or a letter of another script, nor by a blank around it."""
    key = await make()
    table = await open_table()
    text = key.text
    wrong = {text.upper(), text.lower(), text.swapcase(), f" {text}", f"{text} ", f"{text}\n", f"{text}\0"}
    for index, old in enumerate(text):
        for new in (old.swapcase(), "\u0661", "\uff41", "\u0430", "é", "A", "1"):
            wrong.add(text[:index] + new + text[index + 1 :])
    for each in wrong - {text}:
        with pytest.raises(UnauthenticatedError):
            table.authorize([("authorization", f"Bearer {each}")])


async def test_a_key_expires_by_the_clock_of_the_database(open_table, make, clock):
    """To the instant, without a look at the database."""
    key = await make(expires_at=clock() + timedelta(hours=1))
    table = await open_table()
    clock.pass_by(hours=0.999)
    table.authorize(sent(key))
    clock.pass_by(hours=0.001)
    with pytest.raises(UnauthenticatedError):
        table.authorize(sent(key))
    assert not table.has_usable_key()


async def test_keys_that_are_about_to_end_are_shown(open_table, make, clock, database):
    """Within 30 days, and for a day after; not what never ends, was revoked, or has another in its place."""
    soon = await make(expires_at=clock() + timedelta(days=29))
    await make(expires_at=clock() + timedelta(days=31))
    await make()
    replaced, revoked = [await make(expires_at=clock() + timedelta(days=2)) for _ in range(2)]
    second = draft(Key.draw(), "ops", request_id="rotated")
    await rotate_key(database.writer, replaced.key_id, "rotated", b"f", timedelta(days=1), lambda *_: second)
    await revoke_key(database.writer, revoked.key_id, ACT)
    table = await open_table()
    assert table.ending() == {soon.key_id: clock() + timedelta(days=29)}
    clock.pass_by(days=29.5)
    assert soon.key_id in table.ending()
    clock.pass_by(days=1)
    assert soon.key_id not in table.ending()


async def test_changes_are_found_in_order_by_every_process(open_table, make, database):
    """A look takes in what others have made and revoked, and leaves alone what is as it was."""
    first = await make()
    here, there = await open_table(), await open_table()
    second = await make()
    await revoke_key(database.writer, first.key_id, ACT)
    for table in (here, there):
        await table.look()
        with pytest.raises(UnauthenticatedError):
            table.authorize(sent(first))
        assert table.authorize(sent(second)).key_id == second.key_id


async def test_a_revoked_key_is_refused_without_anybody_asking(open_table, make, database):
    """The table follows the database by itself."""
    key = await make()
    table = await open_table(poll_seconds=0.01)
    following = asyncio.create_task(table.run())
    table.authorize(sent(key))
    await revoke_key(database.writer, key.key_id, ACT)
    with suppress(UnauthenticatedError):
        async with asyncio.timeout(60):
            while True:
                table.authorize(sent(key))
                await asyncio.sleep(0)
    following.cancel()


async def test_a_process_that_cannot_look_goes_on_for_five_minutes(open_table, make):
    """Then it refuses all that needs a key, and whoever needed none; with the next look it goes on."""
    key, now = await make(), 1_000.0
    table = await open_table(seconds=lambda: now)
    now += 299
    table.authorize(sent(key))
    now += 2
    for metadata in (sent(key), None):
        with pytest.raises(KeysOutdatedError):
            table.authorize(metadata)
    await table.look()
    table.authorize(sent(key))


async def test_keys_of_a_lost_history_are_forgotten(open_table, make, database_urls, database):
    """A database that was restored knows its own keys: those made since are refused, the revoked are not."""
    old = await make()
    table = await open_table()
    owner = await asyncpg.connect(database_urls.owner)
    await owner.execute("CREATE TABLE public.backup AS SELECT * FROM ledger.keys")
    new = await make()
    await revoke_key(database.writer, old.key_id, ACT)
    await table.look()
    # As a restore does it: the rows and the generation of before, then as many changes as were lost.
    await owner.execute(
        "DELETE FROM ledger.keys; INSERT INTO ledger.keys SELECT * FROM public.backup;"
        "UPDATE ledger.keys SET generation = (SELECT generation FROM ledger.key_generation)"
    )
    await owner.close()
    await table.look()
    assert table.authorize(sent(new)).key_id == new.key_id
    database.history.turns += 1
    await table.look()
    assert table.authorize(sent(old)).key_id == old.key_id
    with pytest.raises(UnauthenticatedError):
        table.authorize(sent(new))


async def test_a_generation_that_went_back_is_read_anew(open_table, make, database_urls):
    """Whoever takes keys away by hand, at the database, is believed."""
    key = await make()
    table = await open_table()
    owner = await asyncpg.connect(database_urls.owner)
    await owner.execute("DELETE FROM ledger.keys; UPDATE ledger.key_generation SET generation = 0")
    await owner.close()
    await table.look()
    assert table.authorize(sent(key)) is LOOPBACK


async def test_a_turn_of_history_has_the_keys_read_at_once(open_table, make, database):
    """Whoever follows does not wait for the next look."""
    table = await open_table(poll_seconds=1_000)
    following = asyncio.create_task(table.run())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while table._looking.locked() or not table._wake._waiters:  # noqa: ASYNC110 -- it has to wait itself
            await asyncio.sleep(0)
        await make()
        assert table.authorize(None) is LOOPBACK
        database.history.turns += 1
        for forget in database.history._forgetful:
            forget(table._clock())
        while not table.has_keys:  # noqa: ASYNC110 -- a table has no event for it
            await asyncio.sleep(0)
    following.cancel()


async def test_the_day_of_the_last_use_is_written_once_a_day(open_table, make, database, clock):
    """No call writes it: whoever looks does, once a day and key, and never an earlier day."""
    key, unused = await make(), await make()
    table = await open_table()
    for _ in range(3):
        table.authorize(sent(key))
    await table._note_uses()
    stored = "SELECT last_used_on FROM ledger.keys WHERE id = $1"
    assert await database.writer.fetchval(stored, key.key_id) == clock().date()
    assert await database.writer.fetchval(stored, unused.key_id) is None
    versions = "SELECT xmin::text FROM ledger.keys WHERE id = $1"
    written = await database.writer.fetchval(versions, key.key_id)
    table.authorize(sent(key))
    await table._note_uses()
    assert await database.writer.fetchval(versions, key.key_id) == written
    clock.pass_by(days=1)
    table.authorize(sent(key))
    await table._note_uses()
    assert await database.writer.fetchval(stored, key.key_id) == clock().date()


@pytest.mark.parametrize("role", ["reader", "finance"])
async def test_hashes_are_for_no_role_that_reads(database, role):
    """Only the writer's role, which answers no read, sees what is stored of a key."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await getattr(database, role).fetch("SELECT hash FROM ledger.keys")


async def test_a_look_that_gets_no_answer_is_given_up(open_table, make, monkeypatch):
    """Whoever follows goes on by another connection: a dead one may say nothing for a quarter of an hour."""
    table = await open_table(look_seconds=0.01, poll_seconds=0.01)
    look, looks = table.look, []

    async def dead_at_first():
        looks.append(table)
        if len(looks) == 1:
            await asyncio.Event().wait()
        table._look_seconds = 60
        await look()

    # No server of PostgreSQL says nothing at all: a lock is waited for, and ends.
    monkeypatch.setattr(table, "look", dead_at_first)
    following = asyncio.create_task(table.run())
    await make()
    async with asyncio.timeout(60):
        while not table.has_keys:  # noqa: ASYNC110 -- a table has no event for it
            await asyncio.sleep(0)
    following.cancel()
