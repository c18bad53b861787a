"""The sample configuration, loaded once."""

import pytest

from ledger.app import SAMPLE_CONFIG
from pricing import Config, Terms, compile_terms, load


@pytest.fixture(scope="session")
def presets() -> Config:
    """The cost book and the cards that ship."""
    return load(SAMPLE_CONFIG)


@pytest.fixture
def terms_of(presets):
    """Compile a preset by its name."""

    def compiled(card: str) -> Terms:
        return compile_terms(presets.cards[card], presets.costs)

    return compiled
