"""Runs: minimum and increment over the parts in which usage comes."""

import json
from fractions import Fraction

import pytest
from pricing_world import NOW, compute, paid, priced, terms

from pricing import Compute, Effect, Memory, State, memory_keys, unwind
from tests.cards import after

MINUTE = "match: {compute: h100}, price: {per_hour: '3600', minimum: 60s}"


def _bills(made, *parts):
    """What each part costs, one call each, the memory carried along."""
    memory, bills = Memory(), []
    for part in parts:
        quote = priced(made, part, memory=memory)
        memory = after(memory, quote)
        bills.append(paid(quote))
    return bills


def test_a_part_costs_the_run_after_it_less_the_run_before_it(tmp_path):
    """20 s, 30 s and 20 s at a minimum of 60 s bill 60, 0 and 10."""
    made = terms(tmp_path, MINUTE)
    assert _bills(made, *(compute("h100", seconds) for seconds in (20, 30, 20))) == [60, 0, 10]


def test_items_of_one_call_share_the_run(tmp_path):
    """The same three parts in one call cost the same."""
    made = terms(tmp_path, MINUTE)
    quote = priced(made, *(compute("h100", seconds) for seconds in (20, 30, 20)))
    assert [int(line.exact_micros) for line in quote.lines] == [60_000_000, 0, 10_000_000]


def test_usage_of_no_time_opens_no_minimum(tmp_path):
    """A run of zero duration, or of no machine, has not begun."""
    made = terms(tmp_path, MINUTE)
    assert _bills(made, compute("h100", 0), compute("h100", 9, "0"), compute("h100", 5)) == [0, 0, 60]
    for item in (compute("h100", 0), compute("h100", 9, "0")):
        assert priced(made, item).own_run is None


@pytest.mark.parametrize(("seconds", "billed"), [(1, 60), (60, 60), (61, 70), (70, 70), (70.5, 80)])
def test_an_increment_rounds_up_after_the_minimum(tmp_path, seconds, billed):
    """increment: the billed duration goes up to a multiple of it."""
    made = terms(tmp_path, "match: {compute: h100}, price: {per_hour: '3600', minimum: 55s, increment: 10s}")
    assert _bills(made, compute("h100", seconds)) == [billed]


def test_a_minimum_without_an_increment_bills_to_the_nanosecond(tmp_path):
    """What is beyond the minimum is billed as it was; the smallest duration is a minimum too."""
    made = terms(
        tmp_path,
        MINUTE,
        "match: {compute: spot}, price: {per_hour: '3600', minimum: 0.000000001s}",
    )
    assert paid(priced(made, Compute("h100", 60 * 10**9 + 1))) == 60 + Fraction(1, 10**9)
    assert paid(priced(made, Compute("spot", 3))) == Fraction(3, 10**9)


def test_each_run_has_a_minimum_of_its_own(tmp_path):
    """A run is the run_id; usage without one belongs to the reservation."""
    made = terms(tmp_path, MINUTE)
    parts = [compute("h100", 10, run_id=run) for run in ("a", "b", None, "a")]
    assert _bills(made, *parts) == [60, 60, 60, 0]
    assert memory_keys(parts, {}, made, NOW) == {"run/a", "run/b"}


def test_only_runs_that_changed_come_back(tmp_path):
    """The quote gives back the states of the runs that its items touched, and the own run as it stands."""
    made = terms(tmp_path, MINUTE)
    before = priced(made, compute("h100", 10, run_id="a"), compute("h100", 10))
    later = priced(made, compute("h100", 10, run_id="b"), memory=after(Memory(), before))
    assert set(later.states) == {"run/b"}
    assert later.own_run == before.own_run
    assert priced(made).own_run is None


def test_each_count_meters_by_itself(tmp_path):
    """Three clusters of one warehouse start with a minimum each; another count is another meter."""
    made = terms(tmp_path, MINUTE)
    parts = [compute("h100", 10, count) for count in ("3", "3", "1", "0.5")]
    assert _bills(made, *parts) == [180, 0, 60, 30]


def test_each_rule_meters_by_itself(tmp_path):
    """A run that two rules price has a minimum of each."""
    made = terms(
        tmp_path,
        "match: {compute: h100, state: idle}, price: {per_hour: '360', minimum: 60s}",
        "match: {compute: h100}, price: {per_hour: '3600', minimum: 60s}",
    )
    parts = [compute("h100", 30), compute("h100", 30, state="idle"), compute("h100", 30)]
    assert _bills(made, *parts) == [60, 6, 0]


def test_states_are_text_that_does_not_depend_on_the_parts(tmp_path):
    """However a run is cut, its state ends the same."""
    made = terms(tmp_path, MINUTE)
    whole = priced(made, compute("h100", 100))
    parts = priced(made, *(compute("h100", 25) for _ in range(4)))
    assert whole.own_run == parts.own_run
    assert json.loads(whole.own_run or "")


def test_seconds_alone_need_no_state(tmp_path):
    """An hourly rate without minimum and increment leaves no state behind."""
    made = terms(tmp_path, "match: {compute: h100}, price: {per_hour: '4'}")
    quote = priced(made, compute("h100", 10), compute("h100", 10, run_id="a"))
    assert (quote.states, quote.own_run) == ({}, None)
    assert memory_keys([compute("h100", 10, run_id="a")], {}, made, NOW) == set()


def test_usage_that_is_not_priced_moves_no_run(tmp_path):
    """An unpriced item opens no minimum: it can be priced later, by a correction."""
    following = MINUTE.replace("price: {", "price: {plus: [{cost_plus: {markup: 0%}}, {") + "]}"
    made = terms(tmp_path, following.replace("compute: h100", "compute: '*'"))
    quote = priced(made, compute("nowhere", 10))
    assert (quote.unpriced, quote.own_run) == ((0,), None)


@pytest.mark.parametrize("served_by", [None, "spot", "nowhere"])
def test_a_run_counts_whatever_served_it(tmp_path, served_by):
    """The minimum of a run is opened by its first part, known to the cost book or not."""
    made = terms(tmp_path, MINUTE)
    quote = priced(made, compute("h100", 10, served_by=served_by))
    assert (quote.unpriced, quote.own_run is not None) == ((), True)
    assert quote.exact_micros == priced(made, compute("h100", 10)).exact_micros


def test_a_part_that_is_undone_leaves_its_run(tmp_path):
    """Lines tell what they added to a named run; without all of them nothing is left of it."""
    made = terms(tmp_path, MINUTE)
    parts = [compute("h100", seconds, run_id="a") for seconds in (20, 30, 20)]
    memory, effects = Memory(), []
    for part in parts:
        quote = priced(made, part, memory=memory)
        memory = after(memory, quote)
        effects.append(quote.lines[0].effects)
    assert [[effect.key for effect in some] for some in effects] == [["run/a"]] * 3
    nothing = unwind([effect for some in effects for effect in some], memory.states)
    assert nothing == {"run/a": State("")}
    assert paid(priced(made, parts[0], memory=Memory({"run/a": ""}))) == 60


@pytest.mark.parametrize("rate", ["per_hour: '3600', minimum: 60s", "per_hour: '3600', maximum: '60'"])
@pytest.mark.parametrize("started_at", [None, NOW])
def test_what_a_part_that_is_undone_has_paid_for_others_is_charged_with_the_next(tmp_path, rate, started_at):
    """Of 1 s and 58 s the first paid the minimum: without it nothing is paid of the run."""
    made = terms(tmp_path, f"match: {{compute: h100}}, price: {{{rate}}}")
    first, second, third, fourth = (
        compute("h100", seconds, run_id="a", started_at=started_at) for seconds in (1, 58, 2, 3)
    )
    if "maximum" in rate:
        first, second = second._replace(duration_nanos=60 * 10**9), first
    one = priced(made, first)
    memory = after(Memory(), one)
    two = priced(made, second, memory=memory)
    memory = after(memory, two)
    assert [paid(one), paid(two)] == [60, 0]
    memory = Memory({key: state.text for key, state in unwind(one.lines[0].effects, memory.states).items()})
    three = priced(made, third, fourth, memory=memory)
    whole = priced(made, second, third, fourth)
    assert paid(three) == paid(whole)
    assert after(memory, three) == after(Memory(), whole)


def test_what_others_were_charged_is_carried_against_what_comes_next(tmp_path):
    """20 s, 30 s and 20 s at 60, 0 and 10: without the second the run amounts to 60, and has paid 70."""
    made = terms(tmp_path, MINUTE)
    memory, effects = Memory(), []
    for seconds in (20, 30, 20):
        quote = priced(made, compute("h100", seconds, run_id="a"), memory=memory)
        memory = after(memory, quote)
        effects.append(quote.lines[0].effects)
    memory = Memory({"run/a": unwind(effects[1], memory.states)["run/a"].text})
    bills = []
    for _ in range(3):
        quote = priced(made, compute("h100", 20, run_id="a"), memory=memory)
        memory = after(memory, quote)
        bills.append(paid(quote))
    assert bills == [0, 10, 20]


def test_what_was_charged_at_other_rates_is_not_charged_again(tmp_path):
    """A part that is undone after the rate rose leaves the others as they were charged."""
    cheap = terms(tmp_path / "a", MINUTE)
    dear = terms(tmp_path / "b", MINUTE.replace("3600", "7200"))
    memory, effects = Memory(), []
    for seconds in (100, 50):
        quote = priced(cheap, compute("h100", seconds, run_id="a"), memory=memory)
        memory = after(memory, quote)
        effects.append(quote.lines[0].effects)
    memory = Memory({"run/a": unwind(effects[1], memory.states)["run/a"].text})
    assert paid(priced(dear, compute("h100", 60, run_id="a"), memory=memory)) == 120 - 50


def test_a_part_of_an_earlier_release_is_undone_without_what_it_was_charged(tmp_path):
    """Its line tells times alone: the run is then as if it had not been."""
    made = terms(tmp_path, MINUTE)
    quote = priced(made, *(compute("h100", seconds, run_id="a") for seconds in (20, 30)))
    reported = json.loads(quote.lines[0].effects[0].text)
    del reported["charged"]
    left = unwind([Effect("run/a", json.dumps(reported))], {"run/a": quote.states["run/a"].text})
    assert left == priced(made, compute("h100", 30, run_id="a")).states | {}


def test_the_reservations_own_run_has_no_effects(tmp_path):
    """It lives and ends with its reservation: a reversal takes that as a whole."""
    [line] = priced(terms(tmp_path, MINUTE), compute("h100", 10)).lines
    assert line.effects == ()


def test_a_state_of_no_known_kind_is_a_fault():
    """What nobody can undo is not passed over in silence."""
    with pytest.raises(ValueError, match="weather/today"):
        unwind([Effect("weather/today", "{}")], {})
