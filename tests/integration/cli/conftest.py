"""A server with the sample configuration and some cards more, for the command line's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import REPOSITORY, Server, serving

CARDS = {
    "code": """
credit: credit
credit_price_usd: "0.01"
rules:
  - name: code
    match: {tokens: "acme/*"}
    price: {per_million: {input: "33.3", output: "77.7"}}
""",
    "usage": """
credit: credit
credit_price_usd: "0.01"
rules:
  - name: models
    match: {tokens: ["anthropic/*", "openai/*", "litellm/*"]}
    price:
      per_million: {input: "100", cache_read: "10", cache_write: "125", output: "1000", reasoning: "1001"}
""",
    "gpu": """
credit: credit
credit_price_usd: "0.25"
rules:
  - name: gpu
    match: {compute: l40s}
    price: {per_hour: "4.4"}
""",
    "dear": """
credit: gold
credit_price_usd: "10000000"
rules:
  - name: gpu
    match: {compute: l40s}
    price: {per_hour: "6"}
""",
}


@pytest.fixture(scope="session")
def data(clusters: Path) -> Path:
    """Where replays without a server share an embedded database; each has a run id of its own."""
    return clusters / "replays"


@pytest.fixture(scope="session")
def server(clusters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server."""
    config = shutil.copytree(REPOSITORY / "deploy" / "config", tmp_path_factory.mktemp("serve") / "config")
    for name, card in CARDS.items():
        (config / "cards" / f"{name}.yaml").write_text(f"card: {name}{card}")
    with serving({}, "--config", str(config), "--data", str(clusters / "serve")) as running:
        yield running
