"""What the package rests on: the bill of materials of what is locked, and what is known against it.

Writes build/acu-ledger-VERSION.cdx.json (CycloneDX, of requirements.lock), and asks a service of known
vulnerabilities (OSV) about each package of both locks that is installed on this platform. A vulnerability is
status 1; a service that does not answer is said, and is no failure: nobody's build waits for it. A lock that
cannot be read is a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAMS = REPOSITORY / ".venv" / "bin"
LOCKS = ("requirements-dev.lock", "requirements.lock")
"""All there is, and what a server runs on."""
ANSWER_SECONDS = 10
ALL_SECONDS = 300


def main() -> int:
    """Answers with the exit status."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("part", nargs="?", choices=("bill", "audit"), help="one of the two alone")
    options.add_argument("--osv-url", default="https://api.osv.dev/v1/query", help="the service to ask")
    options.add_argument("--locks", nargs="+", default=LOCKS, help="the locks to ask about")
    given = options.parse_args()
    if given.part != "audit":
        print(f"supply: wrote {write_bill().relative_to(REPOSITORY)}", flush=True)
    return audit(given.locks, given.osv_url) if given.part != "bill" else 0


def write_bill() -> Path:
    """The same lock makes the same file: it has no time and no random number."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bill = REPOSITORY / "build" / f"{project['name']}-{project['version']}.cdx.json"
    bill.parent.mkdir(exist_ok=True)
    # It warns that a lock does not say which package asked for which.
    command = [str(PROGRAMS / "python"), "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    about = ["requirements.lock", "--pyproject", "pyproject.toml", "--output-reproducible"]
    subprocess.run([*command, *about, "--output-file", str(bill)], cwd=REPOSITORY, check=True)
    return bill


def audit(locks: Sequence[str], service: str) -> int:
    """Answers with the exit status."""
    # It ends with the same status for all that goes wrong: what is ours is tried first, without the service.
    if _pip_audit(locks, "--dry-run").returncode != 0:
        print(f"supply: {' '.join(locks)}: not a lock with hashes: make lock", file=sys.stderr)
        return 1
    asking = ["--vulnerability-service", "osv", "--osv-url", service, "--timeout", str(ANSWER_SECONDS)]
    try:
        packages = json.loads(_pip_audit(locks, *asking).stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        print(f"supply: NOT AUDITED: {service} gave no answer; what is known against the packages is open")
        return 0
    found = [(package, known) for package in packages for known in package.get("vulns", [])]
    for package, known in found:
        mended = ", ".join(known["fix_versions"]) or "no version"
        said = f"{package['name']} {package['version']}: {known['id']}, mended in {mended}"
        print(f"supply: {said}", file=sys.stderr)
    asked_about = sum("version" in package for package in packages)
    print(f"supply: {asked_about} packages audited, {len(found)} vulnerabilities known")
    return 1 if found else 0


def _pip_audit(locks: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    about = [option for lock in locks for option in ("--requirement", lock)]
    how = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    return subprocess.run(
        [PROGRAMS / "pip-audit", *about, *how, *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=ALL_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
