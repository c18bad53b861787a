"""Counters of a period: what of each kind they count, where they change price, and how lines are undone."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from pricing_world import TOLD, Customer, compute, terms, tokens, units

from pricing import unwind

CLOSES_AT = datetime(2027, 1, 1, tzinfo=UTC)
MACHINES = "group: machines, match: {compute: h100}, price: {per_hour: '1'}"
MAIL = "match: {units: mail}, price: "
HALVES = "{count: quantity, per: month, volume: [{up_to: 100, price: {each: '1'}}, {price: {each: '0.5'}}]}"
VOLUME = f"{{tiers: {HALVES}}}"


def mails(count):
    """So many mails."""
    return units("mail", str(count))


# --- what is counted ---------------------------------------------------------------------------------------


def test_tokens_count_by_a_quantity_that_they_may_lack(customer):
    """What has none of it is free while anything is left of the bundle, and pays in full after."""
    one = customer(
        "match: {tokens: '*'}, price: {each: {input: '1', output: '2'}, "
        "bundle: {count: input, quantity: 10, per: month}}"
    )
    assert one.pays(tokens(input=9, output=9)) == 0
    assert one.pays(tokens(output=5)) == 0
    assert one.pays(tokens(input=2, output=3)) == 4
    assert one.pays(tokens(output=5)) == 10


def test_machines_count_by_the_time_of_all_of_them(customer):
    """Two for four hours are eight of ten; one for four has two that are charged."""
    one = customer(
        "match: {compute: h100}, price: {per_hour: '3', bundle: {count: duration, quantity: 10h, per: month}}"
    )
    assert one.pays(compute("h100", 4 * 3600, "2")) == 0
    assert one.pays(compute("h100", 4 * 3600)) == 6


def test_what_has_nothing_of_the_count_pays_at_the_step_reached(customer):
    """A filled step is left where steps are graduated, for what comes next; it holds where volume decides."""
    counted = "count: requests, per: month"
    steps = "[{up_to: 2, price: {each: {input: '4'}}}, {price: {each: {input: '1'}}}]"
    graduated = customer(f"match: {{tokens: '*'}}, price: {{tiers: {{{counted}, graduated: {steps}}}}}")
    volume = customer(f"match: {{tokens: '*'}}, price: {{tiers: {{{counted}, volume: {steps}}}}}")
    calls = [tokens(input=1, requests=n) for n in (0, 1, 0, 1, 0)]
    assert [graduated.pays(item) for item in calls] == [4, 4, 4, 4, 1]
    assert [volume.pays(item) for item in calls] == [4, 4, 4, 4, 4]


def test_volume_begins_where_the_bundle_ends(customer):
    """At exactly what is included, what has nothing of the count is charged; before it, nothing is."""
    one = customer(
        "match: {tokens: '*'}, price: {bundle: {count: requests, quantity: 2, per: month}, tiers: "
        "{count: requests, per: month, volume: "
        "[{up_to: 1, price: {each: {input: '4'}}}, {price: {each: {input: '1'}}}]}}"
    )
    assert [one.pays(tokens(input=1, requests=n)) for n in (0, 1, 0, 1, 0, 1)] == [0, 0, 0, 0, 4, 4]
    assert (one.pays(tokens(input=1)), one.surplus) == (0, 5)


def test_a_pool_pays_in_full_for_what_has_nothing_of_the_count(customer):
    """Once the bundle is used up, as the price without the pool does."""
    one = customer(
        "match: {tokens: '*'}, price: {pool: seats, ratio: '1', then: {each: {input: '3'}}, "
        "bundle: {count: requests, quantity: 1, per: day}}"
    )
    free, charged = one.quote(tokens(input=1), tokens(input=2, requests=0)).lines
    assert (free.exact_micros, Fraction(*free.pool.exact_micros)) == (0, 0)
    assert (charged.exact_micros, Fraction(*charged.pool.exact_micros)) == (6 * 10**6, 6 * 10**6)


COSTLY_STEPS = (
    "{tiers: {count: requests, per: month, volume: [{up_to: 9, price: {fee_on_cost: 5%}}, "
    "{price: {fee_on_cost: 1%}}]}}"
)
ALLOWED_FEE = "{fee_on_cost: 5%, allowance: {share: 10%, of: machines, per: day}}"


@pytest.mark.parametrize(("price", "groups"), [(COSTLY_STEPS, []), (ALLOWED_FEE, [MACHINES])])
def test_what_a_period_counts_may_cost_by_what_it_cost(customer, price, groups):
    """5 % of $3; what no cost is known of is refused, and counts nothing."""
    one = customer(f"match: {{tokens: '*'}}, price: {price}", *groups)
    unknown = one.quote(tokens("acme/none", input=1))
    assert unknown.lines[0].unpriced_reason == "no_cost"
    assert not any(state.text for state in unknown.states.values())
    assert one.pays(tokens(input=10**6)) == Fraction("0.15")


def test_a_share_of_savings_needs_the_cost_of_what_was_asked(customer):
    """Where that is unknown there is no price, whatever served it; what nobody knows has saved nothing."""
    one = customer("match: {tokens: '*'}, price: {savings_share: 20%}", extra=TOLD)
    for served_by in (None, "acme/small", "acme/none"):
        quote = one.quote(tokens("acme/none", input=1, served_by=served_by))
        assert quote.lines[0].unpriced_reason == "no_cost"
    unknown = one.quote(tokens(input=10**6, served_by="acme/none"))
    assert (unknown.unpriced, unknown.exact_micros) == ((), 0)


# --- a card that changes within a period -------------------------------------------------------------------


@pytest.fixture
def moved(tmp_path):
    """A customer who used 150 at 0.5, and then came to a card with other steps: 2 up to 200, 1 beyond."""
    one = Customer(terms(tmp_path / "old", MAIL + VOLUME))
    assert one.pays(mails(150)) == 75
    one.terms = terms(
        tmp_path / "new", MAIL + VOLUME.replace("100", "200").replace("'1'", "'2'").replace("0.5", "1")
    )
    return one


def test_steps_that_change_within_a_period_settle_what_there_was(moved):
    """What was charged stays; what comes is priced by the new steps, which count from the old quantity."""
    assert (moved.pays(mails(50)), moved.surplus) == (100, 0)
    assert (moved.pays(mails(10)), moved.surplus) == (0, 40)
    assert (moved.pays(mails(50)), moved.surplus) == (10, 0)


def test_steps_may_change_twice(moved, tmp_path):
    """What both cards came to is settled."""
    assert moved.pays(mails(10)) == 20
    moved.terms = terms(tmp_path / "newer", MAIL + VOLUME.replace("100", "300").replace("'1'", "'3'"))
    assert [moved.pays(mails(n)) for n in (1, 139)] == [3, 417]
    assert (moved.pays(mails(1)), moved.surplus) == (0, 420 - Fraction("70.5"))


def test_a_reversal_of_what_the_old_steps_priced_moves_where_the_new_ones_begin(moved):
    """60 beyond 150 cost 1 each, without the 150 they cost 2: 60 more are due, and paid with the next."""
    assert moved.pays(mails(60)) == 60
    moved.undo(moved.lines[0])
    assert moved.surplus == -60
    assert (moved.pays(mails(10)), moved.surplus) == (80, 0)


# --- undoing -----------------------------------------------------------------------------------------------


def state_of(one):
    """The one state, as it was left last."""
    [state] = one.marks.values()
    return state


def test_undoing_a_line_that_others_follow_leaves_the_steps_of_the_rest(customer):
    """120 of 150 stay beyond the step; 20 of 140 are below it, and cost 1 each too from then on."""
    one = customer(MAIL + VOLUME)
    assert [one.pays(mails(n)) for n in (120, 30)] == [60, 15]
    one.undo(one.lines[1])
    assert (one.pays(mails(20)), one.surplus) == (10, 0)
    one.undo(one.lines[0])
    assert one.surplus == -10
    assert (one.pays(mails(10)), one.surplus) == (20, 0)


def test_undoing_what_made_a_surplus_takes_it_with_it(customer):
    """Nothing is due at the close any more; the same again makes the same surplus."""
    one = customer(MAIL + VOLUME)
    assert [one.pays(mails(n)) for n in (100, 50)] == [100, 0]
    assert (one.surplus, state_of(one).closes_at) == (25, CLOSES_AT)
    one.undo(one.lines[1])
    assert (one.surplus, state_of(one).closes_at) == (0, CLOSES_AT)
    assert (one.pays(mails(50)), one.surplus) == (0, 25)


def test_undoing_what_was_paid_of_a_surplus_gives_it_back(customer):
    """What it had used up is due again, at the same close."""
    one = customer(MAIL + VOLUME)
    assert [one.pays(mails(n)) for n in (100, 50, 30)] == [100, 0, 0]
    assert one.surplus == 10
    one.undo(one.lines[2])
    assert (one.surplus, state_of(one).closes_at) == (25, CLOSES_AT)


def test_undoing_a_line_of_a_state_that_is_gone(customer):
    """Nothing is left to keep."""
    one = customer(MAIL + VOLUME)
    [nothing] = unwind(one.quote(mails(100)).lines[0].effects, {}).values()
    assert nothing == ("", None, 0, True)


def test_undoing_what_made_a_surplus_that_was_used_up(customer):
    """100 and 80 at 0.5 are 90, and 115 were paid: 25 are carried on."""
    one = customer(MAIL + VOLUME)
    assert [one.pays(mails(n)) for n in (100, 50, 80)] == [100, 0, 15]
    one.undo(one.lines[1])
    assert one.surplus == 25
    assert (one.pays(mails(2)), one.surplus) == (0, 24)


def test_what_reversals_leave_is_made_up_by_the_next_charge(customer):
    """Steps, bundles, and a thousand that paid for none of what came beyond them: what remains is paid."""
    steps = "[{up_to: 100, price: {each: '2'}}, {price: {each: '1'}}]"
    one = customer(MAIL + f"{{tiers: {{count: quantity, per: month, volume: {steps}}}}}")
    assert [one.pays(mails(n)) for n in (100, 50)] == [200, 0]
    one.undo(one.lines[0])
    assert one.surplus == -100
    assert [one.pays(mails(n)) for n in (100, 100)] == [150, 100]
    one = customer(MAIL + "{each: '0.5', bundle: {count: quantity, quantity: 100, per: month}}")
    assert [one.pays(mails(n)) for n in (100, 10)] == [0, 5]
    one.undo(one.lines[0])
    assert one.surplus == 5
    assert [one.pays(mails(n)) for n in (100, 1)] == [0, Fraction("0.5")]
    one = customer(
        MAIL
        + "{tiers: {count: quantity, per: month, graduated: "
        "[{up_to: 250, price: {each: '0'}}, {price: {each: '.02'}}]}}".replace("'.02'", "'0.02'")
    )
    assert [one.pays(mails(n)) for n in (250, 50)] == [0, 1]
    one.undo(one.lines[0])
    assert [one.pays(mails(n)) for n in (200, 1, 100)] == [0, 0, Fraction("1.02")]


def test_what_is_charged_and_reversed_again_and_again_makes_nothing_free(customer):
    """1,000 searches make the next ones cheap: the 900 that are left cost 18."""
    one = customer(
        MAIL + "{tiers: {count: quantity, per: month, volume: "
        "[{up_to: 1000, price: {each: '0.02'}}, {price: {each: '0.01'}}]}}"
    )
    stored = []
    for _ in range(20):
        first, _ = one.quote(mails(1000)).lines[0], stored.append(one.pays(mails(45)))
        one.undo(first)
    assert sum(stored) - one.surplus == 18


def test_undoing_a_saving_leaves_the_others(customer):
    """Of $3 and $2.95 saved the second goes; a loss of $2.95 is met by the first."""
    one = customer("match: {tokens: '*'}, price: {savings_share: 20%}", extra=TOLD)
    saved = tokens(input=10**6, served_by="acme/small")
    loss = tokens("acme/small", input=10**6, served_by="acme/large")
    assert [one.pays(saved) for _ in range(2)] == [Fraction("0.59")] * 2
    one.undo(one.lines[1])
    assert (one.pays(loss), one.surplus) == (0, Fraction("0.59"))
    one.undo(one.lines[2])
    assert (one.pays(loss), one.surplus) == (0, Fraction("0.59"))
    assert (one.pays(loss), one.surplus) == (0, Fraction("0.59"))
    one.undo(one.lines[-1])
    assert one.pays(saved) == 0


def test_a_saving_that_is_undone_meets_no_loss(customer):
    """Nothing was charged that a loss could take back."""
    one = customer("match: {tokens: '*'}, price: {savings_share: 20%}", extra=TOLD)
    assert one.pays(tokens(input=10**6, served_by="acme/small")) == Fraction("0.59")
    one.undo(one.lines[0])
    assert one.pays(tokens("acme/small", input=10**6, served_by="acme/large")) == 0
    assert one.surplus == 0


def test_undoing_what_an_allowance_is_a_share_of(customer):
    """Of 100 hours of machines 10 are free; of 40 of them, 4. What is claimed can be undone as well."""
    one = customer(MACHINES, MAIL + "{each: '1', allowance: {share: 10%, of: machines, per: day}}")
    for n in (40, 60):
        assert one.pays(compute("h100", n * 3600)) == n
    one.undo(one.lines[1])
    assert [one.pays(mails(n)) for n in (4, 3)] == [0, 3]
    one.undo(one.lines[3])
    assert [one.pays(mails(n)) for n in (1, 1)] == [1, 1]
    one.undo(one.lines[2])
    assert one.surplus == 2
    assert (one.pays(mails(3)), one.surplus) == (0, 1)
