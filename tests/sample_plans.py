"""The sample's configuration with further plans, for servers of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

from ledger.sample import SAMPLE_CONFIG


def sample_with(plans: str, directory: Path) -> Path:
    """Makes the directory: `plans` are entries of plans.yaml, indented as those of the sample are."""
    shutil.copytree(SAMPLE_CONFIG, directory)
    with (directory / "plans.yaml").open("a", encoding="utf-8") as file:
        file.write(plans)
    return directory
