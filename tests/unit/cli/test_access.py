"""How a client reaches a server, from the environment and what a command was given."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.access.keys import Key
from ledger.cli.access import access_from
from ledger.client.channel import Access
from ledger.environment import SettingsError
from tests.certificates import Authority

HERE = ("127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1")
ELSEWHERE = (
    "ledger:1",
    "10.0.0.7:1",
    "[2001:db8::1]:1",
    "0.0.0.0:1",
    "localhost.example:1",
    "dns:///x:1",
    "x",
)


def speaks_tls(access: Access, targets: tuple[str, ...]) -> set[bool]:
    return {access.credentials(target) is not None for target in targets}


def test_tls_off_loopback_whatever_is_said(authority: Authority) -> None:
    """Plaintext leaves the machine only where it is asked for, with a key or without."""
    for environment in ({}, {"ACU_LEDGER_KEY": Key.draw().text}, {"ACU_LEDGER_PLAINTEXT": "1"}):
        access = access_from(environment)
        assert (speaks_tls(access, HERE), speaks_tls(access, ELSEWHERE)) == ({False}, {True})
        access = access_from({**environment, "ACU_LEDGER_CA": str(authority.file)}, plaintext=True)
        assert (speaks_tls(access, HERE), speaks_tls(access, ELSEWHERE)) == ({False}, {False})


def test_tls_on_loopback_with_an_authority(authority: Authority) -> None:
    """Whoever names an authority, or has a certificate to show, wants TLS everywhere."""
    pair = authority.issue("client")
    certificate = {
        "ACU_LEDGER_CLIENT_CERTIFICATE": str(pair.certificate),
        "ACU_LEDGER_CLIENT_CERTIFICATE_KEY": str(pair.key),
    }
    for environment in ({"ACU_LEDGER_CA": str(authority.file)}, certificate):
        assert speaks_tls(access_from(environment), HERE) == {True}
    assert speaks_tls(access_from({}, ca=authority.file), HERE) == {True}
    assert access_from({"ACU_LEDGER_CA": "/nowhere"}, ca=authority.file).authorities is not None


def test_an_authority_comes_by_a_pipe(authority: Authority, tmp_path: Path) -> None:
    """As a shell makes one of `--ca <(command)`: it can be read once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_bytes, authority.file.read_bytes())
        assert access_from({}, ca=pipe).authorities == authority.file.read_bytes()


def test_keys_that_are_none() -> None:
    """A key with a typo is refused before anything is sent, and not quoted; no key stands in a repr."""
    key = Key.draw().text
    for text in (key[:-1], key + "x", key.replace("acu_", "acu-"), key.swapcase(), "secret", f"{key}\n"):
        with pytest.raises(SettingsError) as reported:
            access_from({"ACU_LEDGER_KEY": text})
        assert str(reported.value).startswith(
            "ACU_LEDGER_KEY holds no key: one begins with acu_ and ends with"
        )
        assert text not in str(reported.value)
    assert key not in repr(access_from({"ACU_LEDGER_KEY": key}))


def test_files_that_are_none(authority: Authority, tmp_path: Path) -> None:
    """The setting, the option and the file are reported."""
    pair, other = authority.issue("client"), authority.issue("other")
    for file, reported in (
        (tmp_path / "gone", "cannot be read (No such file or directory)"),
        (pair.key, "holds no certificate in PEM form: name the file of the authority"),
    ):
        with pytest.raises(SettingsError) as raised:
            access_from({}, ca=file)
        assert f"--ca (ACU_LEDGER_CA): {file} {reported}" in str(raised.value)
    names = ("ACU_LEDGER_CLIENT_CERTIFICATE", "ACU_LEDGER_CLIENT_CERTIFICATE_KEY")
    for environment, reported in (
        ({names[0]: str(pair.certificate)}, "belong together: set both"),
        ({names[1]: str(pair.key)}, "belong together: set both"),
        ({names[0]: str(pair.certificate), names[1]: str(other.key)}, "(KEY_VALUES_MISMATCH)"),
        ({names[0]: str(pair.certificate), names[1]: "/nowhere"}, "(No such file or directory)"),
    ):
        with pytest.raises(SettingsError) as raised:
            access_from(environment)
        assert reported in str(raised.value)
