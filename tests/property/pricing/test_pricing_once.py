"""What is charged once for each subject, in whatever order it is reported and undone.

The model is a count: of each subject one outcome is charged, or none where the charged one was undone and no
other has been reported since.
"""

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import CostBook, Memory, Outcome, Result, price, unwind
from tests.cards import document_of, rules_of, terms_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRICES = {Result.RESOLVED: 2, Result.ESCALATED: 3, Result.FAILED: 0}
"""Credits of each result."""
RULE = {
    "outcome": {result.lower(): str(amount) for result, amount in PRICES.items()},
    "once": "subject",
}
TERMS = terms_of(document_of(rules_of(({"outcome": "ticket"}, RULE))), CostBook({}, None))

outcomes = st.builds(
    Outcome,
    st.just("ticket"),
    st.sampled_from(list(PRICES)),
    st.sampled_from(["a", "b/c"]),
    st.integers(0, 3),
    st.none(),
)
actions = st.lists(st.one_of(outcomes, st.integers(0, 20)), max_size=16)
"""Reports, and numbers: which of the lines that are left is undone."""


@settings(max_examples=200, deadline=None)
@given(actions)
def test_of_a_subject_one_outcome_is_charged_and_after_its_reversal_the_next(done):
    """The next that is reported, at what it costs; what was free stays free, whatever else is undone."""
    states, lines, charged_of = {}, [], {}
    for action in done:
        if isinstance(action, Outcome):
            quote = price([action], {}, TERMS, Memory(states), now=NOW)
            states |= {key: state.text for key, state in quote.states.items()}
            [line] = quote.lines
            cost = PRICES[action.result] if action.count else 0
            is_due = bool(cost) and action.subject not in charged_of
            assert Fraction(line.exact_micros, 10**6) == (cost if is_due else 0)
            if is_due:
                charged_of[action.subject] = line
            lines.append(line)
        elif lines:
            undone = lines.pop(action % len(lines))
            states |= {key: state.text for key, state in unwind(undone.effects, states).items()}
            charged_of = {subject: line for subject, line in charged_of.items() if line is not undone}
