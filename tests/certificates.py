"""Certificates of an authority of our own, in files as operators have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import trustme


class Pair(NamedTuple):
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; `file` holds its own."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, **dates: Any) -> Pair:
        """Files of a name; the same again replaces them. For loopback, if no host is given."""
        issued = self._ca.issue_cert(*(hosts or ("127.0.0.1", "localhost", "::1")), **dates)
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        pair.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        pair.key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(pair.key)
        return pair
