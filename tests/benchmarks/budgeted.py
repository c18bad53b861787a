"""A server whose customers' plan has budgets and a grant that recurs, and whose events go to a receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
from google.protobuf.field_mask_pb2 import FieldMask

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.environment import environment_name
from tests.benchmarks import workload
from tests.benchmarks.events import receiving
from tests.benchmarks.postgres import Books
from tests.benchmarks.stage import Service, service
from tests.sample_plans import sample_with

PLAN = "budgeted"
_PLANS = f"""\
  {PLAN}:
    card: agents
    over_capture: ALLOW_IF_AVAILABLE
    budgets:
      each-agent: {{by: [agent], limit: "50", window: MONTH, notify: [1, 2, 4, 8]}}
      daily: {{limit: "1000", window: DAY}}
    grants: {{monthly: {{amount: "1000", paid_usd: "10", every: month}}}}
"""
"""Limits that no run reaches; some thresholds it does. But for these sections as the plan of the work."""


@asynccontextmanager
async def budgeted(books: Books, log: Path) -> AsyncIterator[Service]:
    """The server, its customers on the plan."""
    async with receiving(answers=True) as receiver:
        with TemporaryDirectory() as directory:
            config = sample_with(_PLANS, Path(directory) / "config")
            settings = {
                **books.environment,
                environment_name("config_dir"): str(config),
                environment_name("webhooks_private"): "1",
            }
            async with service(settings, log) as made:
                await _prepare(made.server.back_office_target, books, receiver.url)
                yield made


async def _prepare(back_office: str, books: Books, url: str) -> None:
    async with grpc.aio.insecure_channel(back_office) as channel:
        ledger = AdminServiceStub(channel)
        await ledger.CreateWebhook(admin.CreateWebhookRequest(request_id=workload.request_id(), url=url))
        for number in books.numbers:
            await ledger.UpdateCustomer(
                admin.UpdateCustomerRequest(
                    request_id=workload.request_id(),
                    customer=admin.Customer(customer_id=workload.customer_id(number), plan=PLAN),
                    update_mask=FieldMask(paths=["plan"]),
                )
            )
