"""`acu-ledger rates`, as ops use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ledger.cli.main import app
from tests.serving import REPOSITORY, Server


def rates(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["rates", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A card of the test's own, beside the sample's cost book."""
    (tmp_path / "cards").mkdir()
    shutil.copy(REPOSITORY / "deploy" / "config" / "costs.yaml", tmp_path)
    write(tmp_path, 1, "4")
    return tmp_path


def write(files: Path, revision: int, per_hour: str) -> None:
    (files / "cards" / "lent.yaml").write_text(
        f"card: lent\nrevision: {revision}\ncredit: C\ncredit_price_usd: '1'\n"
        f"rules: [{{name: gpu, match: {{compute: h100}}, price: {{per_hour: '{per_hour}'}}}}]\n"
    )


def test_files_are_checked_without_a_server(files: Path) -> None:
    """Without a server; what is wrong is reported with its place, and in JSON."""
    checked = rates("check", files)
    assert "lent" in checked.stdout
    assert "only a server knows: name it with --target" in checked.stderr
    assert "can be published" not in checked.stdout
    found = json.loads(rates("check", files, "--json").stdout)
    assert found == {"problems": [], "warnings": [], "revisions_compared": False}
    write(files, 1, "-4")
    card = files / "cards" / "lent.yaml"
    assert f"{card}:5:63: the rate -4 is negative" in rates("check", files, status=1).stderr
    [problem] = json.loads(rates("check", files, "--json", status=1).stdout)["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(card), 5, 63)


def test_check_warns_and_strict_refuses(files: Path) -> None:
    """What is likely a mistake is shown with its place; --strict makes a refusal of it."""
    write(files, 1, "2")
    card = files / "cards" / "lent.yaml"
    warned = f"warning: {card}:5:52: sells an hour of h100 at $2, under a cost of $2.49"
    assert warned in rates("check", files).stderr
    assert warned in rates("check", files, "--strict", status=1).stderr
    [warning] = json.loads(rates("check", files, "--json").stdout)["warnings"]
    assert (warning["file"], warning["line"], warning["column"]) == (str(card), 5, 52)
    [warning] = json.loads(rates("check", files, "--json", "--strict", status=1).stdout)["warnings"]
    assert warning["line"] == 5


def test_check_compares_with_what_is_published(server: Server, files: Path) -> None:
    """With a target other content under a published revision is refused, as it would be by publishing."""
    target = ("--target", server.back_office)
    text = (files / "cards" / "lent.yaml").read_text().replace("card: lent", "card: compared")
    (files / "cards" / "lent.yaml").unlink()
    card = files / "cards" / "compared.yaml"
    card.write_text(text)
    rates("publish", card, *target)
    assert "can be published" in " ".join(rates("check", files, *target).stdout.split())
    card.write_text(text.replace("'4'", "'5'"))
    assert "is sound" in " ".join(rates("check", files).stdout.split())
    refused = rates("check", files, *target, status=1).stderr
    assert f"{card}: revision 1 is published with other content, as version 1" in refused
    card.write_text(text.replace("'4'", "'5'").replace("revision: 1", "revision: 2"))
    assert json.loads(rates("check", files, "--json", *target).stdout)["revisions_compared"]


def test_publish_warns_and_strict_refuses(server: Server, files: Path) -> None:
    """Published in spite of a warning, which is shown; with --strict nothing is published."""
    target = ("--target", server.back_office)
    write(files, 1, "2")
    card = files / "cards" / "lent.yaml"
    card.write_text(card.read_text().replace("card: lent", "card: doubtful"))
    warned = f"warning: {card}:5:52: sells an hour of h100 at $2, under a cost of $2.49"
    assert warned in rates("publish", card, "--strict", *target, status=1).stderr
    assert json.loads(rates("list", "doubtful", "--json", *target).stdout)["cards"]["versions"] == []
    assert warned in rates("publish", card, *target).stderr


def test_a_card_from_file_to_rollback(server: Server, files: Path) -> None:
    """Published, compared, listed, shown and taken back; who did it is recorded."""
    target = ("--target", server.back_office)
    asked = rates("publish", files, "--json", *target)
    done = {Path(each["file"]).name: each for each in json.loads(asked.stdout)["files"]}
    assert done["costs.yaml"]["replayed"]
    assert done["lent.yaml"]["version"]["published_by"] == "loopback"
    write(files, 2, "5")
    assert "+25 %" in rates("diff", files, *target).stdout
    reported = json.loads(rates("diff", files, "--json", *target).stdout)["files"]
    [difference] = next(each for each in reported if each["name"] == "lent")["differences"]
    assert (difference["before"], difference["after"], difference["change_percent"]) == ("4", "5", "+25")
    assert "published" in rates("publish", files / "cards" / "lent.yaml", *target).stdout
    write(files, 2, "6")
    refused = rates("publish", files, *target, status=1)
    assert "RATE_REVISION_TAKEN" in refused.stderr
    assert "REFUSED" in refused.stdout
    back = rates("rollback", "lent", "--version", 1, *target)
    assert back.stdout.startswith("card lent, version 3 (revision 3), in force from")
    again = rates("rollback", "lent", "--version", 1, *target)
    assert again.stdout == f"unchanged: {back.stdout}"
    first = rates("rollback", "resolved", "--version", 1, *target)
    assert first.stdout == "unchanged: card resolved, version 1 (revision 1), in force from the beginning\n"
    listed = json.loads(rates("list", "lent", "--json", *target).stdout)["cards"]["versions"]
    assert [each["number"] for each in listed] == [3, 2, 1]
    assert "loopback (rollback)" in rates("list", *target).stdout
    assert "card: resolved" in rates("show", "resolved", *target).stdout
    assert "per_hour: '4'" in rates("show", "lent", "--version", 3, *target).stdout
    assert "per_hour: '5'" in rates("show", "lent", "--version", 2, *target).stdout
    assert '"h100"' in rates("show", "--costs", *target).stdout
    for wrong in (("show",), ("show", "lent", "--costs"), ("rollback", "--version", 1)):
        assert "one of the three" in rates(*wrong, *target, status=2).stderr


def test_plans_from_file_to_rollback(server: Server, files: Path) -> None:
    """Compared, published, listed, shown and taken back as cards are; what is in use stays."""
    target = ("--target", server.back_office)
    plans = files / "plans.yaml"
    plans.write_text("plans: {lent: {card: lent}}\n")
    assert "plans" in rates("check", files).stdout
    text = rates("show", "--plans", *target).stdout
    text += "  lent: {card: resolved}\n"
    plans.write_text(text.replace("revision: 1", "revision: 2"))
    rates("publish", plans, *target)
    assert "unchanged" in rates("publish", plans, *target).stdout
    plans.write_text(
        text.replace("revision: 1", "revision: 3").replace("resolved}", "resolved, max_ttl: 1h}")
    )
    assert f"{plans} against the plans, version 2 (revision 2)" in " ".join(
        rates("diff", plans, *target).stdout.split()
    )
    assert "max_ttl" in rates("diff", plans, *target).stdout
    back = rates("rollback", "--plans", "--version", 1, *target)
    assert back.stdout.startswith("the plans, version 3 (revision 3), in force from")
    listed = json.loads(rates("list", "--json", *target).stdout)["plans"]["versions"]
    assert [(each["number"], each["restores"]) for each in listed] == [(3, 1), (2, 0), (1, 0)]
    assert "(plans)" in rates("list", *target).stdout
    assert "lent: {card: resolved}" in rates("show", "--plans", "--version", 2, *target).stdout
