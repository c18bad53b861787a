"""The section `grants` of a plan: what it says, and what is refused of it, in its place."""

from __future__ import annotations

from datetime import timedelta

import pytest

import pricing
from ledger.books import Every, GrantKind, RecurringGrant, Rollover
from ledger.prices.plan_grants import grants_of
from ledger.prices.plans import PlansModel
from pricing.documents.validate import read_text

PLAIN = 'amount: "10", every: month'


def grants(text: str) -> tuple[RecurringGrant, ...]:
    """What a plan says of grants, by a document of one line for each."""
    document = read_text(f"plans:\n  a:\n    grants:\n{text}", PlansModel, "plans.yaml")
    return grants_of(document.model.plans["a"].grants)


def test_what_recurs() -> None:
    """Amounts exact, days and lives as written; what is left out is the plainest there is."""
    assert grants(
        '      plain: {amount: "10", every: week}\n'
        '      rich: {amount: "0.000001", paid_usd: "12.345678901", kind: PAID, every: month, day: 31,'
        " prorate: BY_TIME, priority: -3, scope: tokens, rollover: {min: "
        '"1", max: "2.5", life: 90d}}\n'
        '      long: {amount: "10", kind: PROMO, every: day, expires_after: 31d}\n'
        '      quarterly: {amount: "10", every: quarter}\n'
        '      yearly: {amount: "10", every: year, expires_after: 730d}\n'
    ) == (
        RecurringGrant("plain", 10_000_000, 0, GrantKind.SUBSCRIPTION, Every.WEEK),
        RecurringGrant(
            "rich",
            1,
            12_345_678_901,
            GrantKind.PAID,
            Every.MONTH,
            31,
            -3,
            "tokens",
            rollover=Rollover(1_000_000, 2_500_000, timedelta(days=90)),
            prorated=True,
        ),
        RecurringGrant("long", 10_000_000, 0, GrantKind.PROMO, Every.DAY, life=timedelta(days=31)),
        RecurringGrant("quarterly", 10_000_000, 0, GrantKind.SUBSCRIPTION, Every.QUARTER),
        RecurringGrant("yearly", 10_000_000, 0, GrantKind.SUBSCRIPTION, Every.YEAR, life=timedelta(days=730)),
    )


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        ('amount: "0", every: month', "is no amount of a grant (write above 0, to 1000000000)"),
        ('amount: "1000000000.000001", every: month', "is no amount of a grant"),
        (f'{PLAIN}, paid_usd: "1000000.01"', "costs too much (write 1000000 or less)"),
        (f'{PLAIN}, kind: PROMO, paid_usd: "1"', "nobody pays for a PROMO grant (leave paid_usd out)"),
        (f"{PLAIN}, kind: ADJUSTMENT", "is no kind of a grant that recurs (write PAID, PROMO, SUBSCRIPTION)"),
        ('amount: "10", every: decade', "every"),
        (f"{PLAIN}, day: 32", "day"),
        (f"{PLAIN}, day: 0", "day"),
        ('amount: "10", every: year, day: 3', "a day of the month, and no month (write every: month)"),
        ('amount: "10", every: week, day: 3', "a day of the month, and no month (write every: month)"),
        (f"{PLAIN}, prorate: HALF", "is no way to prorate (write NONE, BY_TIME)"),
        (f"{PLAIN}, scope: tea", "is no scope"),
        (f"{PLAIN}, expires_after: 869d", "is too short or too long"),
        ('amount: "10", every: day, expires_after: 32d', "is longer than 31 renewals (write 31d or less)"),
        ('amount: "10", every: day, rollover: {life: 32d}', "is longer than 31 renewals"),
        (f"{PLAIN}, expires_after: 45d, rollover: {{}}", "what rolls over ends at the next renewal"),
        (f'{PLAIN}, rollover: {{max: "0"}}', "nothing could roll over (write more than min)"),
        (f'{PLAIN}, rollover: {{min: "5", max: "4"}}', "nothing could roll over"),
    ],
)
def test_what_cannot_be_is_refused(grant: str, problem: str) -> None:
    """With its line, and what to write instead."""
    with pytest.raises(pricing.ConfigError) as caught:
        grants(f"      g: {{{grant}}}\n")
    [found] = caught.value.problems
    assert found.line == 4
    assert problem in str(found)


def test_a_plan_has_ten_at_most() -> None:
    """One more is refused."""
    ten = "".join(f"      g{number}: {{{PLAIN}}}\n" for number in range(10))
    assert len(grants(ten)) == 10
    with pytest.raises(pricing.ConfigError):
        grants(f"{ten}      more: {{{PLAIN}}}\n")
