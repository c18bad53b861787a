"""The guide for ops: its examples are loaded, its claims that are numbers are computed."""

import re
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from pricing_world import NOW, compute, config, outcome, paid, priced, refusals, tokens, units

from pricing import Memory, Result, compile_terms

GUIDE = (Path(__file__).parents[3] / "docs" / "pricing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml (\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
(COSTS,) = (text for what, text in BLOCKS if what == "costs")
CARDS = [text for what, text in BLOCKS if what == "card"]


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """All blocks of the guide, as one directory."""
    return config(tmp_path_factory.mktemp("guide"), COSTS, *CARDS)


def test_every_block_of_the_guide_is_loaded(guide):
    """The cost book and all cards of the page work together; no block is left out."""
    assert len(BLOCKS) == GUIDE.count("```yaml") == 1 + len(guide.cards)
    assert set(guide.cards) == {
        "devin",
        "falling",
        "matching",
        "measured",
        "narrow",
        "periods",
        "runs",
        "schemes",
    }
    assert guide.cards["devin"].rounding == (10_000, "up")


def test_the_schemes_of_the_guide(guide):
    """The card of schemes prices as its rules say."""
    terms = compile_terms(guide.cards["schemes"], guide.costs)
    request = tokens("acme/search-agent", input=10_000, output=5_000, requests=3)
    assert paid(priced(terms, request)) == 1 + 2 + 3 * 2
    assert paid(priced(terms, units("mail", "50"))) == 3
    assert paid(priced(terms, units("web_search", "10"))) == 13
    assert paid(priced(terms, outcome("ticket.resolved"))) == 100
    assert paid(priced(terms, outcome("ticket.resolved", Result.FAILED))) == 1
    memory = Memory(own_run=priced(terms, compute("warehouse/xs", 20)).own_run)
    assert paid(priced(terms, compute("warehouse/xs", 30), memory=memory)) == 0


def test_the_fallback_of_the_guide(guide):
    """A model that nobody knows has no price at cost; it is charged by the rule that is named for that."""
    quote = priced(
        compile_terms(guide.cards["falling"], guide.costs), tokens("who/knows", input=10**6), falls_back=True
    )
    assert (quote.unpriced, paid(quote)) == ((0,), 20)


def test_the_runs_of_the_guide(guide):
    """Each start of the warehouse has a minimum; idling costs a tenth of a credit at most."""
    terms = compile_terms(guide.cards["runs"], guide.costs)
    starts = [NOW + timedelta(seconds=seconds) for seconds in (0, 20, 40)]
    times = [compute("warehouse/xs", 10, run_id="w", started_at=start) for start in starts]
    assert paid(priced(terms, *times)) == Fraction(1, 20)
    assert paid(priced(terms, compute("sandbox", 3600, state="idle"))) == Fraction(1, 10)


def test_the_units_and_periods_of_the_guide(guide):
    """What is measured, drawn from a pool, counted in blocks and in steps amounts to what the page says."""
    terms = compile_terms(guide.cards["measured"], guide.costs)
    (job,) = priced(terms, compute("h100", 3600), labels={"workload": "jobs"}).lines
    assert (job.measured.quantity, job.exact_micros) == (48, 7_200_000)
    assert Fraction(*job.pool.exact_micros) == 14_400_000
    assert paid(priced(terms, units("mail", "25001"))) == 60
    terms = compile_terms(guide.cards["periods"], guide.costs)
    assert paid(priced(terms, outcome("ticket", count=137))) == 149
    day = [units("mail", "13"), compute("warehouse/xs", 3600, count="100")]
    assert paid(priced(terms, *day)) == 103


def test_the_errors_of_the_guide(tmp_path):
    """The messages shown are those that are given."""
    shown = re.search(r"^## Errors\n\n((?:    .*\n)+)", GUIDE, re.MULTILINE).group(1)
    first, second, third = (line.strip().partition(": ")[2] for line in shown.splitlines())
    card = (
        CARDS[0] + "  - name: opus\n    match: {tokens: anthropic/claude-opus}\n    price: {included: true}\n"
    )
    assert [str(p).partition(": ")[2] for p in refusals(tmp_path, COSTS, card)] == [second]
    card = CARDS[0].replace('per_hour: "4"', "per_hour: 4.5")
    found = refusals(tmp_path, COSTS.replace("catalog:", "catalogue:"), card)
    assert {str(p).partition(": ")[2] for p in found} >= {first, third}
