"""What ops write of a customer's own fields is what `plans.yaml` would have of them."""

import pytest

from ledger.cli.commands.customers import _overrides
from ledger.prices.plan_overrides import read_overrides


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ([], ""),
        (["overdraft_limit=50"], '{"overdraft_limit": "50"}'),
        (["max_ttl=1h", "low_balance=0.5"], '{"low_balance": "0.5", "max_ttl": "1h"}'),
        (["topup=null", "low_balance=1"], '{"low_balance": "1", "topup": null}'),
        (["entitlements={deny: {compute: h100}}"], '{"entitlements": {"deny": {"compute": "h100"}}}'),
    ],
)
def test_values_are_text_and_sections_are_yaml(fields: list[str], stated: str) -> None:
    """A number needs no quotes on the command line: nothing of a plan is a number by itself."""
    assert read_overrides(_overrides(fields)) == stated
