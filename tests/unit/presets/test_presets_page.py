"""The page of the styles: its cards are those that ship, its figures and its picture are computed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from ledger.cli.demonstration.styles_table import STYLES
from ledger.sample import SAMPLE_CONFIG

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "pricing-styles.md").read_text(encoding="utf-8")
EXCERPTS = re.findall(r"^```yaml (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def made():
    """What makes the table and the picture."""
    spec = importlib.util.spec_from_file_location("pricing_styles", DOCS / "pricing_styles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("card", "excerpt"), EXCERPTS)
def test_excerpts_stand_in_the_cards(card, excerpt):
    """What the page shows of a card is a part of it, word by word."""
    assert excerpt in (SAMPLE_CONFIG / "cards" / f"{card}.yaml").read_text(encoding="utf-8")


def test_every_style_has_its_excerpt():
    """No style is left out."""
    assert set(STYLES) <= {card for card, _ in EXCERPTS}
    assert PAGE.count("```yaml") == len(EXCERPTS)


def test_table_is_current(made, sold):
    """Else: make styles."""
    assert made.table(sold) in PAGE


def test_picture_is_current(made, sold):
    """Else: make styles."""
    assert made.picture(sold) == (DOCS / "pricing-styles.svg").read_text(encoding="utf-8")
