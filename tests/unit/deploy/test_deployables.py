"""What lies in `deploy/` says the same as the package: versions, ports, settings, how long a server drains.

`make check` checks the form of each file (`.ci/deployables`); here is what no schema knows.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ledger.api.server import DRAIN_SECONDS, PAUSE_SECONDS
from ledger.app import check
from ledger.database_url import check_url
from ledger.doors.certificates import TlsFiles, read
from ledger.environment import PREFIX, SettingsError
from ledger.settings import Settings

REPOSITORY = Path(__file__).parents[3]
DEPLOY = REPOSITORY / "deploy"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNIT = (DEPLOY / "systemd" / "acu-ledger@.service").read_text()
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
WRITES_SECONDS = 10
"""What is being written when the doors have drained is waited for; a statement takes that long at most."""
DOORS_SECONDS = 2 * (PAUSE_SECONDS + DRAIN_SECONDS)
PORTS = ("public_port", "back_office_port", "operations_port", "finance_port")


def _manifests(directory: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.glob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def _manifest(kind: str, name: str = "acu-ledger") -> dict[str, Any]:
    found = {(each["kind"], each["metadata"]["name"]): each for each in _resources()}
    return found[kind, name]


def _resources() -> list[dict[str, Any]]:
    made = [*_manifests(DEPLOY / "kubernetes" / "base"), *_manifests(EXAMPLE)]
    return [each for each in made if each["kind"] != "Kustomization"]


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _manifest("Deployment")["spec"]["template"]["spec"]
    return pod


def _default_ports() -> set[int]:
    return {Settings.model_fields[name].default for name in PORTS}


def test_there_is_one_version() -> None:
    """The package's own: the image, what Compose runs and what the overlay asks for follow it."""
    assert re.findall(r"^ARG VERSION=(\S+)$", CONTAINERFILE, re.MULTILINE) == [VERSION, VERSION]
    servers = [service for name, service in COMPOSE["services"].items() if name.startswith(("server", "mig"))]
    assert [service["image"] for service in servers] == [f"acu-ledger:{VERSION}"] * 3
    (image,) = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == VERSION


def test_the_image_is_made_of_locked_wheels_and_runs_as_nobody() -> None:
    """Hashes, no compiler, no root, a health check; nothing but the lock and the wheel goes in."""
    assert "--require-hashes --only-binary=:all:" in CONTAINERFILE
    assert not re.search(r"apt-get|build-essential|\bgcc\b", CONTAINERFILE)
    stages = re.split(r"^FROM ", CONTAINERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert re.findall(r"^USER (\S+)$", stages[1], re.MULTILINE) == ["10001:10001"]
    assert (
        'HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["acu-ledger-probe"]'
        in stages[1]
    )
    assert set(re.findall(r"image\.(\w+)", stages[1])) >= {"title", "version", "licenses", "description"}
    (exposed,) = re.findall(r"^EXPOSE (.+)$", stages[1], re.MULTILINE)
    assert set(map(int, exposed.split())) == _default_ports()
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert ignored == ["*", "!requirements.lock", "!dist/acu_ledger-*-py3-none-any.whl"]


def test_every_setting_is_one_of_the_server() -> None:
    """A name that is misspelt would be ignored in silence."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    for file in (*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.env*"), DEPLOY / "Containerfile"):
        if "config" not in file.relative_to(DEPLOY).parts:
            assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", file.read_text())) <= known, file


def test_a_server_has_the_time_to_drain() -> None:
    """Both doors one after the other, and the writes under way, before it is killed."""
    pod = _pod()
    pause_seconds = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause_seconds + DOORS_SECONDS + WRITES_SECONDS
    for name in ("server-a", "server-b"):
        grace_seconds = int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s"))
        assert grace_seconds >= DOORS_SECONDS + WRITES_SECONDS
    (stop_seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(stop_seconds) >= DOORS_SECONDS + WRITES_SECONDS


def test_the_containers_of_servers_can_write_nothing() -> None:
    """No root, no capability, no way to more rights, a root file system that is read only."""
    for name in ("server-a", "server-b", "migrate"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
    for pod in (_pod(), _manifest("Job", "acu-ledger-migration")["spec"]["template"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_only_the_public_api_is_open_to_others() -> None:
    """In Compose the rest is of this machine alone; in a cluster it is let through to who is named."""
    published = [
        port
        for service in COMPOSE["services"].values()
        for port in service.get("ports", [])
        if "127.0.0.1" not in port
    ]
    public = Settings.model_fields["public_port"].default
    assert [port.rpartition(":")[2] for port in published] == [str(public)] * 2
    ports = {port["name"]: port["containerPort"] for port in _pod()["containers"][0]["ports"]}
    assert set(ports.values()) == _default_ports()
    rules = _manifest("NetworkPolicy")["spec"]["ingress"]
    open_to_all = [port["port"] for rule in rules if "from" not in rule for port in rule["ports"]]
    assert open_to_all == ["public"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == set(ports)


def test_what_selects_the_servers_selects_nothing_else() -> None:
    """The migration's pod is no server: no service leads to it, no budget counts it."""
    labels = _manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    migration = _manifest("Job", "acu-ledger-migration")["spec"]["template"]["metadata"]["labels"]
    services = [each["spec"]["selector"] for each in _resources() if each["kind"] == "Service"]
    assert len(services) == 3
    for selector in (
        *services,
        _manifest("Deployment")["spec"]["selector"]["matchLabels"],
        _manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == labels != migration


def test_the_example_prices_are_taken(tmp_path: Path) -> None:
    """Put where the overlay's volume puts them, a server reads them without a complaint."""
    overlay = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
    (patch,) = yaml.safe_load(overlay["patches"][0]["patch"])
    assert _pod()["volumes"][int(patch["path"].split("/")[5])]["name"] == "prices"
    (prices,) = overlay["configMapGenerator"]
    files = {Path(name).name: EXAMPLE / name for name in prices["files"]}
    assert {item["key"] for item in patch["value"]} == set(files)
    for item in patch["value"]:
        placed = tmp_path / item["path"]
        placed.parent.mkdir(exist_ok=True)
        placed.write_text(files[item["key"]].read_text())
    assert list(check(tmp_path).config.cards) == ["agents"]


def test_what_is_mounted_of_the_repository_is_there() -> None:
    """Compose would make a directory of what is missing. One.s own files are in `secrets`."""
    ours = {
        source
        for service in COMPOSE["services"].values()
        for source in (volume.partition(":")[0] for volume in service.get("volumes", []))
        if source.startswith("./") and not source.startswith("./secrets/")
    }
    assert ours
    missing = [source for source in sorted(ours) if not (DEPLOY / source).exists()]
    assert missing == []
    assert "deploy/secrets/" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_no_password_is_in_the_repository() -> None:
    """Compose asks for each and starts nothing without, or with an empty one."""
    named = re.findall(r"\$\{(\w*PASSWORD)(:\?[^}]+)?\}", (DEPLOY / "compose.yaml").read_text())
    assert {name for name, _ in named} == {"LEDGER_DATABASE_PASSWORD", "GRAFANA_PASSWORD"}
    assert all(refusal for _, refusal in named)


def _placeholders() -> list[str]:
    secret = _manifest("Secret", "acu-ledger-database")["stringData"]["url"]
    environment = (DEPLOY / "systemd" / "common.env.example").read_text()
    (url,) = re.findall(r"^DATABASE_URL=(.+)$", environment, re.MULTILINE)
    return [secret, url]


@pytest.mark.parametrize("placeholder", _placeholders())
async def test_a_placeholder_of_the_database_is_refused(placeholder: str) -> None:
    """No server, migration or client of PostgreSQL starts on it, whatever the network has at its address."""
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is no URL of a PostgreSQL: write postgresql://"):
        await check_url("DATABASE_URL", placeholder)


def test_a_placeholder_of_a_certificate_is_refused(tmp_path: Path) -> None:
    """The sample's Secret is mounted as it is: the server says which setting and file, and does not start."""
    for name, content in _manifest("Secret", "acu-ledger-tls")["stringData"].items():
        (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=r"^ACU_LEDGER_TLS_CERTIFICATE: \S+/tls.crt "):
        read(TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key", None, None), datetime.now(UTC))
