"""How calls are counted and timed."""

from __future__ import annotations

import pytest

from ledger.metrics.operations import OperationsMetrics

LABELS = {"method": "ledger.v1.CreditService/Reserve", "code": "OK"}


@pytest.fixture
def metrics():
    return OperationsMetrics()


def test_answered_calls_by_method_and_code(metrics):
    """Each method and code has a counter of its own."""
    for method, code, times in (("A/B", "OK", 3), ("A/B", "CANCELLED", 1), ("A/C", "OK", 2)):
        for _ in range(times):
            metrics.calls.answered(method, code, 0.001)
        labels = {"method": method, "code": code}
        assert metrics.registry.get_sample_value("acu_ledger_rpcs_total", labels) == times
        assert metrics.registry.get_sample_value("acu_ledger_rpc_seconds_count", labels) == times


@pytest.mark.parametrize(
    ("seconds", "bounds"),
    [(0.0, ["0.0005", "0.001"]), (0.001, ["0.001", "0.002"]), (10.0, ["10.0", "+Inf"]), (99.0, ["+Inf"])],
)
def test_a_bucket_holds_what_is_not_above_its_bound(metrics, seconds, bounds):
    """A time counts in the bucket of the first bound that is not below it, and in all after that."""
    metrics.calls.answered(*LABELS.values(), seconds)
    buckets = [
        sample
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "acu_ledger_rpc_seconds_bucket"
    ]
    assert [sample.labels["le"] for sample in buckets if sample.value][: len(bounds)] == bounds
    assert buckets[-1].labels == {**LABELS, "le": "+Inf"}
    assert metrics.registry.get_sample_value("acu_ledger_rpc_seconds_sum", LABELS) == seconds


def test_calls_in_flight(metrics):
    """A gauge of its own, there before the first call."""
    assert metrics.registry.get_sample_value("acu_ledger_rpcs_in_flight") == 0
    metrics.calls.in_flight += 2
    assert metrics.registry.get_sample_value("acu_ledger_rpcs_in_flight") == 2
