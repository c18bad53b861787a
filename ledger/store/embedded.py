"""The embedded PostgreSQL: the only module that knows where its binaries come from."""

from __future__ import annotations

from pathlib import Path


class EmbeddedPostgres:
    """A running server on a data directory."""

    url: str
    reader_url: str
    finance_url: str
    writer_url: str

    @classmethod
    def start(cls, data_dir: Path) -> EmbeddedPostgres:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError
