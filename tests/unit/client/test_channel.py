"""What a client is made of: keys, certificates, and where they may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger.client import Credits, convert
from ledger.v1.usage_pb2 import UsageItem


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """They are told where the client is made, before anything is sent."""
    with pytest.raises(ValueError, match="cannot be read"):
        Credits("ledger.example:1", ca=tmp_path / "gone")
    with pytest.raises(ValueError, match="belong together"):
        Credits("ledger.example:1", certificate=tmp_path / "gone")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(ValueError, match="holds no certificate in PEM form"):
        Credits("ledger.example:1", ca=tmp_path / "text")


@pytest.mark.parametrize("key", ["key\n", "kéy", "k\0"])
def test_a_key_that_no_header_takes(key: str) -> None:
    """As of a file that was read with the end of its line; the text does not have it."""
    with pytest.raises(ValueError, match="the key has characters that no key has") as refused:
        Credits("ledger.example:1", key=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize("given", [1.5, "5", UsageItem(), convert(meter="page", quantity=1), [1]])
async def test_what_is_neither_usage_nor_an_amount(given: Any) -> None:
    """Each place that takes either says what it takes."""
    allowed = r"usage is a list of UsageItem, as convert\(\.\.\.\)\.items is; an amount is exact"
    async with Credits("127.0.0.1:1") as credits:
        with pytest.raises(TypeError, match=allowed):
            await credits.charge("acme", given)
        if not isinstance(given, UsageItem):  # an estimate may be one item
            with pytest.raises(TypeError, match=allowed):
                credits.session("acme", estimate=given)
