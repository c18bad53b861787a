"""Connections to the test's database, beside the pools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from bookkeeper import CELL

from ledger.access.caller import LOOPBACK
from ledger.api.admission import Admission
from ledger.api.back_office.finance import FinanceService
from ledger.api.server import ApiServer, finance_service
from ledger.engine.waiting import Waiting
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.simulation.simulator import Simulator
from ledger.store.directory import Directory
from ledger.store.postgres.database import Connection, Database

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Connection]:
    """A connection for batches, as a cell has one."""
    connection = await database.connect_writer("finance tests")
    yield connection
    await connection.close()


@pytest.fixture
async def finance(database: Database) -> AsyncIterator[FinanceServiceStub]:
    """The finance service, called through a channel; by its clock all that is booked is a minute old."""
    pool = database.finance
    simulator = Simulator(pool, PriceBook(), lambda: datetime.now(UTC), [CELL])
    service = finance_service(
        FinanceService(pool, Directory(pool), [CELL], simulator, lambda: datetime.now(UTC) + MINUTE)
    )
    metrics = OperationsMetrics()
    admission = Admission(Waiting(metrics.refused), metrics)
    server = ApiServer("127.0.0.1:0", [service], admission, 100, lambda _: LOOPBACK)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield FinanceServiceStub(channel)
    await server.drain()
