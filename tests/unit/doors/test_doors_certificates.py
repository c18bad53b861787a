"""Files of TLS that would keep callers out are refused, by setting and file, with what to do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from ledger.doors.certificates import TlsFiles, read
from ledger.environment import SettingsError
from tests.certificates import Authority

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    """Good ones."""
    pair = authority.issue("tls", not_after=NOW + 90 * DAY)
    return TlsFiles(pair.certificate, pair.key, None, None)


def refusal(files: TlsFiles, now: datetime = NOW) -> str:
    with pytest.raises(SettingsError) as reported:
        read(files, now)
    return str(reported.value)


def test_what_is_read(files: TlsFiles, authority: Authority) -> None:
    """Names and end of the certificate; doors ask for a client's certificate where they have an authority."""
    material = read(files, NOW)
    assert set(material.names) == {"localhost", "127.0.0.1", "::1"}
    assert abs(material.ends_at - (NOW + 90 * DAY)) <= timedelta(seconds=1)
    doors = (material.public, material.back_office, material.operations)
    assert [door.asks_for_certificates for door in doors] == [False, False, False]
    for named, asking in (
        ("tls_client_ca", [True, True, False]),
        ("back_office_tls_client_ca", [False, True, False]),
    ):
        material = read(replace(files, **{named: authority.file}), NOW)
        doors = (material.public, material.back_office, material.operations)
        assert [door.asks_for_certificates for door in doors] == asking


def test_files_that_cannot_be_read(files: TlsFiles, tmp_path: Path) -> None:
    """A file that is missing, or is a directory, is reported by its setting."""
    gone = tmp_path / "gone"
    for field in ("tls_certificate", "tls_key", "tls_client_ca", "back_office_tls_client_ca"):
        name = f"ACU_LEDGER_{field.upper()}"
        assert refusal(replace(files, **{field: gone})) == (
            f"{name}: {gone} cannot be read (No such file or directory):"
            " name a PEM file that this user may read"
        )
        assert f"{name}: {tmp_path} cannot be read (Is a directory)" in refusal(
            replace(files, **{field: tmp_path})
        )


def test_what_may_never_end_is_not_read(files: TlsFiles, tmp_path: Path) -> None:
    """A pipe that nobody writes to, and a device, are reported by their setting: nobody waits for them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for field in ("tls_certificate", "tls_key", "tls_client_ca", "back_office_tls_client_ca"):
        for endless in (pipe, Path("/dev/zero")):
            assert refusal(replace(files, **{field: endless})) == (
                f"ACU_LEDGER_{field.upper()}: {endless} is a pipe or a device, and is not read:"
                " put a file there, or a link to one"
            )


def test_files_that_hold_something_else(files: TlsFiles, tmp_path: Path) -> None:
    """What is no PEM, or another kind of it, is reported by its setting, with what belongs there."""
    text = tmp_path / "text"
    text.write_text("no PEM\n")
    for field, other, reported in (
        ("tls_certificate", text, "holds no certificate in PEM form"),
        ("tls_certificate", files.tls_key, "holds no certificate in PEM form"),
        ("tls_key", text, "holds no private key in PEM form"),
        ("tls_key", files.tls_certificate, "holds no private key in PEM form"),
        (
            "tls_client_ca",
            text,
            "holds no certificate in PEM form: name the file of the clients' authorities",
        ),
        (
            "tls_client_ca",
            files.tls_certificate,
            "holds no certificate that may sign others: name that of the",
        ),
    ):
        assert f"ACU_LEDGER_{field.upper()}: {other} {reported}" in refusal(replace(files, **{field: other}))


def test_a_key_of_another_certificate(files: TlsFiles, authority: Authority) -> None:
    """Both files are reported."""
    other = authority.issue("other").key
    assert refusal(replace(files, tls_key=other)) == (
        f"ACU_LEDGER_TLS_KEY: {other} is not the key of the certificate in {files.tls_certificate}:"
        " it must belong to the first certificate of that file"
    )


def test_a_key_with_a_password(files: TlsFiles, tmp_path: Path) -> None:
    """It is reported with the command that takes the password off, and nobody is asked for it."""
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", files.tls_key, "-aes256", "-passout", "pass:x", "-out", locked], check=True
    )
    reported = refusal(replace(files, tls_key=locked))
    assert f"ACU_LEDGER_TLS_KEY: {locked} asks for a password" in reported
    command = reported.partition("`")[2].rpartition("`")[0].replace("NEW_FILE", str(tmp_path / "open.key"))
    subprocess.run([*command.split(), "-passin", "pass:x"], check=True)
    read(replace(files, tls_key=tmp_path / "open.key"), NOW)


def test_a_certificate_is_refused_outside_its_time(files: TlsFiles) -> None:
    """Before its time and after it a certificate is refused, with the instant."""
    ends_at, starts_at = NOW + 90 * DAY, datetime(2000, 1, 1, tzinfo=UTC)
    name = f"ACU_LEDGER_TLS_CERTIFICATE: {files.tls_certificate}"
    reported = refusal(files, ends_at + DAY)
    assert reported == f"{name} has expired ({ends_at:%Y-%m-%d %H:%M} UTC): renew it"
    reported = refusal(files, starts_at - DAY)
    assert reported.startswith(f"{name} is not valid before 2000-01-01 00:00 UTC: wait, or look at ")


def test_dates_of_real_clocks(authority: Authority) -> None:
    """One that ended, or is to begin, by the clock of now: no library says it first, in other words."""
    for name, dates, reported in (
        ("old", {"not_after": NOW - DAY}, " has expired ("),
        ("new", {"not_before": NOW + DAY, "not_after": NOW + 9 * DAY}, " is not valid before "),
    ):
        pair = authority.issue(name, **dates)
        assert reported in refusal(TlsFiles(pair.certificate, pair.key, None, None))


def test_one_that_ends_soon_is_warned_of(files: TlsFiles) -> None:
    """Within 30 days of the end; not before them."""
    for days, reported in ((59, []), (61, ["tls.ends_soon"])):
        with capture_logs() as logs:
            read(files, NOW + days * DAY)
        assert [each["event"] for each in logs] == reported


def test_a_key_that_others_can_read_is_warned_of(files: TlsFiles) -> None:
    """By file, with the command that mends it; a group may read it."""
    for mode, reported in ((0o640, []), (0o644, ["tls.key_readable"])):
        files.tls_key.chmod(mode)
        with capture_logs() as logs:
            read(files, NOW)
        assert [each["event"] for each in logs] == reported
    assert f"chmod o-r {files.tls_key}" in logs[0]["hint"]


def test_authorities_whose_time_is_over(files: TlsFiles, authority: Authority) -> None:
    """They would keep every client out."""
    far = datetime(3000, 1, 2, tzinfo=UTC)
    pair = authority.issue("lasting", not_after=far + 90 * DAY)
    reported = refusal(TlsFiles(pair.certificate, pair.key, authority.file, None), far)
    assert f"ACU_LEDGER_TLS_CLIENT_CA: {authority.file} holds authorities whose time is over only" in reported


def self_signed(directory: Path, key: Any, *usages: x509.ObjectIdentifier) -> TlsFiles:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + 90 * DAY)
    if usages:
        made = made.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    files = TlsFiles(directory / "x.crt", directory / "x.key", None, None)
    algorithm = None if isinstance(key, ed448.Ed448PrivateKey) else SHA256()
    files.tls_certificate.write_bytes(made.sign(key, algorithm).public_bytes(Encoding.PEM))
    files.tls_key.touch(mode=0o600)
    files.tls_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256K1()), ed448.Ed448PrivateKey.generate()], ids=["k1", "ed448"]
)
def test_a_kind_of_key_that_not_all_take(tmp_path: Path, key: Any) -> None:
    """What OpenSSL would refuse at each connection, and gRPC when it is to listen, is reported before."""
    files = self_signed(tmp_path, key)
    named = f"ACU_LEDGER_TLS_CERTIFICATE: {files.tls_certificate}"
    assert refusal(files).startswith(f"{named} is of a kind that clients do not take: have a key of RSA, ")


def test_a_certificate_of_a_client(tmp_path: Path) -> None:
    """One that no server may show."""
    files = self_signed(
        tmp_path, ec.generate_private_key(ec.SECP256R1()), x509.ExtendedKeyUsageOID.CLIENT_AUTH
    )
    assert f"{files.tls_certificate} is none that a server may show (" in refusal(files)


def test_a_weak_key(tmp_path: Path) -> None:
    """The error says what it takes."""
    files = self_signed(tmp_path, rsa.generate_private_key(65537, 1024))  # noqa: S505 -- it is refused
    assert f"{files.tls_certificate} is too weak (EE_KEY_TOO_SMALL): have one made with 2,048" in refusal(
        files
    )


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """What operations.md has for an authority of one's own makes files that are taken without a warning."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (openssl .*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt", None)
    with capture_logs() as logs:
        material = read(files, datetime.now(UTC))
    assert logs == []
    assert "ledger.internal" in material.names
