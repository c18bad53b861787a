"""Finance's commands before a price changes, on a server that holds real usage."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from command_line import acu_ledger, refused_at_once, replay

import pricing
from ledger.sample import SAMPLE_RECORDS
from tests.serving import Server

SESSIONS = SAMPLE_RECORDS / "agent_sessions.csv"
REQUESTS = SAMPLE_RECORDS / "llm_requests.csv"
SONNET = ("--format", "llm_requests", "--model", "anthropic/claude-sonnet-4-5")


@pytest.fixture
def target(server: Server) -> tuple[str, str]:
    """A server that holds sessions of agents on the card `resolved`."""
    replay(server, "agent_sessions", SESSIONS, "--card", "resolved", "--run-id", "simulated", "--limit", 20)
    return "--target", server.back_office


def test_a_fitted_card_is_simulated_and_drawn(target: tuple[str, str], tmp_path: Path) -> None:
    """A card that `fit` proposes leaves its margin on what was used; the picture is well-formed."""
    card, picture = tmp_path / "fitted.yaml", tmp_path / "change.svg"
    wanted = ("--credit-price", "0.05", "--margin", "45%", "--charged-by", "resolved")
    fitted = acu_ledger("rates", "fit", *wanted, "--out", card, *target)
    assert fitted.status == 0, fitted.stderr
    nowhere = tmp_path / "none" / "fitted.yaml"
    lost = acu_ledger("rates", "fit", *wanted, "--out", nowhere, *target)
    assert (lost.status, lost.stderr) == (1, f"{nowhere}: No such file or directory\n")
    charged = ("--charged-by", "resolved", "--picture", picture)
    found = acu_ledger("rates", "simulate", card, "--since", "1d", *charged, "--json", *target).json()
    assert int(found["charges"]) >= 20
    assert found["after"]["list_margin_ratio"][:4] == "0.45"
    assert found["before"] == {**found["booked"], "unpriced_lines": "0"}
    texts = [each.text for each in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 -- ours
    assert "45.0%" in texts
    assert "Simulation: with fitted.yaml" in texts


def test_the_table_tells_who_wins_and_who_loses(target: tuple[str, str]) -> None:
    """Without a card, what customers with their own keys would pay, beside what they did."""
    ran = acu_ledger("rates", "simulate", "--byok", "--charged-by", "resolved", *target)
    assert ran.status == 0, ran.stderr
    for said in ("booked", "before", "after", "Change of bills", "on the customers' own keys"):
        assert said in ran.stdout


@pytest.mark.parametrize(("swap", "changes"), [("foo/x=bar/y", False), ("openai/gpt-5=cache", True)])
def test_swaps_that_change_nothing_are_told(target: tuple[str, str], swap: str, changes: bool) -> None:
    """Figures that stay as they are are no answer where no usage was served by the model."""
    ran = acu_ledger("rates", "simulate", "--model-swap", swap, "--charged-by", "resolved", *target)
    reported = (
        "Nothing changes: no usage here was served by foo/x, or what would serve in its place costs the same"
    )
    assert (reported in ran.stderr) != changes


def test_what_is_not_simulated_of_plans_is_noted(target: tuple[str, str], tmp_path: Path) -> None:
    """Figures say nothing of what depends on balances, and of plans that are gone."""
    plans = tmp_path / "plans.yaml"
    plans.write_text("plans: {standard: {over_capture: CAP, max_ttl: 1h}}")
    ran = acu_ledger("rates", "simulate", "--plans", plans, "--charged-by", "resolved", *target)
    assert ran.status == 0, ran.stderr
    assert "Simulation: by the cards in force, on other plans" in ran.stdout
    assert "not simulated: over_capture of standard changes" in ran.stderr
    assert "not simulated: the candidate has no plan capped" in ran.stderr


def test_a_file_of_records_is_simulated(target: tuple[str, str], tmp_path: Path) -> None:
    """Records that the ledger does not hold are priced by a card in force beside the candidate."""
    card = tmp_path / "twice.yaml"
    card.write_text(
        'card: twice\ncredit: credit\ncredit_price_usd: "1"\n'
        'rules: [{name: all, match: {tokens: "*"}, price: {cost_plus: {markup: "100%"}}}]\n'
    )
    file = ("--file", REQUESTS, *SONNET, "--limit", 50, "--charged-by", "completions")
    found = acu_ledger("rates", "simulate", card, *file, "--json", *target).json()
    assert int(found["charges"]) == 50
    assert round(Decimal(found["after"]["list_margin_ratio"]), 4) == Decimal("0.5")
    assert found["after"]["cost_usd"] == found["before"]["cost_usd"]
    assert "booked" not in found


def test_imported_costs_are_a_cost_book(target: tuple[str, str]) -> None:
    """What `import` prints can be read as a cost book."""
    ran = acu_ledger("rates", "import", *target)
    assert ran.status == 0, ran.stderr
    assert "sandbox" in pricing.read_costs_text(ran.stdout).resources


def test_options_that_make_no_sense() -> None:
    """What cannot be understood is said before a server is asked."""
    for wrong, said in (
        (("--file", SESSIONS), "--format"),
        (("--since", "yesterday"), "30d"),
        (("--model-swap", "a"), "A=B"),
    ):
        assert said in refused_at_once("rates", "simulate", *wrong)
