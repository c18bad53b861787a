"""What the environment says to the service, and what is said of a setting that it cannot go by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.environment import LOOPBACK, OWNER_URL, PREFIX, SettingsError, environment_name
from ledger.sample import SAMPLE_CONFIG

TLS_FILES: Final = ("tls_certificate", "tls_key", "tls_client_ca", "back_office_tls_client_ca")
"""Settings that name files of TLS."""
PORT_MAX: Final = 65_535
CONNECTIONS_MAX: Final = 512
"""A client process needs one, and a process may open 1,024 files by default."""
CONNECTIONS_LIMIT: Final = 100_000
CALLS_LIMIT: Final = 1_000_000

_EXPECTED: Final = {
    "plaintext": "switch (1: on, 0: off)",
    "webhooks_private": "switch (1: on, 0: off)",
    "connections_max": f"number of connections (1 to {CONNECTIONS_LIMIT})",
    "calls_per_second_of_key": f"number of calls a second (1 to {CALLS_LIMIT}; unset: no limit)",
    "calls_in_flight_of_key": f"number of calls (1 to {CALLS_LIMIT}; unset: no limit)",
}


def default_data_dir() -> Path:
    """Where the embedded database of this user lives, as the XDG base directories have it.

    Root's runs as a system user of its own, who cannot see into root's home.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/acu-ledger/data")
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "acu-ledger" / "data"


class Settings(BaseSettings):
    """Where the service finds its things. From the environment: ACU_LEDGER_…, and DATABASE_URL."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, populate_by_name=True)

    database_url: str | None = Field(default=None, validation_alias=OWNER_URL)
    """The owner's URL; the embedded database where there is none."""
    reader_url: str | None = None
    finance_url: str | None = None
    writer_url: str | None = None
    """Of the three roles; where one is missing its role is set on sessions of `database_url`."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Of the embedded database."""
    config_dir: Path = SAMPLE_CONFIG
    """Holds costs.yaml, cards/*.yaml and, if wanted, plans.yaml."""
    public_port: int = Field(default=50051, ge=0, le=PORT_MAX)
    back_office_port: int = Field(default=50052, ge=0, le=PORT_MAX)
    operations_port: int = Field(default=9464, ge=0, le=PORT_MAX)
    finance_port: int = Field(default=9465, ge=0, le=PORT_MAX)
    """0: any free port."""
    host: str = LOOPBACK
    """Of all ports: an address of this machine, or a name that leads to one."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """PEM files, of all ports; both or neither."""
    tls_client_ca: Path | None = None
    """Authorities that sign the certificates of clients, who then have to show one; of both APIs."""
    back_office_tls_client_ca: Path | None = None
    """In place of the other, of the back office and of finance's metrics."""
    plaintext: bool = False
    """Off loopback without TLS: whoever sets it says that a proxy or mesh ends TLS."""
    connections_max: int = Field(default=CONNECTIONS_MAX, ge=1, le=CONNECTIONS_LIMIT)
    """Of the public port, at a time. Each is an open file of the process."""
    webhooks_private: bool = False
    """Webhooks may go to addresses that are not public (loopback, private networks), and by http."""
    calls_per_second_of_key: int | None = Field(default=None, ge=1, le=CALLS_LIMIT)
    calls_in_flight_of_key: int | None = Field(default=None, ge=1, le=CALLS_LIMIT)
    """Of each key, in this process; None: no limit. Each item of a batch is one of its calls a second."""

    @classmethod
    def read(cls, **stated: Any) -> Self:
        """The settings of the environment; what is stated here wins. Raises SettingsError."""
        try:
            return cls(**stated)
        except ValidationError as wrong:
            raise SettingsError("\n".join(map(_in_words, wrong.errors(include_url=False)))) from None

    @classmethod
    def on_free_ports(cls, config: Path, data: Path) -> Self:
        """Of a server that whoever starts it calls: on loopback, without TLS. Raises SettingsError."""
        ports = ("public_port", "back_office_port", "operations_port", "finance_port")
        without_tls, any_free = dict.fromkeys(TLS_FILES), dict.fromkeys(ports, 0)
        return cls.read(config_dir=config, data_dir=data, host=LOOPBACK, **without_tls, **any_free)


def _in_words(problem: Any) -> str:
    """One line for a setting: numbers and switches are all that can be wrong by themselves."""
    field = str(problem["loc"][0])
    expected = _EXPECTED.get(field, f"port (0 to {PORT_MAX}; 0: any free one)")
    return f"{environment_name(field)}: {str(problem['input'])!r} is no {expected}"


def spans_are_wanted() -> bool:
    """Whether OpenTelemetry's own variables name a receiver, and none of them says otherwise."""
    said = {name: value.strip() for name, value in os.environ.items() if name.startswith("OTEL_")}
    has_receiver = said.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or said.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    is_disabled = said.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return bool(has_receiver) and not is_disabled and said.get("OTEL_TRACES_EXPORTER", "otlp") in ("", "otlp")
