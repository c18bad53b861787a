"""What a client says of a server that it cannot speak with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ledger.cli import client
from ledger.cli.access import Access
from ledger.cli.client import CallFailedError, call, connect
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs."""
    return Authority(tmp_path)


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


async def refusal(target: str, access: Access) -> str:
    async with connect(target, target, access) as ledger:
        with pytest.raises(CallFailedError) as reported:
            await call(ledger.finance.VerifyJournal, VerifyJournalRequest())
    return str(reported.value)


async def test_another_name_and_another_authority(
    target: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no repeat will mend is told in words, at once."""
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 1_000.0)
    own, foreign = (each.file.read_bytes() for each in (authority, Authority(tmp_path, "foreign")))
    reported = await refusal(target, Access(authorities=own))
    assert reported.startswith("UNAVAILABLE: the server's certificate is for other names: call one of them (")
    reported = await refusal(target, Access(authorities=foreign))
    assert reported.startswith(
        "UNAVAILABLE: no authority of --ca (ACU_LEDGER_CA) signed the server's certificate ("
    )


async def test_plaintext_where_tls_is_spoken(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a server that ends; it is told after the repeats what else it may be."""
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.0)
    reported = await refusal(target, Access())
    assert reported.endswith(
        "Socket closed; a server that speaks TLS is reached with --ca, one that asks for a certificate with"
        " ACU_LEDGER_CLIENT_CERTIFICATE and ACU_LEDGER_CLIENT_CERTIFICATE_KEY"
    )


async def test_no_proxy_is_told_what_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is asked for other machines alone: on loopback a key goes in the clear."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with client.channel(f"127.0.0.1:{port}", Access("a key")) as channel:
        code = await channel.unary_unary("/a.Service/Method")(b"", timeout=20).code()
    await server.stop(None)
    assert code is grpc.StatusCode.UNIMPLEMENTED
