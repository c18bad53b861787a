"""The bugs that `make faults` plants fit the service as it is: one that cannot be planted proves nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.planted import BUGS


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_can_be_planted(name: str) -> None:
    """In a process of its own, as in a server: it changes the program there."""
    program = f"from tests.faults.planted import BUGS; BUGS[{name!r}].plant()"
    planted = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert planted.returncode == 0, planted.stderr
