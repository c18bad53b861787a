"""`.ci/supply.py`: what is known against the locked packages, with and without a service to ask."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from packages import REPOSITORY
from packaging.requirements import Requirement

FLAW = {
    "id": "PYSEC-0000-1",
    "summary": "It gives credits away.",
    "affected": [
        {
            "package": {"name": "asyncpg", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


def _locked(lock: str) -> list[Requirement]:
    pins = re.findall(r"^([a-z].*?) \\$", (REPOSITORY / lock).read_text(), re.MULTILINE)
    return list(map(Requirement, pins))


def _version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


@contextmanager
def _service(flawed: str = "", status: int = 200) -> Iterator[tuple[str, set[str]]]:
    """A service as OSV is, on loopback; which packages it was asked about."""
    asked: set[str] = set()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["package"]["name"]
            asked.add(name)
            answer = json.dumps({"vulns": [FLAW]} if name == flawed else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
        server.shutdown()
        thread.join()


def _supply(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / ".ci" / "supply.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_all_that_is_locked_is_asked_about() -> None:
    """Both locks, each package: nothing known against any is success, and says how many were asked about."""
    with _service() as (url, asked):
        said = _supply("audit", "--osv-url", url)
    assert said.returncode == 0, said.stderr
    locked = [*_locked("requirements-dev.lock"), *_locked("requirements.lock")]
    assert asked == {pin.name for pin in locked if pin.marker is None or pin.marker.evaluate()}
    assert re.search(r"^supply: \d+ packages audited, 0 vulnerabilities known$", said.stdout, re.MULTILINE)


def test_a_known_vulnerability_fails() -> None:
    """It is named, with the version that mends it."""
    with _service(flawed="asyncpg") as (url, _):
        said = _supply("audit", "--osv-url", url, "--locks", "requirements.lock")
    assert said.returncode == 1
    (version,) = (_version(pin) for pin in _locked("requirements.lock") if pin.name == "asyncpg")
    assert said.stderr == f"supply: asyncpg {version}: PYSEC-0000-1, mended in 99.0\n"


def test_a_service_that_does_not_answer_is_said_and_fails_nothing() -> None:
    """Nobody there, or one that fails: it says that nothing was audited, never that nothing was found."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = _supply(
            "audit",
            "--osv-url",
            f"http://127.0.0.1:{closed.getsockname()[1]}/",
            "--locks",
            "requirements.lock",
        )
    with _service(status=503) as (url, _):
        broken = _supply("audit", "--osv-url", url, "--locks", "requirements.lock")
    for said in (nobody, broken):
        assert said.returncode == 0, said.stderr
        assert "supply: NOT AUDITED" in said.stdout
        assert "vulnerabilities" not in said.stdout


def test_a_lock_without_hashes_fails(tmp_path: Path) -> None:
    """What is wrong with the lock is no service that does not answer."""
    (tmp_path / "bare.lock").write_text("asyncpg==0.32.0\n")
    said = _supply("audit", "--osv-url", "http://127.0.0.1:1/", "--locks", tmp_path / "bare.lock")
    assert said.returncode == 1
    assert "make lock" in said.stderr


def test_the_bill_of_materials_is_what_a_server_runs_on() -> None:
    """CycloneDX of this version: each package of the lock with its version and hashes."""
    assert _supply("bill").returncode == 0
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    bill = json.loads((REPOSITORY / "build" / f"acu-ledger-{project['version']}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", project["version"])
    locked = {(pin.name, _version(pin)) for pin in _locked("requirements.lock")}
    assert {(part["name"], part["version"]) for part in bill["components"]} == locked
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])
