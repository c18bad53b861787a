"""The TLS of one process: its files are followed, and each connection begins with what is in force then.

Files are looked at once a second, as those of prices are, and read when they are still for a second look.
What cannot be used is refused whole, and what was taken last stays in force. Connections keep what they began
with: no call ends with a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, Protocol, TypeAlias

import grpc
import structlog

from ledger.doors.certificates import Door, Material, TlsFiles, read
from ledger.environment import SettingsError, environment_name
from ledger.settings import TLS_FILES, Settings

LOOK_SECONDS: Final = 1.0
"""Between two looks at the files."""

_log = structlog.get_logger(__name__)

Look: TypeAlias = Mapping[Path, tuple[int, ...] | None]
"""Of each file its device, inode, size and times, links followed; None where there is none."""
Which: TypeAlias = Callable[[Material], Door]


class Noted(Protocol):
    """Where it is shown what became of the files."""

    def tls(self, ends_at: datetime, *, refused: bool) -> None:
        """Until when the certificate in force is valid, and whether the files as they are were refused."""


class Tls:
    """The files of one process, and what is in force of them."""

    def __init__(self, files: TlsFiles, noted: Noted) -> None:
        """Reads the files. Raises SettingsError."""
        self._files = files
        self._noted = noted
        self._seen = self._taken = _look(files)
        self.material = self._take()

    async def run(self) -> None:
        """Follows the files, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.step)

    def step(self) -> None:
        """Takes the files if they have changed, and not since the last look: half a file is no file."""
        look = _look(self._files)
        is_still = look == self._seen
        self._seen = look
        if not is_still or look == self._taken:
            return
        self._taken = look
        try:
            self.material = self._take()
        except Exception as error:  # noqa: BLE001 -- whatever they hold, they are looked at again
            self._noted.tls(self.material.ends_at, refused=True)
            _log.error("tls.refused", error=str(error) or repr(error), in_force="what was taken last")
        else:
            _log.info("tls.taken", names=self.material.names, ends_at=self.material.ends_at.isoformat())

    def _take(self) -> Material:
        material = read(self._files, datetime.now(UTC))
        self._noted.tls(material.ends_at, refused=False)
        return material

    def credentials(self, which: Which) -> Callable[[], grpc.ServerCredentials]:
        """What makes the credentials of a gRPC port, each time it begins to listen."""

        def made() -> grpc.ServerCredentials:
            shown = which(self.material)

            def changed() -> Any:
                nonlocal shown
                before, shown = shown, which(self.material)
                return None if shown is before else shown.configuration

            return grpc.dynamic_ssl_server_credentials(
                shown.configuration, changed, shown.asks_for_certificates
            )

        return made

    def context(self, which: Which) -> Callable[[], SSLContext]:
        """What a connection of a socket begins with."""
        return lambda: which(self.material).context


def tls_of(settings: Settings, noted: Noted) -> Tls | None:
    """TLS by the files that the settings name; None where they name none. Raises SettingsError."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is not None and key is not None:
        return Tls(
            TlsFiles(certificate, key, settings.tls_client_ca, settings.back_office_tls_client_ca), noted
        )
    needed = "tls_certificate" if certificate is None else "tls_key"
    for named in TLS_FILES:
        if getattr(settings, named) is not None:
            belongs = f"belongs to {environment_name(needed)}, which is not set: set both, or neither"
            raise SettingsError(f"{environment_name(named)} {belongs}")
    return None


def _look(files: TlsFiles) -> Look:
    return {path: _state(path) for path in astuple(files) if path is not None}


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
