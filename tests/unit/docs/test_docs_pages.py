"""The pages of the documentation: what they name is there, and what is there they name."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from typer.core import TyperGroup
from typer.main import get_command

from ledger.cli import access
from ledger.cli.main import app
from ledger.environment import environment_name
from ledger.metrics.finance import FinanceFigures, FinanceMetrics
from ledger.metrics.operations import OperationsMetrics
from ledger.settings import Settings

REPOSITORY = Path(__file__).parents[3]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
OF_CLIENTS = (access.KEY, access.CA, access.CLIENT_CERTIFICATE, access.CLIENT_CERTIFICATE_KEY)
GENERATED = {"ledger.v1", "ledger.admin", "ledger.finance"}
LOWEST = {
    "ledger.calls",
    "ledger.clock",
    "ledger.errors",
    "ledger.logs",
    "ledger.rounds",
    "ledger.sample",
    "ledger.turns",
}
"""Modules that may be imported by all, and know none of the layers."""
_VARIABLE = re.compile(r"\bACU_LEDGER_[A-Z_]*[A-Z]\b")


class _Command(NamedTuple):
    page: str
    line: str


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands() -> Iterator[_Command]:
    """What the pages have of `acu-ledger`: in blocks, and between backticks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```(?:console)?(?: \w+)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        typed = [line for block in blocks for line in block.splitlines() if "acu-ledger" in line]
        quoted = re.findall(r"`((?:[A-Z_]+=\S+ )*acu-ledger [^`]*)`", re.sub(r"\s*\n\s*", " ", _prose(page)))
        for line in (*typed, *quoted):
            for part in re.split(r"&&|\|\||[|;&]|\$\(|\bthen\b|\bdo\b", line):
                if found := re.search(r"(?:^|[\s/])acu-ledger (.*)", part):
                    yield _Command(page.name, found[1].partition("#")[0].rstrip(") "))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading that it has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_the_readme_names_every_guide() -> None:
    """Whoever begins there finds each page."""
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in sorted(DOCS.glob("*.md")) if f"(docs/{page.name})" not in readme] == []


@pytest.mark.parametrize("command", sorted(set(_commands())), ids=" ".join)
def test_every_command_is_there(command: _Command) -> None:
    """With the options that the page writes it with."""
    words = shlex.split(command.line, comments=True)
    known = get_command(app)
    while isinstance(known, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in known.commands
        known, words = known.commands[words[0]], words[1:]
    options = {name for parameter in known.params for name in (*parameter.opts, *parameter.secondary_opts)}
    written = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert written <= options | {"--help"}


def test_every_setting_is_in_the_tables() -> None:
    """Of a server and of its clients, in full; and the pages name no other."""
    settings = {
        str(field.validation_alias or environment_name(name)) for name, field in Settings.model_fields.items()
    }
    settings |= set(OF_CLIENTS)
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert {name for name in settings if f"`{name}`" not in operations} == set()
    named = {name for page in PAGES for name in _VARIABLE.findall(page.read_text(encoding="utf-8"))}
    assert named - settings == set()


def _finance() -> FinanceMetrics:
    now = datetime.now(UTC)
    figures = FinanceMetrics()
    figures.show(FinanceFigures({}, as_of=now, clock=now, cursors={}, begun_at=now, entries_behind=0))
    return figures


@pytest.mark.parametrize("metrics", [OperationsMetrics().registry, _finance()], ids=["operations", "finance"])
def test_every_metric_is_in_the_tables(metrics: CollectorRegistry | FinanceMetrics) -> None:
    """What is scraped is explained where it is to be watched."""
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    names = {each.name + ("_total" if each.type == "counter" else "") for each in metrics.collect()}
    ours = {name for name in names if name.startswith("acu_ledger_")}
    assert ours
    assert {name for name in ours if f"`{name}`" not in operations} == set()


def _parts() -> set[str]:
    """The packages and modules of the service, as imports name them."""
    found = (REPOSITORY / "ledger").iterdir()
    named = {path.stem for path in found if (path / "__init__.py").exists() or path.suffix == ".py"}
    return {f"ledger.{name}" for name in named - {"__init__"}}


def test_every_part_has_its_layer() -> None:
    """A package that no contract of imports names may import whatever it likes."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (
        each["layers"] for each in contracts if each["type"] == "layers" and "containers" not in each
    )
    assert _parts() - GENERATED - LOWEST == {part for layer in layers for part in layer.split(" | ")}


def _summary(file: Path) -> str:
    """What a module answers, as the first paragraph of its docstring says it."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _rooms() -> dict[str, str]:
    """Packages, and the modules that stand in none, by path; with what they answer."""
    packages = (
        file.parent for part in ("ledger", "pricing") for file in (REPOSITORY / part).rglob("__init__.py")
    )
    found = {f"{room.relative_to(REPOSITORY)}/": _summary(room / "__init__.py") for room in packages}
    modules = (file for file in (REPOSITORY / "ledger").glob("*.py") if file.stem != "__init__")
    found |= {str(file.relative_to(REPOSITORY)): _summary(file) for file in modules}
    hidden = ("ledger/", "ledger/store/migrations/cell/", "ledger/store/migrations/shared/")
    generated = tuple(name.replace(".", "/") for name in GENERATED)
    return {
        path: said for path, said in found.items() if path not in hidden and not path.startswith(generated)
    }


def test_every_room_is_on_the_map() -> None:
    """Of the architecture, linked, in the words of its own first line."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`([^`]+)`\]\(\.\./([^)]+)\) \| (.*) \|$", page, re.MULTILINE)
    assert {name: said for name, _, said in rows} == _rooms()
    assert [name for name, link, _ in rows if name != link] == []


def test_every_room_says_what_it_knows() -> None:
    """Beside what it answers, in a second paragraph: whoever adds an import there has read what it may be."""
    rooms = [REPOSITORY / path for path in _rooms() if path.endswith("/")]
    said = {room.name: ast.get_docstring(ast.parse((room / "__init__.py").read_text())) for room in rooms}
    assert [name for name, text in said.items() if "\n\n" not in (text or "")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_is_there(page: Path) -> None:
    """What a page quotes as a path of the repository leads to a file or a directory of it."""
    text = page.read_text(encoding="utf-8")
    quoted = re.findall(r"`((?:\.ci|deploy|docs|ledger|pricing|proto|tests)/[\w./-]*)`", text)
    assert [path for path in quoted if not (REPOSITORY / path).exists()] == []
