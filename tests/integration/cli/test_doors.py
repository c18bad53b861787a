"""Servers that other machines may reach: by TLS and keys, and refused without."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import acu_ledger

from ledger.access.keys import Key
from tests.certificates import Authority
from tests.keys import new_key
from tests.serving import FREE_PORTS, REPOSITORY, Server, clean_environment, serving

if TYPE_CHECKING:
    from ledger.store.postgres.database import Database

EVERYWHERE = {"ACU_LEDGER_HOST": "0.0.0.0"}  # noqa: S104 -- what is tested
NO_KEY = "A key that may be used is required, as metadata authorization: Bearer <key>."


def calls(server: Server) -> list[str]:
    return [line.strip() for line in server.said.splitlines() if "curl" in line]


def try_calls(server: Server, environment: Mapping[str, str]) -> None:
    """Each call that is printed works as it stands, with the environment that is asked for."""
    answers = [
        subprocess.check_output(  # noqa: S602 -- as printed
            call, shell=True, text=True, cwd=REPOSITORY, env={**clean_environment(), **environment}
        )
        for call in calls(server)
    ]
    assert len(answers) == 3
    assert '"resolved"' in answers[0]
    assert '"me"' in answers[1]
    assert "Sandbox time" in answers[2]


def scrape(url: str, context: ssl.SSLContext | None = None, key: str | None = None) -> tuple[int, str]:
    """The status of a scrape, and what it says."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url.replace("0.0.0.0", "127.0.0.1"), headers=headers)  # noqa: S104, S310
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310 -- ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


async def test_what_is_refused_off_loopback(database: Database, database_url: str, tmp_path: Path) -> None:
    """Without TLS, then without a key that may be used, it does not start; `--plaintext` is no key."""
    pair = Authority(tmp_path).issue("tls")
    tls = {"ACU_LEDGER_TLS_CERTIFICATE": str(pair.certificate), "ACU_LEDGER_TLS_KEY": str(pair.key)}
    common = {**FREE_PORTS, **EVERYWHERE, "DATABASE_URL": database_url}
    needs_tls = "ACU_LEDGER_HOST: 0.0.0.0 can be reached from other machines: that takes TLS."
    needs_key = "ACU_LEDGER_HOST: 0.0.0.0 can be reached from other machines: that takes a key; make one at"
    cases = [
        (common, (), needs_tls),
        ({**common, **tls}, (), needs_key),
        (common, ("--plaintext",), needs_key),
        ({**common, "ACU_LEDGER_PLAINTEXT": "1"}, (), needs_key),
        ({**common, **tls}, ("--plaintext",), "exclude each other: leave one out"),
        ({**common, "ACU_LEDGER_PLAINTEXT": "perhaps"}, (), "'perhaps' is no switch (1: on, 0: off)"),
        ({**common, "ACU_LEDGER_HOST": "nowhere.invalid"}, (), "'nowhere.invalid' leads nowhere: write an"),
        ({**common, **tls, "ACU_LEDGER_TLS_KEY": "/nowhere"}, (), "ACU_LEDGER_TLS_KEY: /nowhere cannot be "),
    ]
    for environment, options, reported in cases:
        ran = await asyncio.to_thread(acu_ledger, "serve", *options, environment=environment)
        assert (ran.status, ran.stdout) == (2, ""), ran.stderr
        assert reported in ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.timeout(300)
async def test_tls_keys_and_certificates_of_clients(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Off loopback by TLS: printed calls, commands, both kinds of metrics, and files that change."""
    authority, office, foreign = (Authority(tmp_path, name) for name in ("ca", "office", "foreign"))
    pair, client = authority.issue("tls", "ledger.example", "127.0.0.1"), office.issue("client")
    all_scopes = (await new_key(database, "backend", "wallet", "ops", "finance")).text
    ops = (await new_key(database, "ops")).text
    settings = {
        **EVERYWHERE,
        "DATABASE_URL": database_url,
        "ACU_LEDGER_TLS_CERTIFICATE": str(pair.certificate),
        "ACU_LEDGER_TLS_KEY": str(pair.key),
        "ACU_LEDGER_BACK_OFFICE_TLS_CLIENT_CA": str(office.file),
    }
    caller = {
        "ACU_LEDGER_KEY": all_scopes,
        "ACU_LEDGER_CA": str(authority.file),
        "ACU_LEDGER_CLIENT_CERTIFICATE": str(client.certificate),
        "ACU_LEDGER_CLIENT_CERTIFICATE_KEY": str(client.key),
    }
    with serving(settings) as server:
        assert server.said.startswith("Serving on 0.0.0.0, by TLS; calls need a key.\n")
        assert all_scopes not in server.said
        await asyncio.to_thread(try_calls, server, caller)
        await asyncio.to_thread(try_commands, server, caller, foreign, ops)
        await asyncio.to_thread(try_metrics, server, authority, client, {"all": all_scopes, "ops": ops})
        await asyncio.to_thread(await_new_certificate, server, authority)


def try_commands(server: Server, caller: Mapping[str, str], foreign: Authority, ops: str) -> None:
    """What is missing is reported at once; `--ca` wins over the environment."""
    port = server.back_office.rpartition(":")[2]
    verify = ("books", "verify", "--target", f"127.0.0.1:{port}")
    no_key = {name: value for name, value in caller.items() if name != "ACU_LEDGER_KEY"}
    no_certificate = {name: value for name, value in caller.items() if "CLIENT" not in name}
    cases = [
        (caller, (), 0, ""),
        ({**caller, "ACU_LEDGER_CA": "/nowhere"}, ("--ca", caller["ACU_LEDGER_CA"]), 0, ""),
        (
            caller,
            ("--ca", foreign.file),
            1,
            "TLS_FAILED: no authority of ca signed the server's certifi",
        ),
        (caller, ("--ca", "/nowhere"), 2, "--ca (ACU_LEDGER_CA): /nowhere cannot be read (No such file"),
        (no_key, (), 1, f"UNAUTHENTICATED: {NO_KEY}"),
        ({**caller, "ACU_LEDGER_KEY": ops}, (), 1, "SCOPE_REQUIRED: The key lacks the scope that this needs"),
        ({**caller, "ACU_LEDGER_KEY": ops[:-1]}, (), 2, "ACU_LEDGER_KEY holds no key"),
        (no_certificate, (), 1, "UNAVAILABLE"),
    ]
    for environment, options, status, reported in cases:
        ran = acu_ledger(*verify, *options, environment=environment)
        assert ran.status == status, ran.stderr
        assert reported in ran.stderr
        assert ops not in ran.stderr
        assert "ssl_transport_security" not in ran.stderr


def try_metrics(server: Server, authority: Authority, client, keys: Mapping[str, str]) -> None:
    """Operations' are open; finance's take a key of that scope, and here a certificate too."""
    finance, operations = server.address("finance metrics"), server.address("operations metrics")
    assert finance.startswith("https://")
    bare = ssl.create_default_context(cafile=authority.file)
    status, page = scrape(operations, bare)
    assert status == 200
    assert "acu_ledger_tls_files_refused 0.0" in page
    assert re.search(r"^acu_ledger_tls_certificate_expiry_timestamp_seconds \d", page, re.MULTILINE)
    with pytest.raises(OSError, match=r"certificate required|EOF|reset|closed"):
        scrape(finance, bare, keys["all"])
    known = ssl.create_default_context(cafile=authority.file)
    known.load_cert_chain(client.certificate, client.key)
    for shown in (None, "nonsense", Key.draw().text):
        assert scrape(finance, known, shown) == (401, f"{NO_KEY}\n")
    lacks = "The key lacks the scope that this needs (scope: finance).\n"
    assert scrape(finance, known, keys["ops"]) == (403, lacks)
    status, page = scrape(finance, known, keys["all"])
    assert (status, "acu_ledger_deferred_revenue_usd" in page) == (200, True)


def await_new_certificate(server: Server, authority: Authority) -> None:
    """Within seconds new connections are shown what the files hold now: its end stands in the metrics."""
    ends_at = datetime.now(UTC) + timedelta(days=77)
    authority.issue("tls", "ledger.example", "127.0.0.1", not_after=ends_at)
    context = ssl.create_default_context(cafile=authority.file)
    expiry = re.compile(r"^acu_ledger_tls_certificate_expiry_timestamp_seconds (\S+)$", re.MULTILINE)
    shown = 0.0
    while shown != int(ends_at.timestamp()):
        (shown,) = map(float, expiry.findall(scrape(server.address("operations metrics"), context)[1]))


async def test_plaintext_behind_what_ends_tls(database: Database, database_url: str) -> None:
    """It takes keys all the same, of calls and of finance's metrics; printed calls work as they stand."""
    key = await new_key(database, "ops", "wallet", "backend", "finance")
    caller = {"ACU_LEDGER_KEY": key.text}
    with serving({**EVERYWHERE, "DATABASE_URL": database_url}, "--plaintext") as server:
        assert server.said.startswith(
            "Serving on 0.0.0.0, in plaintext: TLS ends before it; calls need a key.\n"
        )
        await asyncio.to_thread(try_calls, server, caller)
        finance = server.address("finance metrics")
        assert (await asyncio.to_thread(scrape, finance))[0] == 401
        assert (await asyncio.to_thread(scrape, finance, None, caller["ACU_LEDGER_KEY"]))[0] == 200


@pytest.mark.parametrize("by_tls", [False, True])
async def test_loopback_of_ipv6(database: Database, database_url: str, tmp_path: Path, by_tls: bool) -> None:
    """Open as that of IPv4 while there is no key, by TLS too, and for finance's metrics."""
    authority = Authority(tmp_path)
    pair = authority.issue("tls")
    settings = {"ACU_LEDGER_HOST": "::1", "DATABASE_URL": database_url}
    caller, context = {}, None
    if by_tls:
        settings |= {
            "ACU_LEDGER_TLS_CERTIFICATE": str(pair.certificate),
            "ACU_LEDGER_TLS_KEY": str(pair.key),
        }
        caller = {"ACU_LEDGER_CA": str(authority.file)}
        context = ssl.create_default_context(cafile=authority.file)
    with serving(settings) as server:
        assert server.said.startswith(
            "Serving on ::1 only, to whoever is on this machine, until there is a key.\n"
        )
        await asyncio.to_thread(try_calls, server, caller)
        assert (await asyncio.to_thread(scrape, server.address("finance metrics"), context))[0] == 200
        target = ("--target", server.back_office)
        ran = await asyncio.to_thread(acu_ledger, "books", "verify", *target, environment=caller)
        assert ran.status == 0, ran.stderr
