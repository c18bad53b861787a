"""The page of events: a sample of each type, as the schema has it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import fastjsonschema

import ledger.events
from ledger.events.derive import EventType

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
SCHEMA = json.loads(files(ledger.events).joinpath("schema.json").read_text(encoding="utf-8"))


def test_each_type_has_a_sample():
    """Who reads the page sees what comes; each sample has every field of its type."""
    text = PAGE.read_text(encoding="utf-8")
    samples = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    is_valid = fastjsonschema.compile(SCHEMA)
    shown = [sample for sample in samples if sample.keys() == {"type", "data"}]
    for sample in shown:
        is_valid(sample)
        properties = SCHEMA["definitions"][sample["type"]]["properties"]
        assert sample["data"].keys() == properties.keys()
    assert [sample["type"] for sample in shown] == list(EventType)
