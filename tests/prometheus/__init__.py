"""A real Prometheus for tests, and for a picture of the documentation. Debian's package has both programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.ports import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
GRAFANA = DEPLOY.with_name("grafana")
RULES = (DEPLOY / "rules.yml", DEPLOY / "alerts.yml")
_YEARS = "100y"


def programs() -> tuple[str, str]:
    """`prometheus` and `promtool`; a test without them is skipped, and fails where they are required."""
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server is None or tool is None:
        if os.environ.get("REQUIRE_PROMETHEUS"):
            pytest.fail("prometheus and promtool are required here: apt-get install prometheus")
        pytest.skip("needs prometheus and promtool (Debian, Ubuntu: apt-get install prometheus)")
    return server, tool


def promtool(*arguments: str | Path) -> str:
    """What promtool says; it has to be content."""
    _, tool = programs()
    ran = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rules() -> dict[str, str]:
    """The recording rules: expressions by name."""
    groups = yaml.safe_load(RULES[0].read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: rule["expr"].strip() for group in groups for rule in group["rules"]}


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules, by name."""
    groups = yaml.safe_load(RULES[1].read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@dataclass(frozen=True, slots=True)
class Found:
    """One series of an answer."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]
    """Seconds since 1970, and values."""

    @property
    def value(self) -> float:
        """The last one."""
        return self.samples[-1][1]


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, expression: str, at: datetime | None = None) -> list[Found]:
        """An expression at an instant, now if none is named: a vector, a scalar, or samples of a range."""
        asked = {"query": expression} | ({"time": str(at.timestamp())} if at is not None else {})
        return _found(self._get("query", asked))

    def ask_over(self, expression: str, begin: datetime, end: datetime, step: timedelta) -> list[Found]:
        """An expression at each step of a span, as a graph asks it."""
        asked = {
            "query": expression,
            "start": str(begin.timestamp()),
            "end": str(end.timestamp()),
            "step": str(step.total_seconds()),
        }
        return _found(self._get("query_range", asked))

    def evaluated(self) -> dict[str, datetime]:
        """When each group of rules was last begun to be evaluated."""
        groups = self._get("rules", {})["groups"]
        return {group["name"]: _instant(group["lastEvaluation"]) for group in groups}

    def _get(self, path: str, asked: Mapping[str, str]) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {dict(asked)}: {error.read().decode()}") from error


def _found(data: Any) -> list[Found]:
    if data["resultType"] == "scalar":
        return [Found({}, [_sample(data["result"])])]
    return [
        Found(each["metric"], [_sample(sample) for sample in each.get("values") or [each["value"]]])
        for each in data["result"]
    ]


def _instant(text: str) -> datetime:
    """Prometheus writes nanoseconds, of which Python reads micros."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def _sample(sample: Sequence[Any]) -> tuple[float, float]:
    return float(sample[0]), float(sample[1])


@contextmanager
def running(folder: Path, config: str = "") -> Iterator[Prometheus]:
    """A server over `folder / "data"` until the block ends."""
    server, _ = programs()
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_YEARS}",
        f"--web.listen-address={address}",
    ]
    command = [server, *options]
    with (
        (folder / "prometheus.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        try:
            for line in process.stderr:
                log.write(line)
                if "Server is ready" in line:
                    break
            else:
                log.flush()
                pytest.fail(Path(log.name).read_text(encoding="utf-8"))
            # A pipe that nobody empties would stop it.
            Thread(target=log.writelines, args=(process.stderr,), daemon=True).start()
            yield Prometheus(address)
        finally:
            process.kill()


def backfill(folder: Path, samples: str) -> None:
    """Puts samples in OpenMetrics' text, with their instants, into `folder / "data"`."""
    (folder / "samples").write_text(samples, encoding="utf-8")
    promtool("tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data")


@cache
def dashboard(name: str) -> Any:
    """A dashboard as Grafana takes it."""
    return json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))


def queries(name: str) -> list[tuple[str, str, str]]:
    """Of each panel of a dashboard, what it asks Prometheus: title, legend and expression."""
    return [
        (panel["title"], target["legendFormat"], target["expr"])
        for panel in dashboard(name)["panels"]
        for target in panel.get("targets", ())
    ]
