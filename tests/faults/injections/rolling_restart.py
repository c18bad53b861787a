"""Servers are restarted one after the other under load, and their clients notice nothing.

The clients are what `docs/api.md` asks for: one channel to both servers, with its service config.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from ledger.client.channel import ANSWER_BYTES_MAX
from tests.faults.journal import Unknown
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.servers import Server
from tests.stubs import Stubs

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
BETWEEN = 60
"""Replies between two restarts, by which the server that is back has its share again."""
WITHIN_SECONDS = 60.0


class Balanced:
    """Some servers, reached as one."""

    def __init__(self, public: grpc.aio.Channel, back_office: grpc.aio.Channel) -> None:
        self.ledger = Stubs.over(public, back_office)


@asynccontextmanager
async def balanced(servers: Sequence[Server]) -> AsyncIterator[Balanced]:
    """A channel to each kind of port, over all servers."""
    public, back_office = (
        channel([getattr(server, port) for server in servers]) for port in ("public", "back_office")
    )
    async with public, back_office:
        yield Balanced(public, back_office)


def channel(addresses: Sequence[str]) -> grpc.aio.Channel:
    """As the page has it, over a static list of addresses."""
    options = [
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(f"ipv4:{','.join(addresses)}", options=options)


def service_config() -> object:
    """Of the page."""
    found = re.search(r"^```json service config\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError(f"{PAGE} has no service config")
    return json.loads(found[1])


async def run(world: World, count: int) -> Result:
    """So many times both servers in turn: each call has its answer, and none is without an outcome."""
    async with scene(world, "rolling_restart") as stage:
        await stage.serve(2)
        await stage.populate()
        async with balanced(stage.servers) as clients:
            stage.start_load(reached=[clients])
            for _ in range(count):
                for server in stage.servers:
                    await stage.journal.acknowledgements(BETWEEN, WITHIN_SECONDS)
                    await server.stop()
                    await server.start(same_ports=True)
                stage.result.injected += 1
            await stage.journal.acknowledgements(BETWEEN, WITHIN_SECONDS)
            await stage.stop_load()
        _no_call_failed(stage)
        await stage.settle()
        await stage.check()
    return stage.result


def _no_call_failed(stage: Scene) -> None:
    """A refusal is an answer, of one that is busy too; a call that has none was the restart's."""
    stage.result.findings.other += [
        f"{record.key}: a call failed: {outcome}"
        for record in stage.journal
        for outcome in record.outcomes
        if isinstance(outcome, Unknown) and outcome.code != grpc.StatusCode.RESOURCE_EXHAUSTED.name
    ]
