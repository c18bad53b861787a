"""Makes the picture of the finance dashboard in finance.md: make dashboard.

Grafana is not among what the project installs, so matplotlib draws the panels, each where the dashboard's
file puts it, from what a real Prometheus answers to its query. The data are of the dashboards' test: two
servers under load, one of which is killed and comes back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.store.postgres.migrate import migrate
from tests.integration.monitoring.monitoring_world import (
    Played,
    play,
    ports_of_two,
    prometheus_config,
    two_servers,
)
from tests.prometheus import Found, Prometheus, dashboard, running

PICTURE = Path(__file__).with_name("finance-dashboard.svg")
WINDOW = "1h"
ROUNDS = 60
STEP = timedelta(seconds=1)
_ROW_INCHES = 0.42
_COLUMN_INCHES = 0.62
_COLOURS = ("#2f6f9f", "#c7823a", "#3f9e76", "#a23b72", "#8a8f98", "#6f58a8", "#b5a233")
_UNITS = {
    "currencyUSD": "${:,.2f}".format,
    "percentunit": "{:.1%}".format,
    "s": "{:,.0f} s".format,
    "short": "{:,.0f}".format,
}


class Picture:
    """The dashboard over the time of one scene."""

    def __init__(self, prometheus: Prometheus, played: Played) -> None:
        self._prometheus = prometheus
        self._begin, self._at = played.begin, played.at
        panels = dashboard("finance")["panels"]
        self._rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        size = 24 * _COLUMN_INCHES, self._rows * _ROW_INCHES
        self.figure = Figure(figsize=size, layout="none")
        for panel in panels:
            self._draw(panel)

    def _draw(self, panel: Mapping[str, Any]) -> None:
        at = panel["gridPos"]
        bottom = 1 - (at["y"] + at["h"]) / self._rows
        if panel["type"] == "row":
            title = panel["title"].replace("$window", WINDOW)
            self.figure.text(0.005, bottom + 0.2 / self._rows, title, fontsize=9, fontweight="bold")
            return
        place = at["x"] / 24, bottom, at["w"] / 24, at["h"] / self._rows
        axes = self.figure.add_axes(_within(place, self._rows))
        axes.set_title(panel["title"], fontsize=8, loc="left")
        getattr(self, f"_{panel['type']}")(axes, panel)

    def _stat(self, axes: Axes, panel: Mapping[str, Any]) -> None:
        axes.axis("off")
        [found] = self._prometheus.ask(_expression(panel["targets"][0]), self._at)
        shown = _format(panel)(found.value)
        axes.text(0.5, 0.5, shown, fontsize=17, ha="center", va="center", color=_COLOURS[0])

    def _table(self, axes: Axes, panel: Mapping[str, Any]) -> None:
        """Its queries merged by their labels, as Grafana's transformation does."""
        axes.axis("off")
        labels = ("plan", "card", "kind")
        rows: dict[Sequence[str], list[str]] = {}
        formats = (_UNITS["currencyUSD"], _UNITS["currencyUSD"], _UNITS["percentunit"])
        for column, (target, format_) in enumerate(zip(panel["targets"], formats, strict=True)):
            for found in self._prometheus.ask(_expression(target), self._at):
                key = tuple(found.labels.get(label, "") for label in labels)
                rows.setdefault(key, ["", "", ""])[column] = format_(found.value)
        cells = [[*key, *values] for key, values in sorted(rows.items())]
        made = axes.table(
            cells, colLabels=[*labels, "revenue", "cost", "margin"], loc="upper center", edges="horizontal"
        )
        made.auto_set_font_size(False)
        made.set_fontsize(7)

    def _timeseries(self, axes: Axes, panel: Mapping[str, Any]) -> None:
        series = [
            (_legend(target, found), found) for target in panel["targets"] for found in self._over(target)
        ]
        series.sort(key=lambda each: each[0])
        if "stacking" in panel["fieldConfig"]["defaults"]["custom"]:
            self._stack(axes, series)
        else:
            for (name, found), colour in zip(series, _colours(series), strict=True):
                dash = "--" if name.startswith("floor of") else "-"
                axes.plot(*self._points(found), dash, label=name, color=colour, linewidth=1.2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _format(panel)(value)))
        axes.tick_params(labelsize=6, length=2)
        axes.grid(visible=True, linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=6, frameon=False, loc="best")

    def _stack(self, axes: Axes, series: Sequence[tuple[str, Found]]) -> None:
        instants = sorted({at for _, found in series for at in self._points(found)[0]})
        values = [dict(zip(*self._points(found), strict=True)) for _, found in series]
        heights = [[each.get(at, 0.0) for at in instants] for each in values]
        names = [name for name, _ in series]
        axes.stackplot(instants, heights, labels=names, colors=_colours(series), alpha=0.75)

    def _over(self, target: Mapping[str, Any]) -> list[Found]:
        return self._prometheus.ask_over(_expression(target), self._begin, self._at, STEP)

    def _points(self, found: Found) -> tuple[list[float], list[float]]:
        """Seconds since the beginning, and values."""
        begin = self._begin.timestamp()
        return [at - begin for at, _ in found.samples], [value for _, value in found.samples]


def _within(place: tuple[float, float, float, float], rows: int) -> tuple[float, float, float, float]:
    """Where axes stand in the place of a panel: room for labels on the left and for the title above."""
    x, y, width, height = place
    left, below, above = 0.042, 0.55 / rows, 0.75 / rows
    return x + left, y + below, width - left - 0.008, height - below - above


def _expression(target: Mapping[str, Any]) -> str:
    return str(target["expr"]).replace("$window", WINDOW)


def _legend(target: Mapping[str, Any], found: Found) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: found.labels.get(label[1], "") or "-", target["legendFormat"])


def _format(panel: Mapping[str, Any]) -> Any:
    return _UNITS[panel["fieldConfig"]["defaults"]["unit"]]


def _colours(series: Sequence[Any]) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(len(series))]


def _urls(server: EmbeddedPostgres) -> Any:
    return SimpleNamespace(
        owner=server.url, reader=server.reader_url, finance=server.finance_url, writer=server.writer_url
    )


def main() -> None:
    """Plays the scene, and draws it."""
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "acu-ledger", "font.family": "sans-serif"}
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        folder = Path(directory)
        server = EmbeddedPostgres.start(folder / "postgres")
        ports = ports_of_two()
        try:
            asyncio.run(migrate(server.url))
            with running(folder, prometheus_config(folder, ports)) as prometheus:
                servers = two_servers(_urls(server), folder, ports)
                played = asyncio.run(play(prometheus, servers, server.url, ROUNDS))
                Picture(prometheus, played).figure.savefig(PICTURE, metadata={"Date": None})
        finally:
            server.stop()


if __name__ == "__main__":
    main()
