"""The page on adapters: its examples run, and print what it says."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n\nprints\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=["records", "spans"])
def test_examples_print_what_the_page_says(code, printed, capsys):
    """Each block of code is followed by its output."""
    exec(code, {})  # noqa: S102 -- the page's own
    assert capsys.readouterr().out == printed


def test_no_example_is_left_out():
    """Every block of code is one of those."""
    assert len(EXAMPLES) == PAGE.count("```python") == 2
