"""Settings that the service cannot go by are reported by name, with what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.database_url import check_url
from ledger.environment import PREFIX, SettingsError
from ledger.settings import Settings

FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from outside."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_settings_come_from_the_environment_and_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is a number; what a command says replaces what the environment does."""
    monkeypatch.setenv("ACU_LEDGER_PUBLIC_PORT", "7")
    monkeypatch.setenv("DATABASE_URL", "postgresql://of/environment")
    settings = Settings.read(finance_port=8)
    assert (settings.public_port, settings.finance_port) == (7, 8)
    assert settings.database_url == "postgresql://of/environment"
    assert Settings.read(public_port=0).public_port == 0


@pytest.mark.parametrize("text", ["abc", "", "-1", "65536", "1.5"])
def test_no_port(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A line for each setting: its name, what is there, what is allowed."""
    monkeypatch.setenv("ACU_LEDGER_PUBLIC_PORT", text)
    monkeypatch.setenv("ACU_LEDGER_FINANCE_PORT", "x")
    with pytest.raises(SettingsError) as reported:
        Settings.read()
    assert str(reported.value).splitlines() == [
        f"ACU_LEDGER_PUBLIC_PORT: {text!r} is no port (0 to 65535; 0: any free one)",
        "ACU_LEDGER_FINANCE_PORT: 'x' is no port (0 to 65535; 0: any free one)",
    ]


@pytest.mark.parametrize("text", ["none", "0", "100001"])
def test_no_number_of_connections(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """At least one, and no more than a process may have files open."""
    monkeypatch.setenv("ACU_LEDGER_CONNECTIONS_MAX", text)
    with pytest.raises(SettingsError) as reported:
        Settings.read()
    expected = "number of connections (1 to 100000)"
    assert str(reported.value) == f"ACU_LEDGER_CONNECTIONS_MAX: {text!r} is no {expected}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "foo",
        "mysql://u:secret@host/db",
        "postgresql://u:secret@host:port/db",
        "postgresql://u:secret@[::1:55/db",
        "postgresql://u:1/secret@host/db",
        "postgresql://u:1?secret@host/db",
        "postgresql://u:1#secret@host/db",
        "postgresql://u:1@secret@host/db",
        "postgresql:///db?password=1@secret",
    ],
)
async def test_no_url(url: str) -> None:
    """The expected form is reported, and nothing of the URL: what stands where is not certain."""
    with pytest.raises(SettingsError) as reported:
        await check_url("DATABASE_URL", url)
    assert str(reported.value).startswith(f"DATABASE_URL is no URL of a PostgreSQL: write {FORM}, and ")
    assert "secret" not in str(reported.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://u:secret@127.0.0.1:1/db", "127.0.0.1:1"),
        ("postgres://127.0.0.1:1/db?user=u&password=secret", "127.0.0.1:1"),
        ("postgresql:///db?host=/nowhere&user=u&password=secret", "/nowhere"),
    ],
)
async def test_nobody_answers(url: str, host: str) -> None:
    """The setting and the host are reported, never the password."""
    with pytest.raises(SettingsError) as reported:
        await check_url("ACU_LEDGER_READER_URL", url)
    assert str(reported.value).startswith(f"ACU_LEDGER_READER_URL: no PostgreSQL can be reached at {host}: ")
    assert str(reported.value).endswith(f"; write {FORM}")
    assert "secret" not in str(reported.value)


async def test_what_a_url_says_of_tls_and_cannot_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported before anything is connected to, and not as a URL that is none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    for said, reported in (
        ("sslmode=verify-fully", "sslmode=verify-fully is none: write one of prefer, disable, "),
        ("sslmode=verify-full", "sslmode=verify-full takes sslrootcert: name a PEM file that this user may"),
        ("sslmode=verify-full&sslrootcert=system", "sslrootcert=system cannot be read: name a PEM file"),
        ("sslmode=require&sslkey=/nowhere", "sslkey=/nowhere cannot be read: name a PEM file"),
    ):
        with pytest.raises(SettingsError) as refused:
            await check_url("DATABASE_URL", f"postgresql://u:secret@127.0.0.1:1/d?{said}")
        assert str(refused.value).startswith(f"DATABASE_URL: {reported}")
        assert "secret" not in str(refused.value)
