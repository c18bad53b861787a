"""The public protos for other languages: a program in TypeScript against a running server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from packages import REPOSITORY
from shop import Shop

PROGRAM = Path(__file__).parent / "node"
OF_PROGRAM = (".npmrc", "agent.ts", "buf.gen.yaml", "package-lock.json", "package.json", "tsconfig.json")
BIN = REPOSITORY / ".venv" / "bin"


def _run(*command: str | Path, within: Path) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=within, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module, as `make protos` writes it: it has been linted and built, with no other module."""
    directory = tmp_path_factory.mktemp("protos")
    made = _run("make", "protos", f"PROTOS={directory}", within=REPOSITORY)
    assert made.returncode == 0, made.stderr
    return directory


def test_the_module_has_the_public_protos_alone(protos: Path) -> None:
    """Those of the package `ledger.v1` and what they import of Google's: nothing of the back office."""
    files = {str(path.relative_to(protos)) for path in protos.rglob("*") if path.is_file()}
    assert files == {
        "LICENSE",
        "buf.yaml",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
        "ledger/v1/credit_service.proto",
        "ledger/v1/scope.proto",
        "ledger/v1/usage.proto",
        "ledger/v1/wallet_service.proto",
        "service_config.json",
    }


@pytest.mark.timeout(900)
def test_a_program_in_typescript_reserves_commits_and_reads_a_refusal(
    protos: Path, shop: Shop, tmp_path: Path
) -> None:
    """With strict types, by stubs of the module and packages of npm.

    9,000 tokens in and 600 out at 100 and 1,000 credits a million are 1.5 credits; of 10 are left 8.5.
    """
    required = os.environ.get("REQUIRE_NODE")
    if not required and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node and npm here")
    for name in OF_PROGRAM:
        shutil.copy(PROGRAM / name, tmp_path / name)
    installed = _run("npm", "ci", within=tmp_path)
    if installed.returncode != 0 and not required:
        pytest.skip(f"no registry to install packages from: {installed.stderr[-200:]}")
    assert installed.returncode == 0, installed.stderr
    for step in (("buf", "generate", str(protos)), ("node_modules/.bin/tsc",)):
        done = _run(*step, within=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(protos / "service_config.json", tmp_path)
    said = _run("node", "built/agent.js", shop.target, shop.customer(10), within=tmp_path)
    assert said.stderr == ""
    assert said.stdout == (
        "held 1500000, charged 1500000, left 8500000\n"
        "INSUFFICIENT_CREDITS: short of 999991500000 micro-credits\n"
    )


def test_the_page_has_the_program_as_it_runs() -> None:
    """And how its stubs are made."""
    page = (REPOSITORY / "docs" / "other-languages.md").read_text(encoding="utf-8")
    for name, language in (("agent.ts", "typescript"), ("buf.gen.yaml", "yaml")):
        assert f"```{language}\n{(PROGRAM / name).read_text(encoding='utf-8')}```" in page


def test_the_lock_names_no_registry() -> None:
    """Whoever installs from another registry than its maker gets the same packages, by their hashes."""
    lock = (PROGRAM / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity": "sha512-' in lock
