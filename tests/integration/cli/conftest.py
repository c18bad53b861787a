"""An embedded database for the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the replays share; each has a run id of its own."""
    return tmp_path_factory.mktemp("embedded")
