"""A client whose key ends while it works: that is no fault of what it sends, which waits for another key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc.aio
import pytest
import pytest_asyncio
from client_world import CONFIG, PATIENT_SECONDS, Shop, files_in, searches

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.app import running
from ledger.client import Credits, PendingCharge, Recovery, Unauthenticated
from ledger.client.channel import Access
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import new_database
from tests.serving import UNHURRIED, settings_on
from tests.waiting import until

if TYPE_CHECKING:
    from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

_numbers = count(1)


class Guarded(NamedTuple):
    """A server that asks for keys."""

    shop: Shop
    office: AdminServiceAsyncStub
    ops: Access
    customer: str
    """Who was granted 100 credits before there were keys."""

    async def new_key(self) -> admin.CreateKeyResponse:
        """A key of a product's backend."""
        return await _key(self.office, self.ops, "backend", "wallet")

    async def revoke(self, made: admin.CreateKeyResponse, client: Credits) -> None:
        """Returns when the client's calls are refused for it."""
        request = admin.RevokeKeyRequest(key_id=made.key.key_id)
        await self.office.RevokeKey(request, metadata=self.ops.metadata)

        async def is_refused() -> bool:
            try:
                await client.balance(self.customer)
            except Unauthenticated:
                return True
            return False

        await until(is_refused)

    def client(self, made: admin.CreateKeyResponse, journal: Path | None = None) -> Credits:
        return Credits(self.shop.target, key=made.secret, journal=journal, timeout_seconds=PATIENT_SECONDS)

    async def recovered(self, journal: Path) -> Recovery:
        """What a process with another key recovers."""
        async with self.client(await self.new_key(), journal) as credits:
            return await credits.recover()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Guarded]:
    """On a database of its own, with a customer, then the first key."""
    urls = await new_database(postgres, f"client_keys_{next(_numbers)}")
    async with running(settings_on(urls, config_dir=CONFIG), UNHURRIED) as stack:
        shop = Shop(stack.public_target, stack.back_office_target)
        customer = await shop.new_customer()
        async with grpc.aio.insecure_channel(shop.back_office_target) as channel:
            office: AdminServiceAsyncStub = AdminServiceStub(channel)
            first = await _key(office, Access(), "ops")
            yield Guarded(shop, office, Access(first.secret), customer)


async def _key(office: AdminServiceAsyncStub, by: Access, *scopes: str) -> admin.CreateKeyResponse:
    request = admin.CreateKeyRequest(request_id=f"key_{next(_numbers)}", name="a test's", scopes=scopes)
    return await office.CreateKey(request, metadata=by.metadata)


async def test_usage_of_a_session_whose_key_is_revoked(service: Guarded, tmp_path: Path) -> None:
    """The session says why it stops; what was used stays until a process with another key charges it once."""
    made = await service.new_key()
    before = await _available(service)
    async with service.client(made, tmp_path) as credits:
        session = await credits.session(service.customer, estimate=10).__aenter__()
        session.add(searches(100))
        await session.flush()
        await service.revoke(made, credits)
        session.add(searches(200))
        with pytest.raises(Unauthenticated):
            await session.flush()
        with pytest.raises(Unauthenticated):
            await session.__aexit__(None, None, None)
        (item,) = session.summary().uncommitted
        assert item.units.quantity == "200"
        recovery = await credits.recover()
        assert (recovery.complete, recovery.refused, recovery.items) == (False, (), 0)
    recovery = await service.recovered(tmp_path)
    assert (recovery.complete, recovery.refused, recovery.items) == (True, (), 1)
    assert await _available(service) == before - 3
    assert files_in(tmp_path) == []


async def test_a_charge_of_work_that_is_done(service: Guarded, tmp_path: Path) -> None:
    """With `on_outage="allow"` it is pending, as while nobody answers, and is made once."""
    made = await service.new_key()
    before = await _available(service)
    async with service.client(made, tmp_path) as credits:
        await service.revoke(made, credits)
        pending = await credits.charge(
            service.customer, amount=5, already_used=True, on_outage="allow", request_id="done"
        )
        assert pending == PendingCharge("done", service.customer)
    recovery = await service.recovered(tmp_path)
    assert recovery.complete
    assert recovery.charged == 5
    assert await _available(service) == before - 5
    assert files_in(tmp_path) == []


async def _available(service: Guarded) -> Decimal:
    """The customer's credits that are neither held nor used."""
    async with service.client(await service.new_key()) as credits:
        return (await credits.balance(service.customer)).available
