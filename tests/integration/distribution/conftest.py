"""The wheel, what it is installed with, and a server for programs that have nothing of this environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from packages import Environment, build, clone, wheels
from shop import CARD, COSTS, PLANS, Shop

from tests.serving import serving


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone."""
    return clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the clone."""
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with wheels of what it asks for."""
    return wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def client(wheel: Path, others: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with what it asks for, FastAPI beside it: nothing of a server."""
    made = Environment.installed(str(wheel), tmp_path_factory.mktemp("client"), others)
    made.install("fastapi", others)
    assert not made.packages() & {"asyncpg", "sqlalchemy", "litellm", "openai"}
    return made


@pytest.fixture(scope="session")
def shop(clusters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server in a process of its own, on an embedded PostgreSQL of its own."""
    config = tmp_path_factory.mktemp("shop")
    (config / "cards").mkdir()
    (config / "cards" / "work.yaml").write_text(CARD, encoding="utf-8")
    (config / "plans.yaml").write_text(PLANS, encoding="utf-8")
    (config / "costs.yaml").write_text(COSTS, encoding="utf-8")
    with serving({}, "--config", str(config), "--data", str(clusters / "shop")) as server:
        yield Shop(server)
