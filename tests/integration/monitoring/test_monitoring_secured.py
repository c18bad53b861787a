"""The sample of a configuration, as it is shipped: Prometheus gets in by TLS and with a key of finance."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from monitoring_world import ask_until, environment

from tests.certificates import Authority
from tests.faults.servers import Server
from tests.keys import new_key
from tests.ports import free_ports
from tests.prometheus import DEPLOY, Prometheus, alerts, queries, running


@pytest.fixture
async def prometheus(database, database_urls, tmp_path) -> AsyncIterator[Prometheus]:
    """One that runs on the sample; of it only the targets are others."""
    soon = datetime.now(UTC) + timedelta(days=10)
    key = await new_key(database, "finance", name="prometheus", expires_at=soon)
    folder = shutil.copytree(DEPLOY, tmp_path / "prometheus")
    (folder / "finance.key").write_text(key.text, encoding="ascii")
    authority = Authority(folder)
    pair = authority.issue("server", not_after=soon)
    ports = free_ports(4)
    tls = {
        "ACU_LEDGER_TLS_CERTIFICATE": str(pair.certificate),
        "ACU_LEDGER_TLS_KEY": str(pair.key),
    }
    server = Server("secured", environment(database_urls, ports) | tls, tmp_path / "logs")
    await server.start()
    try:
        config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job, port in zip(config["scrape_configs"], ports[2:], strict=True):
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        with running(folder, yaml.safe_dump(config)) as prometheus:
            yield prometheus
    finally:
        await server.stop()


async def test_the_sample_gets_in(prometheus: Prometheus):
    """Both ports answer by TLS, finance's to the key; what is to end soon raises its alerts."""
    await ask_until(lambda: len(prometheus.ask('up{job=~"acu-ledger-.+"} == 1')) == 2)
    assert prometheus.ask("acu_ledger_deferred_revenue_usd")
    for title, _, expression in queries("operations"):
        if title.endswith("still hold"):
            assert prometheus.ask(expression), title
    for name in ("AcuLedgerKeyEnds", "AcuLedgerCertificateEnds"):
        assert prometheus.ask(alerts()[name]["expr"]), name
