"""What a client says of a server that it cannot speak with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ledger.cli.services import call, connect
from ledger.client import TlsFailed, Unavailable
from ledger.client.channel import Access, open_channel
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from tests.certificates import Authority


@pytest.fixture
async def target(authority: Authority) -> AsyncIterator[str]:
    """A port whose certificate is for another name."""
    pair = authority.issue("tls", "ledger.example")
    server = grpc.aio.server()
    shown = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", shown)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def verify(target: str, access: Access, patience_seconds: float) -> None:
    async with connect(target, target, access) as ledger:
        await call(ledger.finance.VerifyJournal, VerifyJournalRequest(), patience_seconds=patience_seconds)


async def test_another_name_and_another_authority(target: str, authority: Authority, tmp_path: Path) -> None:
    """What no repeat will mend is said in words, at once."""
    own, foreign = (each.file.read_bytes() for each in (authority, Authority(tmp_path, "foreign")))
    with pytest.raises(TlsFailed, match="the server's certificate is for other names: call one of them"):
        await verify(target, Access(authorities=own), 1_000.0)
    with pytest.raises(TlsFailed, match="no authority of ca signed the server's certificate"):
        await verify(target, Access(authorities=foreign), 1_000.0)


async def test_plaintext_where_tls_is_spoken(target: str) -> None:
    """It may be a server that ends; what else it may be is said after the repeats."""
    with pytest.raises(Unavailable, match="a server that speaks TLS is reached with ca, one that asks"):
        await verify(target, Access(), 0.0)


async def test_no_proxy_is_told_what_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is asked for other machines alone: on loopback a key goes in the clear."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with open_channel(f"127.0.0.1:{port}", Access("a key")) as channel:
        code = await channel.unary_unary("/a.Service/Method")(b"", timeout=60).code()
    await server.stop(None)
    assert code is grpc.StatusCode.UNIMPLEMENTED
