"""The demo's table of styles: what it says of today is what the ledger books."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ledger.cli.demonstration.selling import read_agent_sessions
from ledger.cli.demonstration.styles_table import STYLES, Sold, World, sell
from ledger.cli.replaying.customers import ReplayedCustomers, find_card
from ledger.cli.replaying.replay import Replay
from ledger.sample import SAMPLE_CONFIG
from pricing import load

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSIONS = 21


@pytest.fixture(scope="module")
def config():
    return load(SAMPLE_CONFIG)


@pytest.mark.parametrize("style", STYLES)
async def test_pricing_alone_comes_to_what_is_booked(presets, config, style):
    """To the nano-dollar: so the other worlds of the table are what the ledger would book in them."""
    sessions = read_agent_sessions()[:SESSIONS]
    card, credit_price_nanousd = await find_card(presets.seller, style)
    customers = ReplayedCustomers(presets.seller, f"styles/{style}", card, credit_price_nanousd)
    replay = Replay(presets.seller, customers, f"styles/{style}", 1, advance=lambda _: None, warn=pytest.fail)
    tally = await replay.run(sessions)
    booked = Sold(tally.revenue_nanousd, tally.cost_nanousd)
    assert tally.committed == SESSIONS
    assert sell(config, style, World.TODAY, sessions, datetime.now(UTC)) == booked
