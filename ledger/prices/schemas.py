"""`python -m ledger.prices.schemas DIR` writes the JSON Schemas of all that is configured in YAML."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from ledger.prices.plans import PlansModel
from pricing.json_schema import DOCUMENTS, schema_text

ALL: Mapping[str, type[BaseModel]] = {**DOCUMENTS, "plans": PlansModel}
"""Models by the name of their schema."""


def write(directory: Path) -> None:
    """Writes card.json, costs.json and plans.json."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, model in ALL.items():
        (directory / f"{name}.json").write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
