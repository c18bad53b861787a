"""Commits beside this one: a worktree under `build/compare`, with the environment that its own lock makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.processes import SERVE, Program
from tests.benchmarks.report import Say
from tests.serving import REPOSITORY

DIRECTORY = REPOSITORY / "build" / "compare"
_SHORT = 10


class Checkout(NamedTuple):
    """Code of the ledger, and an environment to run it in."""

    commit: str
    """Its hash, or what it is."""
    directory: Path
    python: Path
    serve: Program


def this() -> Checkout:
    """The code as it stands here, committed or not."""
    return Checkout("this checkout", REPOSITORY, Path(sys.executable), SERVE)


def of_commit(name: str, say: Say) -> Checkout:
    """The code of a commit. Ends the run where it cannot be had."""
    directory = worktree(name)
    say(f"Making the environment of {directory.name}, from its own lock")
    made = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    _run("make", "-C", str(directory), "setup", environment=made)
    programs = directory / ".venv" / "bin"
    if not (programs / "acu-ledger").exists():
        raise SystemExit(f"{name}: its environment has no acu-ledger, so it cannot be compared with")
    serve = Program((str(programs / "acu-ledger"), "serve"), directory)
    return Checkout(directory.name, directory, programs / "python", serve)


def worktree(name: str) -> Path:
    """The files of a commit; made once. Ends the run where the repository does not have it."""
    try:
        commit = _run("git", "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()
    except SystemExit as error:
        lacks = f"no commit {name} here; a shallow clone has it after git fetch --unshallow"
        raise SystemExit(f"{lacks} ({error})") from error
    directory = DIRECTORY / commit[:_SHORT]
    if not directory.exists():
        _run("git", "worktree", "prune")
        _run("git", "worktree", "add", "--detach", str(directory), commit)
    return directory


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
