"""What this process knows of keys, and whom a call's metadata makes it come from, by a key or a token.

The table is followed once a second, so that a key that was revoked on one replica is refused on all of them
within two. A process that cannot look goes on with what it knows for a while: a database that is away for a
minute is no reason to refuse every read; after that it refuses all that needs a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from heapq import nsmallest
from hmac import compare_digest
from math import inf
from typing import Final, NamedTuple

import structlog

from ledger.access.caller import LOOPBACK, WALLET, Caller
from ledger.access.keys import Key, parse
from ledger.access.tokens import Token, read, sign
from ledger.clock import boot_seconds
from ledger.errors import NotNowError, RequestError
from ledger.metrics.operations import OperationsMetrics
from ledger.store.access.keys import StoredKey, key_generation, keys_since, note_uses
from ledger.store.access.signing_keys import SigningKey, signing_keys
from ledger.store.postgres.database import Database

LOOK_SECONDS: Final = 5.0
"""How long a look may take: a connection that has gone dead without a word is given up for another."""
POLL_SECONDS: Final = 1.0
"""How often a process looks for keys that others have made or revoked."""
LATE_SECONDS: Final = 10.0
"""Without a look for so long, the log says so."""
TRUSTED_SECONDS: Final = 300.0
"""How long what is known holds without a look."""

SHOWN_BEFORE: Final = timedelta(days=30)
"""A key that ends within this time is among the metrics."""
SHOWN_AFTER: Final = timedelta(days=1)
"""Whoever was refused by a key's end finds it there for so long."""
SHOWN_MAX: Final = 50
"""Keys among the metrics, those that end first: each is a series, and each customer may have a key."""

AUTHORIZATION: Final = "authorization"
"""The metadata that a key or a token is sent as: `Bearer <key>`."""

Metadata = Iterable[tuple[str, str | bytes]]
Authorize = Callable[[Metadata | None], Caller]
"""Whom the metadata of a call makes it come from. Raises UnauthenticatedError, KeysOutdatedError."""

_log = structlog.get_logger(__name__)


class UnauthenticatedError(RequestError):
    """A call without a usable key or token: none, malformed, unknown, ended; it is not said which."""


class KeysOutdatedError(NotNowError):
    """The keys could not be looked at for too long: who calls cannot be said."""


class _Known(NamedTuple):
    hash: bytes
    caller: Caller
    expires_at: datetime | None
    is_replaced: bool
    """A rotation has made another in its place: it is to end."""

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


_NOBODYS: Final = Key("0" * 12, "0" * 43)
"""What is looked up where no key was sent, so that this takes the same work; no key has this id and hash."""
_NOBODY: Final = _Known(bytes(32), Caller("", "", frozenset(), frozenset()), None, is_replaced=False)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_OF_TOKENS: Final = frozenset((WALLET,))


class KeyTable:
    """The keys of one database, in memory."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        metrics: OperationsMetrics,
        *,
        open_without_keys: bool,
        look_seconds: float = LOOK_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        late_seconds: float = LATE_SECONDS,
        seconds: Callable[[], float] = boot_seconds,
    ) -> None:
        """`clock` is the database's, `seconds` one that is never set.

        Open: while the database holds no key, whoever calls may do all.
        """
        self._seconds = seconds
        self._look_seconds = look_seconds
        self._poll_seconds = poll_seconds
        self._late_seconds = late_seconds
        self._database = database
        self._clock = clock
        self._open_without_keys = open_without_keys
        self._known: dict[str, _Known] = {}
        self._signing: tuple[SigningKey, ...] = ()
        self.has_keys = False
        """Whether the database holds any key, usable or not."""
        self._generation = 0
        self._turns = -1
        """Of the database's history, when all was read anew."""
        self._looked_at = -inf
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._used: set[str] = set()
        self._noted: dict[str, date] = {}
        database.history.at_a_turn(lambda _: self._wake.set())
        metrics.key_look_age.set_function(lambda: round(self._seconds() - self._looked_at, 1))
        metrics.watch_keys(self.ending)

    def authorize(self, metadata: Metadata | None) -> Caller:
        """Whom a call comes from. Raises UnauthenticatedError, KeysOutdatedError.

        The same work whatever is wrong: a hash, a look, a comparison that does not end early.
        """
        if self._seconds() > self._looked_at + TRUSTED_SECONDS:
            raise KeysOutdatedError
        if not self.has_keys and self._open_without_keys:
            return LOOPBACK
        credential, now = _bearer(metadata), self._clock()
        token = read(credential, self._signing, now)
        if token is not None:
            return self._caller_by(token, now)
        key = parse(credential) or _NOBODYS
        known = self._known.get(key.key_id, _NOBODY)
        is_right = compare_digest(key.hash, known.hash)
        if not is_right or known.has_expired(now):
            raise UnauthenticatedError
        self._used.add(key.key_id)
        return known.caller

    def _caller_by(self, token: Token, now: datetime) -> Caller:
        """Whom a token stands for. It ends with the key of its maker, which may have been lost with it."""
        maker = self._known.get(token.made_by)
        if maker is None or maker.has_expired(now):
            raise UnauthenticatedError
        customers = frozenset((token.customer_id,))
        return Caller(token.made_by, maker.caller.name, _OF_TOKENS, customers, by_token=True)

    def make_token(self, caller: Caller, customer_id: str, lasts: timedelta) -> tuple[str, datetime]:
        """A token of a caller for a customer, and when it ends: with the caller's key at the latest.

        Raises KeysOutdatedError.
        """
        now = self._clock()
        signing = next((key for key in self._signing if key.day == _day(now)), None)
        if signing is None:
            raise KeysOutdatedError
        maker = self._known.get(caller.key_id, _NOBODY)
        ends_at = min(now + lasts, maker.expires_at or _NEVER).replace(microsecond=0)
        return sign(Token(customer_id, caller.key_id, ends_at), signing), ends_at

    def has_usable_key(self) -> bool:
        """Whether anybody may call at all."""
        now = self._clock()
        return any(not known.has_expired(now) for known in self._known.values())

    def ending(self) -> dict[str, datetime]:
        """The keys that end soon with no other in their place, and those that have ended lately: by id, when.

        May be asked on any thread.
        """
        now = self._clock()
        ends = (
            (known.expires_at, key_id)
            for key_id, known in list(self._known.items())
            if known.expires_at is not None
            and not known.is_replaced
            and now - SHOWN_AFTER < known.expires_at < now + SHOWN_BEFORE
        )
        return {key_id: expires_at for expires_at, key_id in nsmallest(SHOWN_MAX, ends)}

    async def run(self) -> None:
        """Looks at the database until cancelled."""
        reported, done_at = "", self._seconds()
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self.look()
                    await self._note_uses()
                reported, done_at = "", self._seconds()
            except Exception as error:  # noqa: BLE001 -- no look that fails may end the looking
                if reported != repr(error) and self._seconds() > done_at + self._late_seconds:
                    _log.error("keys.not_looked_at", error=repr(error))
                    reported = repr(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll_seconds)

    async def changed(self) -> None:
        """Takes in a change that this process has made: what it answers next goes by it.

        Whoever follows makes up for a look that fails: the answer that shows a key is not to be lost by it.
        """
        try:
            async with asyncio.timeout(self._look_seconds):
                await self.look()
        except Exception as error:  # noqa: BLE001 -- whatever it was, the change is made
            _log.warning("keys.not_looked_at", error=repr(error))
            self._wake.set()

    async def look(self) -> None:
        """Takes in what was made or changed; all anew on another history. Raises the driver's errors."""
        async with self._looking:
            while True:
                asked_at, turns = self._seconds(), self._database.history.turns
                is_whole = await self._take(anew=turns != self._turns)
                # What was read before a turn may not be so after it.
                if is_whole and self._database.history.turns == turns:
                    self._turns, self._looked_at = turns, asked_at
                    break
            self._signing = tuple(await signing_keys(self._database.writer, _day(self._clock())))

    async def _take(self, *, anew: bool) -> bool:
        """Whether that was all: not, if the generation turns out to have gone back."""
        pool = self._database.writer
        if not anew:
            generation = await key_generation(pool)
            if generation == self._generation:
                return True
            if generation < self._generation:
                self._turns = -1
                return False
        found = await keys_since(pool, 0 if anew else self._generation)
        if anew:
            self._known.clear()
        self.has_keys = bool(found) or (self.has_keys and not anew)
        for key in found:
            if key.revoked_at is None:
                self._known[key.key_id] = _Known(
                    key.hash, caller_of(key), key.expires_at, is_replaced=key.replaced_by is not None
                )
            else:
                self._known.pop(key.key_id, None)
        self._generation = found[-1].generation if found else 0
        return True

    async def _note_uses(self) -> None:
        """Writes the day of the last use of keys, once a day for each."""
        day = _day(self._clock())
        used = frozenset(self._used)
        new = [key_id for key_id in used if self._noted.get(key_id) != day]
        if new:
            await note_uses(self._database.writer, new, day)
            self._noted.update(dict.fromkeys(new, day))
        self._used -= used


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def caller_of(key: StoredKey) -> Caller:
    """Whom a key stands for."""
    customers = frozenset(key.customers) if key.customers is not None else None
    return Caller(key.key_id, key.name, frozenset(key.scopes), customers)


def _bearer(metadata: Metadata | None) -> str:
    """What is sent as a key; empty if that is nothing, or more than one thing."""
    sent = [value for name, value in metadata or () if name == AUTHORIZATION]
    if len(sent) != 1 or not isinstance(sent[0], str):
        return ""
    scheme, _, credential = sent[0].partition(" ")
    return credential if scheme.lower() == "bearer" else ""
