"""What is built of the repository, and environments that it is installed in, without a registry.

pip installs from a directory of wheels made of what this environment has, which came from the lock with its
hashes: it resolves what the package's metadata asks for, and finds nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[3]
_OF_THE_INSTALLATION = {"INSTALLER", "REQUESTED", "direct_url.json"}


def clone(to: Path) -> Path:
    """The repository's files as a clone has them: nothing that git ignores."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source, copy = REPOSITORY / name, to / name
        if source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                copy.symlink_to(source.readlink())
            else:
                copy.write_bytes(source.read_bytes())
    return to


def tracked(*directories: str) -> set[str]:
    """The files of some directories that a clone has."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", *directories).split("\0")
    return {name for name in listed if (REPOSITORY / name).is_file()}


def build(kind: str, source: Path, into: Path) -> Path:
    """Builds the `wheel` or the `sdist` of a directory of sources, by what is locked."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", into, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = into.iterdir()
    return built


def wheels(into: Path) -> Path:
    """A directory with a wheel of all that the package and the recipes can ask for, and of nothing else."""
    wanted = {name for each in ("acu-ledger[embedded]", "fastapi") for name in _asked_for(Requirement(each))}
    for name in sorted(wanted - {"acu-ledger"}):
        _repack(distribution(name), into)
    return into


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment with one installation in it."""

    directory: Path

    @classmethod
    def installed(cls, what: str, directory: Path, wheels: Path) -> Environment:
        """Installs by pip into an empty environment."""
        venv.create(directory, with_pip=False, symlinks=True)
        made = cls(directory)
        made.install(what, wheels)
        return made

    def install(self, what: str, wheels: Path) -> None:
        """Installs by pip, from these wheels alone."""
        pip = [sys.executable, "-m", "pip", "--python", self.program("python"), "--disable-pip-version-check"]
        options = ["--quiet", "--no-compile", "--no-index", "--find-links", wheels]
        subprocess.run([*pip, "install", *options, what], check=True, capture_output=True, text=True)
        subprocess.run([*pip, "check"], check=True, capture_output=True, text=True)

    def program(self, name: str) -> Path:
        return self.directory / "bin" / name

    def run(self, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment from an empty directory, with these variables alone."""
        return subprocess.run(
            [self.program(program), *arguments],
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def packages(self) -> set[str]:
        """The names of all that is installed."""
        listing = "from importlib.metadata import distributions as d; print(*(p.name for p in d()))"
        return {_normal(name) for name in self.run("python", "-c", listing).stdout.split()}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked_for(requirement: Requirement) -> Iterator[str]:
    """The packages that a requirement brings along here, itself first."""
    yield _normal(requirement.name)
    for line in distribution(requirement.name).requires or []:
        wanted = Requirement(line)
        environments = [{**default_environment(), "extra": extra} for extra in ("", *requirement.extras)]
        if wanted.marker is None or any(map(wanted.marker.evaluate, environments)):
            yield from _asked_for(wanted)


def _repack(installed: Distribution, into: Path) -> None:
    """The wheel that a package was installed from, but for its scripts, which pip makes anew."""
    tags = [
        line.partition(": ")[2].split("-") for line in _lines(installed, "WHEEL") if line.startswith("Tag")
    ]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    name = _normal(installed.name).replace("-", "_")
    with zipfile.ZipFile(into / f"{name}-{installed.version}-{tag}.whl", "w") as wheel:
        for file in installed.files or []:
            if file.parts[0] != ".." and file.suffix != ".pyc" and file.name not in _OF_THE_INSTALLATION:
                wheel.write(file.locate(), str(file))


def _lines(installed: Distribution, name: str) -> list[str]:
    return (installed.read_text(name) or "").splitlines()
