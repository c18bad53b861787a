"""The examples of docs/client.md run as they stand, with the client alone, and print what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packages import REPOSITORY, Environment
from shop import Shop

# Environments are made, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)
OWN = Path(__file__).parent / "recipes"
PAGE = REPOSITORY / "docs" / "client.md"
LINES_MAX = 40
LOOP_LINES_MAX = 30
FASTAPI = "A service that streams, with FastAPI"
LITELLM = "A callback of LiteLLM"
PROXY = "A proxy that speaks as OpenAI does"
STREAMING_PROXY = "A proxy that streams"
RUNS = {
    FASTAPI: """
import asyncio, os
import calling, recipe
from ledger.client import Credits
asked = lambda name: (recipe.app, "/answers", f"customer_id={name}&question=why")
async def run():
    async with calling.started(recipe.app):
        for name in ("acme", "nearly-out"):
            print(*await calling.post(*asked(name)))
        await calling.hang_up(*asked("hung-up"))
    async with Credits(os.environ["LEDGER"]) as credits:
        balance = await credits.balance("hung-up")
        print(100 - balance.available - balance.held, "credits")
asyncio.run(run())
""",
    LITELLM: """
import asyncio, os
from ledger.client import Credits
import recipe
logged = {"id": "1", "call_type": "acompletion", "model": "gpt-5", "custom_llm_provider": "openai",
          "prompt_tokens": 9000, "completion_tokens": 600, "end_user": "logged"}
async def main():
    async with Credits(os.environ["LEDGER"]) as credits:
        for _ in range(2):
            call = {"standard_logging_object": logged, "litellm_call_id": "1"}
            await recipe.Charging(credits).async_log_success_event(call, None, 0, 0)
            print(100 - (await credits.balance("logged")).available, "credits")
asyncio.run(main())
""",
    PROXY: """
import json
import calling, recipe
async def ask(name):
    status, text = await calling.post(recipe.app, "/v1/chat/completions", body={"model": "gpt-5"}, key=name)
    if status == 200:
        usage = json.loads(text)["usage"]
        text = f"{usage['prompt_tokens']} and {usage['completion_tokens']} tokens"
    return status, text
calling.run(recipe.app, lambda: ask("acme"), lambda: ask("nearly-out"))
""",
    STREAMING_PROXY: """
import os
import calling, recipe
from ledger.client import Credits
async def ask(name):
    status, text = await calling.post(recipe.app, "/v1/chat/completions", body={"model": "gpt-5"}, key=name)
    return status, " … ".join(line for line in text.split("\\n\\n") if line and "usage" not in line)
async def charged():
    async with Credits(os.environ["LEDGER"]) as credits:
        return 100 - (await credits.balance("streamed")).available, "credits"
calling.run(recipe.app, lambda: ask("streamed"), lambda: ask("nearly-out"), charged)
""",
}
"""What is called, of those that are called; the others run by themselves."""


class Recipe(NamedTuple):
    """An example with what it prints."""

    name: str
    code: str
    printed: str


def _recipes() -> Iterator[Recipe]:
    text = PAGE.read_text(encoding="utf-8")
    example = re.compile(r"^```python\n(.*?)^```\n(.*?)^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for heading, body in re.findall(r"^#+ (.+?)\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL):
        found = example.search(body)
        if found:
            yield Recipe(heading, found[1], found[3])


RECIPES = list(_recipes())


@pytest.fixture(scope="session")
def customers(shop: Shop) -> None:
    """Those of the page."""
    for customer_id, amount in (
        ("acme", 1_000),
        ("nearly-out", 1),
        ("logged", 100),
        ("streamed", 100),
        ("hung-up", 100),
    ):
        shop.customer(amount, customer_id)


def test_the_page_has_the_recipes() -> None:
    """The first is the shortest; the others are those that are promised."""
    assert [recipe.name for recipe in RECIPES] == [
        "The client",
        "An agent's loop",
        "A GPU job",
        "A support bot that is paid by the outcome",
        FASTAPI,
        LITELLM,
        PROXY,
        STREAMING_PROXY,
    ]
    lines = {recipe.name: len(recipe.code.strip().splitlines()) for recipe in RECIPES}
    assert max(lines.values()) < LINES_MAX
    loop = next(recipe.code for recipe in RECIPES if recipe.name == "An agent's loop")
    body = [line for line in loop.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(body) <= LOOP_LINES_MAX


@pytest.mark.usefixtures("customers")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_prints_what_the_page_has(
    recipe: Recipe, client: Environment, shop: Shop, tmp_path: Path
) -> None:
    """Warnings are errors."""
    shutil.copytree(OWN, tmp_path, dirs_exist_ok=True)
    code = recipe.code.replace("127.0.0.1:50051", shop.target)
    (tmp_path / "recipe.py").write_text(code, encoding="utf-8")
    run = RUNS.get(recipe.name, "import recipe")
    ran = client.run("python", "-W", "error", "-c", run, PYTHONPATH=str(tmp_path), LEDGER=shop.target)
    assert ran.stdout == recipe.printed, ran.stderr


def test_the_recipes_have_strict_types(client: Environment, tmp_path: Path) -> None:
    """By the types of the package as it is installed."""
    shutil.copytree(OWN, tmp_path, dirs_exist_ok=True)
    for number, recipe in enumerate(RECIPES):
        (tmp_path / f"recipe_{number}.py").write_text(recipe.code, encoding="utf-8")
    options = ["--strict", "--no-incremental", "--python-executable", client.program("python")]
    checked = sorted(tmp_path.glob("recipe_*.py"))
    command = [sys.executable, "-m", "mypy", *options, *checked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
