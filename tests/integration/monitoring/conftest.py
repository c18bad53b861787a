"""One history of two servers and a Prometheus, for all tests that look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from monitoring_world import Scene, play, ports_of_two, prometheus_config, two_servers

from tests.prometheus import running


@pytest.fixture(scope="module")
def scene(shared_urls, tmp_path_factory) -> Iterator[Scene]:
    """Prometheus goes on answering about the past when the servers are gone."""
    folder = tmp_path_factory.mktemp("monitoring")
    ports = ports_of_two()
    with running(folder, prometheus_config(folder, ports)) as prometheus:
        servers = two_servers(shared_urls, folder, ports)
        played = asyncio.run(play(prometheus, servers, shared_urls.owner))
        yield Scene(prometheus, played.books, played.at, [f"127.0.0.1:{each[3]}" for each in ports])
