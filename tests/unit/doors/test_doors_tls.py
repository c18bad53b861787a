"""Files of TLS that change while connections are open."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from ledger.access.caller import LOOPBACK
from ledger.api.admission import Admission
from ledger.api.server import ApiServer
from ledger.doors.certificates import Material, TlsFiles
from ledger.doors.tls import Tls, tls_of
from ledger.engine.waiting import Waiting
from ledger.environment import SettingsError
from ledger.metrics.operations import OperationsMetrics
from ledger.metrics.port import serve
from ledger.settings import Settings
from tests.certificates import Authority, Pair

HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING = b"\x08\x01"


@pytest.fixture
def metrics() -> OperationsMetrics:
    """Of one process."""
    return OperationsMetrics()


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """The server's."""
    return authority.issue("tls")


@pytest.fixture
def tls(pair: Pair, metrics: OperationsMetrics) -> Tls:
    """Of these files."""
    return Tls(TlsFiles(pair.certificate, pair.key, None, None), metrics)


@pytest.fixture
async def target(tls: Tls, metrics: OperationsMetrics) -> AsyncIterator[str]:
    """A gRPC port that shows them."""
    server = ApiServer("127.0.0.1:0", (), unlimited(metrics), 100, anybody, tls.credentials(public))
    await server.start()
    yield server.address
    await server.drain()


@pytest.fixture
def scraped(tls: Tls) -> Iterator[str]:
    """A port of metrics that shows them."""
    registry = CollectorRegistry()
    Gauge("answers", "What it is.", registry=registry).set(42)
    served = serve(0, "127.0.0.1", registry, context=tls.context(public))
    yield f"127.0.0.1:{served.port}"
    served.close()


def anybody(_):
    return LOOPBACK


def unlimited(metrics: OperationsMetrics) -> Admission:
    return Admission(Waiting(metrics.refused), metrics)


def public(material: Material):
    return material.public


def look_twice(tls: Tls) -> None:
    """As a second does, and the next."""
    tls.step()
    tls.step()


def figure(metrics: OperationsMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"acu_ledger_tls_{name}")


def serial(target: str, authority: Authority) -> str:
    """Of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=authority.file)
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


async def test_a_new_certificate_and_a_stream_that_goes_on(
    tls: Tls, target: str, scraped: str, authority: Authority
) -> None:
    """New connections are shown it, at all kinds of ports; an open stream and its channel stay."""
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    async with grpc.aio.secure_channel(target, credentials) as channel:
        watch = channel.unary_stream(WATCH)(b"")
        assert await watch.read() == SERVING
        before = [await asyncio.to_thread(serial, each, authority) for each in (target, scraped)]
        authority.issue("tls")
        tls.step()
        assert await asyncio.to_thread(serial, target, authority) == before[0]
        tls.step()
        after = [await asyncio.to_thread(serial, each, authority) for each in (target, scraped)]
        assert before[0] == before[1] != after[0] == after[1]
        assert await channel.unary_unary(HEALTH)(b"") == SERVING
        assert not watch.done()
        watch.cancel()


async def test_a_scrape_under_way_ends_as_it_began(tls: Tls, scraped: str, authority: Authority) -> None:
    """A connection of before the change is answered whole."""
    context = ssl.create_default_context(cafile=authority.file)
    host, _, port = scraped.rpartition(":")

    def finish(plain: socket.socket) -> bytes:
        with context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as connection:
            authority.issue("tls")
            look_twice(tls)
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(4096), b""))

    with socket.create_connection((host, int(port)), timeout=60) as plain:
        assert b"\nanswers 42.0\n" in await asyncio.to_thread(finish, plain)


@pytest.mark.parametrize("broken", ["half", "gone", "other", "expired"])
def test_files_that_cannot_be_used(
    tls: Tls, metrics: OperationsMetrics, authority: Authority, pair: Pair, broken: str
) -> None:
    """What was taken stays, the log has why, a figure says so; good files end it."""
    material = tls.material
    expected = "ACU_LEDGER_TLS_CERTIFICATE"
    if broken == "half":
        whole = pair.certificate.read_bytes()
        pair.certificate.write_bytes(whole[: len(whole) // 3])
    elif broken == "gone":
        pair.certificate.unlink()
    elif broken == "other":
        expected = "ACU_LEDGER_TLS_KEY"
        authority.issue("other").certificate.rename(pair.certificate)
    else:
        authority.issue("tls", not_after=datetime.now(UTC) - timedelta(days=1))
    with capture_logs() as logs:
        look_twice(tls)
        look_twice(tls)
    assert tls.material is material
    assert figure(metrics, "files_refused") == 1
    (reported,) = logs
    assert (reported["event"], reported["log_level"]) == ("tls.refused", "error")
    assert reported["error"].startswith(f"{expected}: ")
    assert "PRIVATE" not in reported["error"]
    authority.issue("tls", not_after=datetime.now(UTC) + timedelta(days=90))
    with capture_logs() as logs:
        look_twice(tls)
    assert [each["event"] for each in logs] == ["tls.taken"]
    assert tls.material is not material
    assert figure(metrics, "files_refused") == 0
    assert figure(metrics, "certificate_expiry_timestamp_seconds") == tls.material.ends_at.timestamp()


def test_authorities_that_change(pair: Pair, metrics: OperationsMetrics, tmp_path: Path) -> None:
    """They are followed as the certificate is."""
    authority = Authority(tmp_path, "clients")
    tls = Tls(TlsFiles(pair.certificate, pair.key, authority.file, None), metrics)
    before = tls.material.public.context.get_ca_certs()
    Authority(tmp_path, "clients")
    look_twice(tls)
    assert tls.material.public.context.get_ca_certs() != before


def test_a_file_that_goes_while_it_is_read(
    tls: Tls, metrics: OperationsMetrics, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes of it, the files are looked at again."""

    def torn(*_: object) -> Material:
        raise FileNotFoundError

    authority.issue("tls")
    with monkeypatch.context() as patched:
        # Between the look at a file and its reading there is no time for a test to take it away.
        patched.setattr("ledger.doors.tls.read", torn)
        look_twice(tls)
    assert figure(metrics, "files_refused") == 1
    authority.issue("tls")
    look_twice(tls)
    assert figure(metrics, "files_refused") == 0


def test_links_that_are_swapped(authority: Authority, tmp_path: Path, metrics: OperationsMetrics) -> None:
    """A Kubernetes Secret is a tree of links behind one link: what they lead to counts."""
    data = tmp_path / "..data"
    for name in ("one", "two"):
        made = authority.issue(name)
        directory = tmp_path / f"..{name}"
        directory.mkdir()
        made.certificate.rename(directory / "tls.crt")
        made.key.rename(directory / "tls.key")
    data.symlink_to("..one")
    tls = Tls(TlsFiles(data / "tls.crt", data / "tls.key", None, None), metrics)
    material = tls.material
    look_twice(tls)
    assert tls.material is material
    (tmp_path / "swapped").symlink_to("..two")
    (tmp_path / "swapped").rename(data)
    look_twice(tls)
    assert tls.material is not material


async def test_a_client_without_a_certificate(
    pair: Pair, authority: Authority, metrics: OperationsMetrics, tmp_path: Path
) -> None:
    """The back office may ask for one while the public door does not; another authority's does not do."""
    own, foreign = Authority(tmp_path, "own"), Authority(tmp_path, "foreign")
    tls = Tls(TlsFiles(pair.certificate, pair.key, None, own.file), metrics)
    doors = [
        ApiServer("127.0.0.1:0", (), unlimited(metrics), 100, anybody, tls.credentials(which))
        for which in (public, lambda material: material.back_office)
    ]
    answered = []
    for door in doors:
        await door.start()
        for shown in (None, foreign.issue("stranger"), own.issue("client")):
            chain, key = (shown.certificate.read_bytes(), shown.key.read_bytes()) if shown else (None, None)
            credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, chain)
            async with grpc.aio.secure_channel(door.address, credentials) as channel:
                answered.append(await code(channel))
        await door.drain()
    ok, unavailable = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
    assert answered == [ok, ok, ok, unavailable, unavailable, ok]


async def code(channel: grpc.aio.Channel) -> grpc.StatusCode:
    return await channel.unary_unary(HEALTH)(b"", timeout=60).code()


def test_no_figures_without_tls(metrics: OperationsMetrics, tls: Tls) -> None:
    """A certificate that is not there does not end."""
    assert figure(metrics, "files_refused") == 0
    bare = OperationsMetrics()
    assert figure(bare, "files_refused") is None
    assert figure(bare, "certificate_expiry_timestamp_seconds") is None


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        (("tls_certificate",), "ACU_LEDGER_TLS_CERTIFICATE belongs to ACU_LEDGER_TLS_KEY, which is not set"),
        (("tls_key",), "ACU_LEDGER_TLS_KEY belongs to ACU_LEDGER_TLS_CERTIFICATE, which is not set"),
        (
            ("tls_client_ca",),
            "ACU_LEDGER_TLS_CLIENT_CA belongs to ACU_LEDGER_TLS_CERTIFICATE, which is not set",
        ),
        (
            ("back_office_tls_client_ca", "tls_certificate"),
            "ACU_LEDGER_TLS_CERTIFICATE belongs to ACU_LEDGER_TLS_KEY, which is not set",
        ),
    ],
)
def test_settings_that_belong_together(
    metrics: OperationsMetrics, tmp_path: Path, given: tuple[str, ...], reported: str
) -> None:
    """One of them alone is refused by name: nobody takes plaintext for TLS."""
    settings = Settings.model_construct(**dict.fromkeys(given, tmp_path))
    with pytest.raises(SettingsError, match=reported):
        tls_of(settings, metrics)
    assert tls_of(Settings.model_construct(), metrics) is None


def test_a_peer_that_does_not_shake_hands(tls: Tls, scraped: str, authority: Authority) -> None:
    """It holds up nobody: the next scrape is answered at once, by another thread."""
    before = {thread.name for thread in threading.enumerate()}
    host, _, port = scraped.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as silent:
        silent.sendall(b"\x16")
        assert serial(scraped, authority)
    assert before <= {thread.name for thread in threading.enumerate()}
