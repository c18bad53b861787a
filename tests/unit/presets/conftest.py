"""The sample configuration, loaded once."""

import pytest
from presets_world import NOW

from ledger.cli.demonstration.selling import read_agent_sessions
from ledger.cli.demonstration.styles_table import STYLES, Row, World, sell
from ledger.sample import SAMPLE_CONFIG
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


@pytest.fixture(scope="session")
def sold(presets) -> dict[str, Row]:
    """The agent sessions in every style, in every world."""
    sessions = read_agent_sessions()
    return {style: {world: sell(presets, style, world, sessions, NOW) for world in World} for style in STYLES}
