"""What is shipped for Prometheus and Grafana leads to where it says, and says one thing in one way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.prometheus import DEPLOY, GRAFANA, alerts, dashboard, rules

ROOT = Path(__file__).parents[3]
WINDOWS = {"1h": 3_600, "1d": 86_400, "30d": 2_592_000}


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as they are made of them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def section(page: Path, heading: str) -> str:
    """What stands under a heading of the third level."""
    found = re.search(
        rf"^### {heading}\n(.*?)(?=^##|\Z)", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, heading
    return found[1]


@pytest.mark.parametrize("name", alerts())
def test_each_alert_leads_to_its_runbook(name):
    """Whoever is woken by an alert finds what it means, what to look at and what to do, under its name."""
    alert = alerts()[name]
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert anchor == name.lower()
    assert anchor in anchors(ROOT / page)
    assert re.findall(r"^\*\*(.+?)\.\*\*", section(ROOT / page, name), re.MULTILINE) == [
        "Means",
        "Look at",
        "Do",
    ]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description"} < set(alert["annotations"])


@pytest.mark.parametrize("name", [*rules(), *alerts()])
def test_each_rule_has_a_test(name):
    """A rule is in a file of promtool's tests."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (DEPLOY / "tests").glob("*.yml"))
    assert re.search(rf"(expr|alertname): {re.escape(name)}\n", tests)


def test_windows_differ_by_their_length_alone():
    """One hour, one day and 30 days are the same rules."""

    def of(window: str) -> dict[str, str]:
        found = {name: expr for name, expr in rules().items() if re.search(rf"[a-z:]{window}$", name)}
        seconds = rf"\b{WINDOWS[window]}\b"
        return {
            name.removesuffix(window): re.sub(seconds, "SECONDS", expr.replace(window, "WINDOW"))
            for name, expr in found.items()
        }

    assert len(of("1h")) > 10
    assert of("1h") == of("1d") == of("30d")


def test_figures_are_no_counters():
    """`rate`, `increase` and the like take a reversal for a restart: they stand on no figure of finance."""
    expressions = rules() | {name: alert["expr"] for name, alert in alerts().items()}
    for name, expression in expressions.items():
        for counted in re.findall(r"\b(?:i?rate|increase|i?delta|deriv)\(([a-z_:]+)", expression):
            assert counted.endswith(("_total", "_count", "_bucket", "_sum")), name


@pytest.mark.parametrize("name", sorted(path.stem for path in (GRAFANA / "dashboards").glob("*.json")))
def test_dashboards_are_whole(name):
    """Panels have ids of their own and do not overlap; all ask the source that is chosen, and name a unit."""
    board = dashboard(name)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert board["templating"]["list"][0]["name"] == "datasource"
    for panel in panels:
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert {each["datasource"]["uid"] for each in panel["targets"]} == {"${datasource}"}


def test_grafana_is_given_the_dashboards_and_their_source():
    """What is provisioned is of the kinds that the dashboards ask for."""
    provisioning = GRAFANA / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "acu-ledger.yaml").read_text())["providers"]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
    assert {dashboard(name)["uid"] for name in ("finance", "operations")} == {
        "acu-ledger-finance",
        "acu-ledger-operations",
    }
