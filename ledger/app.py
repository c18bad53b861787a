"""The composition root: wires all parts into a running service. The one module that knows them all."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry

import pricing
from ledger.access.allowances import Allowances
from ledger.access.caller import looked_up
from ledger.access.table import KeyTable
from ledger.api import model_names
from ledger.api.admission import Admission
from ledger.api.back_office.admin import AdminService
from ledger.api.back_office.finance import FinanceService
from ledger.api.back_office.scrapes import admit_finance
from ledger.api.messages import ids
from ledger.api.messages.limits import BACK_OFFICE_CONNECTIONS_MAX
from ledger.api.public.balance_watch import BalanceWatch
from ledger.api.public.credit import CreditService
from ledger.api.public.wallet import WalletService
from ledger.api.server import ApiServer, admin_service, credit_service, finance_service, wallet_service
from ledger.at_database import database_urls, open_database, verify_where_due
from ledger.clock import DatabaseClock, boot_seconds
from ledger.doors.address import require_key
from ledger.doors.front import Front
from ledger.doors.tls import Which
from ledger.engine.engine import Engine
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
from ledger.store.postgres.database import Database
from ledger.store.postgres.revisions import DEFAULT_CELLS
from ledger.store.reading.reads import Reads
from ledger.webhooks.delivery import WebhookDelivery

if TYPE_CHECKING:
    from ledger.spans import Spans

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


def check(directory: Path) -> Files:
    """A configuration as a server would read it, without one. Raises pricing.ConfigError."""
    files = read_files(directory)
    if files.plans is not None:
        refuse_disagreements(files.plans, files.config.cards)
    return files


@asynccontextmanager
async def running(settings: Settings, limits: Limits = LIMITS) -> AsyncIterator[Stack]:
    """A service that answers on its ports, until the block ends; then it drains.

    Raises pricing.ConfigError where there is nothing to price by, neither published nor in the files;
    SettingsError where its database cannot be used; OSError for a port that is taken.
    """
    async with AsyncExitStack() as life:
        core = await _open_core(settings, limits, life)
        figures = FinanceMetrics()
        _begin_followers(core, figures, life)
        operations_url, finance_url = _open_metrics(core, figures, life)
        life.enter_context(_few_collections())
        public, back_office = await _open_doors(core, life)
        yield Stack(
            public.address,
            back_office.address,
            operations_url,
            finance_url,
            core.publishing.reread,
            core.front,
            asks_for_keys=core.keys.has_keys,
        )


@dataclass(frozen=True, slots=True)
class _Core:
    """What the doors, the followers and the metrics of one process share."""

    settings: Settings
    limits: Limits
    front: Front
    database: Database
    clock: DatabaseClock
    operations: OperationsMetrics
    spans: Spans | None
    publishing: PublishingService
    simulator: Simulator
    keys: KeyTable
    engine: Engine


async def _open_core(settings: Settings, limits: Limits, life: AsyncExitStack) -> _Core:
    """The database, then prices and keys as they are in force there, and the engine that decides by them."""
    spans = _spans(life)
    operations = OperationsMetrics()
    front = await Front.of(settings, operations)
    if front.tls is not None:
        _run(front.tls.run(), life)
    urls = await database_urls(settings, life)
    database = await open_database(urls, settings, life, limits)
    await verify_where_due(database, urls.owner, operations)
    clock = DatabaseClock()
    await _read_clock(database, clock)
    operations.watch_pools(database.use)
    publishing, simulator = await open_prices(
        settings.config_dir, database, clock.now, operations, limits.prices
    )
    _run(publishing.run(), life)
    keys = KeyTable(database, clock.now, operations, open_without_keys=front.address.is_loopback)
    await keys.look()
    require_key(settings, front.address, usable=keys.has_usable_key())
    _run(keys.run(), life)
    engine = Engine(database, publishing.prices, clock, operations, spans, limits.engine)
    engine.start(DEFAULT_CELLS)
    life.push_async_callback(engine.drain)
    return _Core(
        settings,
        limits,
        front,
        database,
        clock,
        operations,
        spans,
        publishing,
        simulator,
        keys,
        engine,
    )


def _begin_followers(core: _Core, figures: FinanceMetrics, life: AsyncExitStack) -> None:
    """What follows the journal beside all calls, until the service ends."""
    database, operations, now = core.database, core.operations, core.clock.now
    prices, look_seconds = core.publishing.prices, core.limits.look_seconds

    def margin_floors() -> Mapping[str, Fraction]:
        return core.publishing.margin_floors

    figures.watch_floors(margin_floors)
    private_allowed = core.settings.webhooks_private
    for follower in (
        Tailer(database, DEFAULT_CELLS, figures),
        EventFollower(database, DEFAULT_CELLS, prices, _IDS, now, operations, look_seconds),
        TopUpFollower(
            database, DEFAULT_CELLS, prices, _IDS, now, core.engine.carry_out, operations, look_seconds
        ),
        FloorFollower(database, DEFAULT_CELLS, margin_floors, now),
        OverridesFollower(database, DEFAULT_CELLS, operations),
        WebhookDelivery(database.writer, operations, look_seconds, private_allowed=private_allowed),
        Watch(database, DEFAULT_CELLS, operations),
    ):
        _run(follower.run(), life)


def _open_metrics(core: _Core, figures: FinanceMetrics, life: AsyncExitStack) -> tuple[str, str]:
    """The URLs of both ports: operations, without a dollar, and finance."""
    finance = CollectorRegistry()
    finance.register(figures)
    settings, front = core.settings, core.front
    admit = admit_finance(core.keys.authorize)
    return (
        _serve_metrics(settings.operations_port, core.operations.registry, front, _OPEN, life),
        _serve_metrics(settings.finance_port, finance, front, _BACK_OFFICE, life, admit),
    )


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


async def _open_doors(core: _Core, life: AsyncExitStack) -> tuple[ApiServer, ApiServer]:
    """The public door and the back office, which answer until the service ends. Raises OSError."""
    reads = Reads(core.database.reader, core.database.reports, core.engine.directory, looked_up)
    balances = BalanceWatch(reads)
    await asyncio.to_thread(model_names.prepare)
    admission = Admission(core.engine.waiting, core.operations, _allowances(core.settings), core.limits.calls)
    doors = _public(core, reads, balances, admission), _back_office(core, reads, admission)
    life.push_async_callback(_drain, doors)
    life.callback(balances.end)
    for door in doors:
        await door.start()
    return doors


def _public(core: _Core, reads: Reads, balances: BalanceWatch, admission: Admission) -> ApiServer:
    engine, now = core.engine, core.clock.now
    return ApiServer(
        core.front.address.at(core.settings.public_port),
        [
            credit_service(CreditService(engine, reads, now, core.keys.make_token)),
            wallet_service(WalletService(engine.prices, reads, balances, now)),
        ],
        admission,
        core.settings.connections_max,
        core.keys.authorize,
        core.front.credentials(_PUBLIC),
        core.spans,
        port=core.limits.port,
    )


def _back_office(core: _Core, reads: Reads, admission: Admission) -> ApiServer:
    database, engine, now = core.database, core.engine, core.clock.now
    admin = AdminService(
        engine,
        core.publishing,
        reads,
        core.keys,
        database.writer,
        now,
        webhooks_private=core.settings.webhooks_private,
    )
    finance = FinanceService(database.finance, engine.directory, DEFAULT_CELLS, core.simulator, now)
    return ApiServer(
        core.front.address.at(core.settings.back_office_port),
        [admin_service(admin), finance_service(finance)],
        admission,
        BACK_OFFICE_CONNECTIONS_MAX,
        core.keys.authorize,
        core.front.credentials(_BACK_OFFICE),
        core.spans,
        port=core.limits.port,
    )


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
