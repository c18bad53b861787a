"""Writes of customers: made, and changed field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import limits, validation
from ledger.api.messages.validation import Problems
from ledger.api.messages.write import Write, fingerprint
from ledger.books.commands import CreateCustomer, UpdateCustomer
from ledger.prices.plan_overrides import read_overrides

UPDATABLE: Final = ("display_name", "plan", "rate_card", "zone", "multiplier", "plan_overrides")
"""What `update_mask` may name."""


def update_customer(request: admin.UpdateCustomerRequest, now: datetime) -> Write[UpdateCustomer]:  # noqa: ARG001 -- one shape for all
    """Changes of the fields that the mask names; an empty card removes it, an empty zone is UTC."""
    problems = Problems()
    customer = request.customer
    paths = set(request.update_mask.paths)
    if not paths or paths - set(UPDATABLE):
        problems.add("update_mask", f"name one or more of {', '.join(UPDATABLE)}, and nothing else")
    if "plan" in paths:
        validation.identifier(problems, "customer.plan", customer.plan)
    _named(problems, customer)
    command = UpdateCustomer(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        display_name=customer.display_name if "display_name" in paths else None,
        plan=customer.plan if "plan" in paths else None,
        card=customer.rate_card if "rate_card" in paths else None,
        zone=(customer.zone or validation.UTC_ZONE) if "zone" in paths else None,
        multiplier_nanos=multiplier(customer) if "multiplier" in paths else None,
        plan_overrides=plan_overrides(Problems(), customer) if "plan_overrides" in paths else None,
    )
    problems.raise_if_any()
    return Write(customer.customer_id, command)


def create_customer(request: admin.CreateCustomerRequest) -> Write[CreateCustomer]:
    """A new customer: who asks. What it is to be called, and its policies, stay in the request."""
    problems = Problems()
    customer = request.customer
    validation.identifier(problems, "customer.plan", customer.plan)
    _named(problems, customer)
    command = CreateCustomer(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
    )
    problems.raise_if_any()
    return Write(customer.customer_id, command)


def multiplier(customer: admin.Customer) -> int:
    """The customer's multiplier, in billionths; 1 if it is empty. What is wrong with it others report."""
    return validation.multiplier_nanos(Problems(), "", customer.multiplier)


def _named(problems: Problems, customer: admin.Customer) -> None:
    validation.identifier(problems, "customer.customer_id", customer.customer_id)
    display_name = customer.display_name
    validation.text(problems, "customer.display_name", display_name, limits.DISPLAY_NAME_LENGTH_MAX)
    validation.text(problems, "customer.rate_card", customer.rate_card, limits.NAME_LENGTH_MAX)
    validation.zone(problems, "customer.zone", customer.zone)
    validation.multiplier_nanos(problems, "customer.multiplier", customer.multiplier)
    plan_overrides(problems, customer)


def plan_overrides(problems: Problems, customer: admin.Customer) -> str:
    """A customer's own fields of its plan, as they are stored; each is right by itself."""
    text, field = customer.plan_overrides, "customer.plan_overrides"
    if len(text) > limits.PLAN_OVERRIDES_LENGTH_MAX:
        problems.add(
            field, f"has {len(text)} characters; {limits.PLAN_OVERRIDES_LENGTH_MAX} at most are allowed"
        )
        return ""
    try:
        return read_overrides(text)
    except pricing.ConfigError as error:
        for problem in error.problems:
            problems.add(field, str(problem))
        return ""
