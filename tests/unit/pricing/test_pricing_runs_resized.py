"""Runs whose machine starts again, is resized, or costs so much at most."""

import json
from datetime import timedelta
from fractions import Fraction

import pytest
from pricing_world import NOW, compute, config, paid, priced, terms

from pricing import Memory, RateCard, compile_terms, unwind
from pricing.rating.meters import Meter
from tests.cards import after, card_text

COSTS = "compute: {xs: {cost: none}, s: {cost: none}, m: {cost: none}, l: {cost: none}, xl: {cost: none}}"
RATES = {"xs": 1, "s": 2, "m": 4, "l": 8, "xl": 16}
ALL = (0, 60)
"""A minimum at each start, or (with 0) only where the last one is over."""


def _sizes(tmp_path, more="minimum: 60s", again=0):
    """Terms of machines of five sizes, whose rates here are by the second."""
    if again:
        more += f", minimum_again: {{within: {again}s}}"
    rules = [
        f"match: {{compute: {name}}}, price: {{per_hour: '{rate * 3600}', {more}}}"
        for name, rate in RATES.items()
    ]
    return terms(tmp_path, *rules, costs=COSTS)


def _part(words):
    """`10 m 20 from s`: since second 10 an m, for 20 seconds; until then it was an s."""
    at, size, seconds, *rest = words.split()
    started = NOW + timedelta(seconds=float(at))
    return compute(
        size, float(seconds), run_id="r", started_at=started, resized_from=rest[1] if rest else None
    )


def _bills(made, *parts):
    """What each part costs, one call each, the memory carried along; and the memory."""
    memory, bills = Memory(), []
    for part in parts:
        quote = priced(made, _part(part) if isinstance(part, str) else part, memory=memory)
        memory = after(memory, quote)
        bills.append(paid(quote))
    return bills, memory


@pytest.mark.parametrize("again", ALL)
@pytest.mark.parametrize(
    ("parts", "bills"),
    [
        # Up: what is added has a minimum of its own, what there was goes on.
        (["0 m 300", "300 l 120 from m"], [1200, 960]),
        (["0 m 300", "300 l 10 from m"], [1200, 40 + 240]),
        (["0 m 10", "10 l 10 from m"], [240, 240]),
        (["0 m 30", "30 l 40 from m"], [240, 40 + 240]),
        (["0 s 30", "30 m 30 from s", "60 xl 30 from m"], [120, 120, 60 + 0 + 720]),
        # Down: cut from the top, no new minimum.
        (["0 l 300", "300 m 10 from l"], [2400, 40]),
        (["0 l 10", "10 m 10 from l"], [480, 0]),
        (["0 l 10", "10 m 60 from l"], [480, 40]),
        (["0 s 100", "100 l 100 from s", "200 m 100 from l"], [200, 200 + 600, 400]),
        # The same size is no change.
        (["0 m 10", "10 m 20 from m", "30 m 40 from m"], [240, 0, 40]),
        # The parts of a segment add up.
        (["0 m 300", "300 l 10 from m", "300 l 40 from m", "300 l 20 from m"], [1200, 280, 160, 120]),
        # A part that came late costs what it adds.
        (["300 l 120 from m", "0 m 300"], [960, 1200]),
        (["20 xl 10 from l", "10 l 10 from m", "0 m 10"], [960, 0, 0]),
        # From a size that nothing bills: all of it is added.
        (["0 m 300", "300 l 10 from none"], [1200, 480]),
        # A start after the last minimum has one of its own.
        (["0 m 10", "60 m 10"], [240, 240]),
        (["0 m 100", "1000 l 10"], [400, 480]),
        (["0 m 10", "10 l 10 from m", "1000 s 55"], [240, 240, 120]),
        # A start of another size too.
        (["0 m 10", "20 l 10"], [240, 480]),
        (["0 m 0", "10 m 10", "10 m 0"], [0, 240, 0]),
    ],
)
def test_a_resized_run_is_a_stack_of_layers(tmp_path, again, parts, bills):
    """The table says what each part costs, by rates of a second."""
    assert _bills(_sizes(tmp_path, again=again), *parts)[0] == bills


@pytest.mark.parametrize(
    ("parts", "covered", "again"),
    [
        (["0 xs 10", "20 xs 10", "40 xs 10"], [60, 0, 0], [60, 60, 60]),
        (["0 xs 10", "59.999 xs 10", "60 xs 10"], [60, 0, 60], [60, 60, 60]),
        (["0 xs 40", "50 xs 40"], [60, 20], [60, 60]),
        (["0 xs 10", "40 xs 10", "80 xs 10"], [60, 0, 60], [60, 60, 60]),
        (
            ["0 m 10", "10 l 10 from m", "20 m 10 from l", "30 l 10 from m"],
            [240, 240, 0, 0],
            [240, 240, 0, 240],
        ),
        (["40 xs 10", "0 xs 10"], [60, 0], [60, 60]),
    ],
)
def test_a_start_within_the_minimum(tmp_path, parts, covered, again):
    """The minimum of the first covers it, unless minimum_again says that it has one of its own."""
    assert _bills(_sizes(tmp_path), *parts)[0] == covered
    assert _bills(_sizes(tmp_path, again=60), *parts)[0] == again
    assert _bills(_sizes(tmp_path, again=90), *parts)[0] == again


def test_nothing_is_carried_where_nothing_is_over(tmp_path):
    """A part that costs nothing leaves no more behind than its time."""
    _, memory = _bills(_sizes(tmp_path), "0 m 10", "0 m 10")
    assert "carried" not in memory.states["run/r"]


def test_what_a_run_has_charged_is_not_taken_back(tmp_path):
    """A start told late may show that fewer minimums were due: that counts towards what comes next."""
    made = _sizes(tmp_path)
    bills, memory = _bills(made, "10 xs 55", "65 xs 10", "75 xs 50", "0 xs 0.5", "80 xs 2", "80 xs 4")
    assert bills == [60, 5, 60, 0, 0, 1]
    whole = ["0 xs 0.5", "10 xs 55", "65 xs 10", "75 xs 50", "80 xs 6"]
    assert sum(bills) == sum(_bills(made, *whole)[0])
    assert memory == _bills(made, *whole)[1]


def test_a_start_told_late_may_move_a_layer_to_a_size_whose_maximum_is_reached(tmp_path):
    """Each start has its minimum, and yet less was due than was charged: what comes next is less by that."""
    made = _sizes(tmp_path, "minimum: 1s, maximum: '12'", again=1)
    late, rest = ["2 xs 30 from s", "40 m 10", "0 m 1", "1 s 1 from m"], ["60 s 5", "70 s 5", "80 l 1"]
    assert _bills(made, *late, *rest)[0] == [12, 12, 0, 0, 0, 0, 8]
    in_order = ["0 m 1", "1 s 1 from m", "2 xs 30 from s", "40 m 10", *rest]
    assert _bills(made, *in_order)[0] == [4, 2, 6, 0, 10, 2, 8]


@pytest.mark.parametrize(
    ("more", "parts", "bills"),
    [
        ("maximum: '10'", [4, 4, 4, 4], [4, 4, 2, 0]),
        ("maximum: '0'", [4], [0]),
        ("maximum: '0.1'", [1], [Fraction(1, 10)]),
        ("maximum: '70', minimum: 60s", [20, 45, 10], [60, 5, 5]),
        ("maximum: '30', minimum: 60s", [20, 45], [30, 0]),
        ("maximum: '15', increment: 10s", [4, 7], [10, 5]),
    ],
)
def test_a_run_costs_its_maximum_at_most(tmp_path, more, parts, bills):
    """Of each rule, in credits; minimum and increment are within it."""
    made = terms(tmp_path, f"match: {{compute: h100}}, price: {{per_hour: '3600', {more}}}")
    assert _bills(made, *(compute("h100", seconds, run_id="r") for seconds in parts))[0] == bills
    quote = priced(made, *(compute("h100", seconds) for seconds in parts))
    assert [line.exact_micros / 10**6 for line in quote.lines] == bills


def test_a_maximum_is_of_all_that_a_rule_bills_of_a_run(tmp_path):
    """Of all counts and of all starts; another run, and another rule, has its own."""
    made = terms(
        tmp_path,
        "match: {compute: h100, state: idle}, price: {per_hour: '3600', maximum: '100'}",
        "match: {compute: h100}, price: {per_hour: '3600', maximum: '50'}",
    )
    assert _bills(
        made,
        compute("h100", 40, run_id="r"),
        compute("h100", 40, "2", run_id="r"),
        compute("h100", 40, run_id="r", started_at=NOW),
        compute("h100", 40, run_id="s"),
        compute("h100", 99, run_id="r", state="idle"),
        compute("h100", 9, run_id="r", state="idle", started_at=NOW),
    )[0] == [40, 10, 0, 40, 99, 1]


def test_a_maximum_of_a_resized_run_is_of_what_its_size_began(tmp_path):
    """Each layer counts for the rule of the size that began it."""
    made = terms(
        tmp_path,
        "match: {compute: m}, price: {per_hour: '3600', maximum: '100'}",
        "match: {compute: l}, price: {per_hour: '7200', maximum: '30'}",
        costs=COSTS,
    )
    assert _bills(made, "0 m 80", "80 l 25 from m", "105 l 25 from m")[0] == [80, 20 + 25, 5]


def test_each_count_is_a_stack_of_its_own(tmp_path):
    """Three clusters that are resized together are billed three times what one is."""
    made = _sizes(tmp_path)

    def part(count, words):
        return _part(words)._replace(count_nanos=int(count * 10**9))

    one, _ = _bills(made, "0 m 30", "30 l 40 from m")
    bills, _ = _bills(made, part(3, "0 m 30"), part(0.5, "0 m 30"), part(3, "30 l 40 from m"))
    assert bills == [3 * one[0], one[0] / 2, 3 * one[1]]


def test_the_parts_of_plus_make_stacks_of_their_own(tmp_path):
    """The first hourly rate of the size before goes with the first of this one, and so on."""
    of_m = "{per_hour: '3600', minimum: 60s}, {per_hour: '7200', increment: 50s}"
    of_l = of_m.replace("7200", "x").replace("3600", "7200").replace("x", "3600")
    of_l += ", {per_hour: '36000', minimum: 1s}"
    made = terms(
        tmp_path,
        f"match: {{compute: m}}, price: {{plus: [{of_m}]}}",
        f"match: {{compute: l}}, price: {{plus: [{of_l}]}}",
        costs=COSTS,
    )
    assert _bills(made, "0 m 30", "30 l 40 from m")[0] == [60 + 100, (10 + 60) + 50 + 400]


def test_a_size_is_billed_as_the_rule_for_it_says_under_the_same_labels(tmp_path):
    """The size before is found as this one is: by resource, state and labels."""
    made = terms(
        tmp_path,
        "match: {compute: m, labels: {team: a}}, price: {per_hour: '3600', minimum: 60s}",
        "match: {compute: m}, price: {included: true}",
        "match: {compute: l}, price: {per_hour: '7200', minimum: 60s}",
        costs=COSTS,
    )
    part = _part("0 l 10 from m")
    memory = after(Memory(), priced(made, _part("-30 m 30"), labels={"team": "a"}))
    assert paid(priced(made, part, labels={"team": "a"}, memory=memory)) == 60
    assert paid(priced(made, part, labels={"team": "b"}, memory=memory)) == 120


def test_what_other_cards_billed_of_a_run_counts_for_them_alone(tmp_path):
    """A customer who moves to another card begins its runs anew."""
    made = _sizes(tmp_path)
    _, memory = _bills(made, "0 m 30", compute("m", 5, run_id="r"))
    text = card_text("match: {compute: m}, price: {per_hour: '3600', minimum: 60s, maximum: '70'}")
    other = compile_terms(RateCard.from_document(text.replace("card: test", "card: other")), made.costs)
    assert paid(priced(other, _part("30 m 30 from m"), memory=memory)) == 60


def test_parts_of_a_resized_run_can_be_undone(tmp_path):
    """Without them it is as if they had not been."""
    made = _sizes(tmp_path)
    first = after(Memory(), priced(made, _part("0 m 30")))
    quote = priced(made, _part("30 l 40 from m"), memory=first)
    memory = after(first, quote)
    left = unwind(quote.lines[0].effects, memory.states)["run/r"].text
    again = priced(made, _part("30 l 40 from m"), memory=Memory({"run/r": left}))
    assert paid(again) == paid(quote)
    assert after(first, again) == memory


def test_a_price_list_tells_minimum_increment_and_maximum(tmp_path):
    """In seconds and credits, as they are written."""
    card = config(
        tmp_path,
        COSTS,
        card_text(
            "match: {compute: m}, "
            "price: {per_hour: 4, minimum: 60s, minimum_again: {within: 60s}, maximum: '0.1'}",
            "match: {compute: l}, price: {per_hour: 4, increment: 1m, maximum: 2}",
        ),
    ).cards["test"]
    notes = [item.rates[0].note for item in card.price_list()]
    assert notes == ["minimum 60 s at each start, maximum 0.1 a run", "increment 60 s, maximum 2 a run"]


@pytest.mark.parametrize("gap", [30, 100])
def test_a_thousand_starts_in_one_call_take_a_thousand_short_looks(tmp_path, monkeypatch, gap):
    """What one more start costs does not grow with those before it: every other customer waits for it."""
    made, billed, looks = _sizes(tmp_path), Meter.billed, []
    # Time is no measure on a busy machine: what is counted is the work.
    monkeypatch.setattr(Meter, "billed", lambda *arguments: looks.append(1) or billed(*arguments))
    quote = priced(made, *(_part(f"{gap * n} m 1") for n in range(1000)))
    assert paid(quote) == 240 * (1000 if gap > 60 else 500)
    assert len(looks) < 10_000


def test_a_run_takes_a_thousand_stretches_and_no_more(tmp_path):
    """What it keeps already goes on; what would add to it is unpriced, and leaves it as it was."""
    made = _sizes(tmp_path)
    full = priced(made, *(_part(f"{100 * n} m 1") for n in range(1000)))
    memory = after(Memory(), full)
    assert full.unpriced == ()
    quote = priced(made, _part("0 m 9"), _part("7 m 1"), _part("99900 m 60"), _part("0 m 0"), memory=memory)
    assert [line.unpriced_reason for line in quote.lines] == ["", "run_full", "", ""]
    assert paid(quote) == 4
    assert len(json.loads(quote.states["run/r"].text)) == 1000
    only = priced(made, _part("7 m 1"), compute("m", 1, run_id="r"), compute("m", 1), memory=memory)
    assert only.unpriced == (0, 1)


def test_a_part_of_two_meters_that_has_no_room_changes_neither(tmp_path):
    """A run is not left with half of a part."""
    price = "plus: [{per_hour: '3600', minimum: 60s}, {times: '2', per_hour: '1', minimum: 1s}]"
    made = terms(tmp_path, f"match: {{compute: m}}, price: {{{price}}}", costs=COSTS)
    parts = [_part(f"{100 * n} m 1") for n in range(501)]
    quote = priced(made, *parts)
    assert quote.unpriced == (500,)
    assert len(json.loads(quote.states["run/r"].text)) == 1000
