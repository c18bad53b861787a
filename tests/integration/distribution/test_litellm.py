"""LiteLLM's own objects, in an environment with its package and the client alone.

The package is too large for every developer's environment (docs/dependencies.md), so this one has it for as
long as these tests take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packages import REPOSITORY, Environment
from shop import Shop
from test_recipes import LITELLM, RECIPES

# An environment is made, and a large package read, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)
LOCK = REPOSITORY / "requirements-litellm.lock"
PROGRAMS = Path(__file__).parent / "with_litellm"
RECORDED = REPOSITORY / "tests" / "unit" / "client" / "recorded" / "litellm.json"


@pytest.fixture(scope="module")
def environment(wheel: Path, others: Path) -> Iterator[Environment]:
    """What the lock pins, and the client."""
    with TemporaryDirectory(prefix="acu-ledger-litellm-") as directory:
        venv.create(directory, with_pip=False, symlinks=True)
        made = Environment(Path(directory))
        pip = [sys.executable, "-m", "pip", "--python", made.program("python"), "--disable-pip-version-check"]
        install = [*pip, "install", "--quiet", "--no-compile"]
        # It asks for more than the lock has: the Makefile says what, and why it goes without.
        pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", LOCK]
        installed = _run(*install, *pinned)
        if installed.returncode != 0 and not os.environ.get("REQUIRE_LITELLM"):
            pytest.skip(f"no registry to install LiteLLM from: {installed.stderr[-200:]}")
        assert installed.returncode == 0, installed.stderr
        client = _run(*install, "--no-index", "--find-links", others, wheel)
        assert client.returncode == 0, client.stderr
        yield made


def test_its_objects_are_those_that_were_recorded(environment: Environment) -> None:
    """What it makes of answers of OpenAI, Anthropic and Gemini is what the unit tests read, item by item."""
    said = _run(environment.program("python"), PROGRAMS / "objects.py")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == json.loads(RECORDED.read_text(encoding="utf-8"))


def test_its_callback_charges_the_end_user(environment: Environment, shop: Shop, tmp_path: Path) -> None:
    """By the recipe as the page has it.

    600 tokens of input, 2,000 from a cache and 300 of output at 100, 10 and 1,000 credits a million.
    """
    recipe = next(each for each in RECIPES if each.name == LITELLM)
    (tmp_path / "recipe.py").write_text(recipe.code, encoding="utf-8")
    program = [environment.program("python"), PROGRAMS / "charging.py", shop.target, shop.customer(10)]
    said = _run(*program, PYTHONPATH=str(tmp_path))
    assert said.stdout == "0.380000 credits\n", said.stderr


def _run(*command: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """Without the prices that it fetches when it is imported."""
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **settings}
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
