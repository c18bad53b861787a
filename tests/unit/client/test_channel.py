"""What a client is made of: keys, certificates, and where they may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.client import Credits


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """They are told where the client is made, before anything is sent."""
    with pytest.raises(ValueError, match="cannot be read"):
        Credits("ledger.example:1", ca=tmp_path / "gone")
    with pytest.raises(ValueError, match="belong together"):
        Credits("ledger.example:1", certificate=tmp_path / "gone")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(ValueError, match="holds no certificate in PEM form"):
        Credits("ledger.example:1", ca=tmp_path / "text")
