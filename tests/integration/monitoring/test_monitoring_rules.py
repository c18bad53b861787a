"""Rules and alerts as Prometheus reads them, and as promtool runs them on samples made up for each."""

from __future__ import annotations

import shutil

import pytest

from tests.prometheus import DEPLOY, RULES, promtool


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_are_accepted(path):
    """Their syntax is Prometheus'."""
    promtool("check", "rules", path)


def test_the_sample_of_a_configuration_is_accepted(tmp_path):
    """With a key and a CA in the files that it names."""
    sample = shutil.copytree(DEPLOY, tmp_path / "prometheus")
    for name in ("finance.key", "ca.pem"):
        (sample / name).write_text("")
    assert "2 rule files found" in promtool("check", "config", sample / "prometheus.yml")


@pytest.mark.parametrize("path", sorted((DEPLOY / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_say_what_their_tests_want(path):
    """Each rule and each alert, at samples that raise it and at some that do not."""
    promtool("test", "rules", path)
