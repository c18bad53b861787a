"""A server that ends: both doors at once."""

from __future__ import annotations

import asyncio

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ledger.app import running
from ledger.settings import Settings
from tests.serving import ANY_PORTS

ASKED = reflection_pb2.ServerReflectionRequest(list_services="")


async def test_a_door_does_not_wait_for_the_calls_of_the_other(database_url: str) -> None:
    """While each still has a call both say that they serve no more."""
    settings = Settings(database_url=database_url, **ANY_PORTS)
    service = running(settings)
    stack = await service.__aenter__()
    async with (
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        doors = (public, back_office)
        calls = [reflection_pb2_grpc.ServerReflectionStub(door).ServerReflectionInfo() for door in doors]
        health = [health_pb2_grpc.HealthStub(door).Watch(health_pb2.HealthCheckRequest()) for door in doors]
        for call in calls:
            await call.write(ASKED)
            assert (await call.read()).HasField("list_services_response")
        for watched in health:
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        ending = asyncio.create_task(service.__aexit__(None, None, None))
        for watched in health:
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert [call.done() for call in calls] == [False, False]
        for call in calls:
            await call.write(ASKED)
            assert (await call.read()).HasField("list_services_response")
            await call.done_writing()
        for watched in health:
            watched.cancel()
    await ending
