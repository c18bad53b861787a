"""Where doors listen, and what has to be there before other machines may reach them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger.doors.address import Address, address_of, require_key, require_tls
from ledger.environment import SettingsError
from ledger.settings import Settings

FILE = Path("tls.pem")
EVERYWHERE = Address("0.0.0.0", is_loopback=False)  # noqa: S104 -- nothing is bound


def settings(**given: Any) -> Settings:
    return Settings.model_construct(**given)


@pytest.mark.parametrize(
    ("host", "ip", "is_loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("::1", "::1", True),
        ("0.0.0.0", "0.0.0.0", False),  # noqa: S104 -- nothing is bound
        ("::", "::", False),
        ("192.0.2.7", "192.0.2.7", False),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", False),
    ],
)
async def test_what_is_not_surely_loopback_is_none(host: str, ip: str, is_loopback: bool) -> None:
    """Of both kinds; what is not surely loopback is none."""
    assert await address_of(settings(host=host)) == Address(ip, is_loopback)


async def test_a_name_is_its_first_address() -> None:
    """A name is where its first address leads."""
    assert (await address_of(settings(host="localhost"))).is_loopback
    for host in ("nowhere.invalid", "", "[::1]", "a b", "x" * 300, "127.0.0.1:80"):
        with pytest.raises(SettingsError) as reported:
            await address_of(settings(host=host))
        assert str(reported.value).startswith(
            f"ACU_LEDGER_HOST: {host!r} leads nowhere: write an address of "
        )


def test_in_brackets() -> None:
    """An IPv6 address stands in brackets before a port."""
    assert Address("::1", True).at(7) == "[::1]:7"
    assert Address("127.0.0.1", True).at(7) == "127.0.0.1:7"


def test_other_machines_take_tls() -> None:
    """Off loopback there is TLS, or somebody who says that it ends elsewhere; on loopback both may be."""
    require_tls(settings(), Address("::1", is_loopback=True))
    require_tls(settings(tls_certificate=FILE), Address("::1", is_loopback=True))
    require_tls(settings(tls_certificate=FILE), EVERYWHERE)
    require_tls(settings(plaintext=True), EVERYWHERE)
    with pytest.raises(SettingsError) as reported:
        require_tls(settings(), EVERYWHERE)
    for part in (
        "ACU_LEDGER_HOST: 0.0.0.0 can be reached from other machines",
        "  export ACU_LEDGER_TLS_CERTIFICATE=/etc/acu-ledger/tls.crt ACU_LEDGER_TLS_KEY=/etc/",
        "  acu-ledger serve --plaintext",
    ):
        assert part in str(reported.value)
    with pytest.raises(SettingsError, match="exclude each other: leave one out"):
        require_tls(settings(tls_certificate=FILE, plaintext=True), EVERYWHERE)


@pytest.mark.parametrize("plaintext", [False, True])
def test_other_machines_take_a_key(plaintext: bool) -> None:
    """Off loopback somebody has a usable key, whoever does the TLS; the error says how the first is made."""
    given = settings(plaintext=plaintext, database_url="postgresql://x")
    require_key(given, Address("127.0.0.1", is_loopback=True), usable=False)
    require_key(given, EVERYWHERE, usable=True)
    with pytest.raises(SettingsError) as reported:
        require_key(given, EVERYWHERE, usable=False)
    assert (
        "that takes a key; make one at the database of DATABASE_URL\n  acu-ledger keys create --scope ops"
        in str(reported.value)
    )
    with pytest.raises(
        SettingsError, match=r"at the database\n  acu-ledger keys create --scope ops --name first --data /"
    ):
        require_key(settings(), EVERYWHERE, usable=False)
