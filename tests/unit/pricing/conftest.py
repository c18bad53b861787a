"""Customers of cards."""

import pytest
from pricing_world import Customer, terms


@pytest.fixture
def customer(tmp_path):
    """Makes a customer of a card of these rules."""
    return lambda *rules, **more: Customer(terms(tmp_path, *rules, **more))
