"""What a process knows of signing keys, and whom customers' tokens make a call come from."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta

import asyncpg
import pytest
import structlog

from ledger.access.caller import LOOPBACK, Caller
from ledger.access.table import TRUSTED_SECONDS, KeysOutdatedError, UnauthenticatedError
from ledger.store.access.keys import NewKey, revoke_key, rotate_key
from ledger.store.access.signing_keys import signing_keys
from tests.acts import ACT

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)


def sent(token: str, scheme: str = "Bearer") -> list[tuple[str, str]]:
    return [("user-agent", "a test"), ("authorization", f"{scheme} {token}")]


@pytest.fixture
async def maker(make):
    """A key that makes tokens."""
    return await make("backend", name="app")


@pytest.fixture
def owner_does(database_urls):
    """Runs a statement at the database."""

    async def done(statement: str) -> list[asyncpg.Record]:
        owner = await asyncpg.connect(database_urls.owner)
        try:
            return await owner.fetch(statement)
        finally:
            await owner.close()

    return done


def caller(key) -> Caller:
    return Caller(key.key_id, "app", frozenset({"backend"}))


async def test_a_token_stands_for_its_customer_in_the_name_of_its_maker(open_table, maker):
    """On every process of the database, without a look at it; by any case of the scheme."""
    here, there = await open_table(), await open_table()
    text, ends_at = here.make_token(caller(maker), "cus_a", QUARTER)
    expected = Caller(maker.key_id, "app", frozenset({"wallet"}), frozenset({"cus_a"}), by_token=True)
    for table in (here, there):
        assert table.authorize(sent(text)) == expected
        assert table.authorize(sent(text, "bearer")) == expected
    assert ends_at == (here._clock() + QUARTER).replace(microsecond=0)
    for metadata in (sent(text, "Basic"), [*sent(text), *sent(text)], [*sent(text), *sent(maker.text)]):
        with pytest.raises(UnauthenticatedError):
            here.authorize(metadata)


async def test_a_token_ends_by_the_clock_of_the_database(open_table, maker, clock):
    """To the second that was reported."""
    table = await open_table()
    text, ends_at = table.make_token(caller(maker), "cus_a", QUARTER)
    clock.now = ends_at - timedelta(microseconds=1)
    table.authorize(sent(text))
    clock.now = ends_at
    with pytest.raises(UnauthenticatedError):
        table.authorize(sent(text))


async def test_a_token_ends_with_the_key_that_made_it(open_table, maker, make, clock, database):
    """Revoked, expired or rotated without an overlap: whoever found the key has made tokens by it."""
    expiring = await make(name="app", expires_at=clock() + timedelta(minutes=5))
    rotated = await make(name="app")
    table = await open_table()
    texts = [table.make_token(caller(key), "cus_a", QUARTER) for key in (maker, expiring, rotated)]
    assert texts[1][1] == (clock() + timedelta(minutes=5)).replace(microsecond=0)
    await revoke_key(database.writer, maker.key_id, ACT)
    await rotate_key(
        database.writer,
        rotated.key_id,
        "rotated",
        b"f",
        -DAY,
        lambda *_: NewKey("a" * 12, b"h" * 32, "app", ("ops",), None, ACT, None, "rotated", b"f"),
    )
    await table.look()
    clock.pass_by(minutes=4)
    for (text, _), ends in zip(texts, (True, False, True), strict=True):
        if ends:
            with pytest.raises(UnauthenticatedError):
                table.authorize(sent(text))
        else:
            table.authorize(sent(text))
    clock.pass_by(minutes=1)
    with pytest.raises(UnauthenticatedError):
        table.authorize(sent(texts[1][0]))


async def test_a_token_of_a_server_without_keys_ends_with_the_first_key(open_table, make):
    """Nobody knows who has made it."""
    table = await open_table()
    text, _ = table.make_token(LOOPBACK, "cus_a", QUARTER)
    assert table.authorize(sent(text)) is LOOPBACK
    await make()
    await table.look()
    with pytest.raises(UnauthenticatedError):
        table.authorize(sent(text))


async def test_keys_of_two_days_are_there_before_anybody_signs(open_table, database, clock):
    """Today's and tomorrow's, so that at midnight every process knows what others sign by."""
    await open_table()
    days = [record["day"] for record in await database.writer.fetch("SELECT day FROM ledger.signing_keys")]
    today = clock().astimezone(UTC).date()
    assert sorted(days) == [today, today + DAY]


async def test_the_signing_key_is_another_one_each_day(open_table, maker, clock, database):
    """What yesterday's has signed is verified until it ends; then the key is deleted."""
    clock.now = datetime.combine(clock().date(), time(23, 59), UTC)
    here, there = await open_table(), await open_table()
    of_today, _ = here.make_token(caller(maker), "cus_a", timedelta(hours=1))
    clock.pass_by(minutes=1)
    # The other has not looked since yesterday.
    await here.look()
    of_tomorrow, _ = here.make_token(caller(maker), "cus_a", timedelta(hours=1))
    for table in (here, there):
        for text in (of_today, of_tomorrow):
            table.authorize(sent(text))
    clock.pass_by(minutes=58)
    await there.look()
    there.authorize(sent(of_today))
    stored = "SELECT day FROM ledger.signing_keys ORDER BY day"
    day = clock().date()
    assert [record["day"] for record in await database.writer.fetch(stored)] == [day - DAY, day, day + DAY]
    clock.pass_by(days=1)
    await there.look()
    assert [record["day"] for record in await database.writer.fetch(stored)] == [
        day,
        day + DAY,
        day + 2 * DAY,
    ]


async def test_a_day_without_a_key_signs_nothing(open_table, maker, clock):
    """A process that could not look for more than a day says that it has to be asked again."""
    table = await open_table()
    clock.pass_by(days=2)
    with pytest.raises(KeysOutdatedError):
        table.make_token(caller(maker), "cus_a", QUARTER)


async def test_two_servers_that_need_a_key_at_once_have_the_same(database):
    """Whoever is first makes it, the others find it: no token of one is refused by the other."""
    day = date(2026, 11, 29)
    for _ in range(20):
        found = await asyncio.gather(*[signing_keys(database.writer, day) for _ in range(4)])
        assert all(keys == found[0] for keys in found)
        assert [key.day for key in found[0] if key.day >= day] == [day, day + DAY]
        day += 3 * DAY
    secrets = await database.writer.fetch("SELECT DISTINCT secret FROM ledger.signing_keys")
    assert len(secrets) == len(await database.writer.fetch("SELECT day FROM ledger.signing_keys"))


async def test_keys_that_are_deleted_end_all_tokens(open_table, maker, owner_does):
    """Where the secrets were seen by somebody: the next look of each process makes new ones."""
    here, there = await open_table(), await open_table()
    text, _ = here.make_token(caller(maker), "cus_a", QUARTER)
    await owner_does("DELETE FROM ledger.signing_keys")
    for table in (here, there):
        await table.look()
        with pytest.raises(UnauthenticatedError):
            table.authorize(sent(text))
    there.authorize(sent(here.make_token(caller(maker), "cus_a", QUARTER)[0]))


@pytest.mark.parametrize("role", ["reader", "finance"])
async def test_secrets_are_for_no_role_that_reads(database, role):
    """Whoever can see one can make tokens for every customer."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await getattr(database, role).fetch("SELECT secret FROM ledger.signing_keys")


async def is_full(owner_does) -> None:
    """The database takes no signing key."""
    await owner_does(
        "CREATE FUNCTION public.is_full() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END$$"
    )
    await owner_does(
        "CREATE TRIGGER is_full BEFORE INSERT ON ledger.signing_keys EXECUTE FUNCTION public.is_full()"
    )


async def test_keys_are_looked_at_where_no_signing_key_can_be_made(
    open_table, maker, make, owner_does, clock
):
    """A database that takes no write is no reason to refuse reads, or to let a revoked key in."""
    now = 1_000.0
    table = await open_table(seconds=lambda: now)
    new = await make()
    await is_full(owner_does)
    clock.pass_by(days=1)
    now += TRUSTED_SECONDS
    with pytest.raises(asyncpg.DiskFullError):
        await table.look()
    assert table.authorize(sent(new.text)).key_id == new.key_id
    now += TRUSTED_SECONDS - 1
    table.authorize(sent(table.make_token(caller(maker), "cus_a", QUARTER)[0]))


async def test_a_look_that_is_never_whole_is_told(open_table, owner_does, clock):
    """What else is done at a look fails in the log, though keys are looked at in time."""
    table = await open_table(late_seconds=0)
    await is_full(owner_does)
    clock.pass_by(days=1)
    with structlog.testing.capture_logs() as logs:
        following = asyncio.create_task(table.run())
        async with asyncio.timeout(60):
            while not logs:  # noqa: ASYNC110 -- a log has no event for it
                await asyncio.sleep(0)
        following.cancel()
    assert [log["event"] for log in logs] == ["keys.not_looked_at"]
