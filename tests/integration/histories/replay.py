"""Concurrent histories, checked afterwards: there is one order in which all of it could have happened.

The service tells that order: every effect carries its customer's `sequence`. In this order each reply must be
what the model says. And the order must be one that the callers could have seen: what began after another had
been answered comes after it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

from concurrent_clients import Operation
from histories_mirror import Mirror
from histories_outcomes import Refusal, WouldSucceedError

Waiting = tuple[Operation, int, int]
"""What was refused, and the first and the last sequence after which that may have been."""


def replay(mirror: Mirror, operations: Sequence[Operation], by_clock: Sequence[int]) -> None:
    """Do operations to the model in the order of their effects, each refused one where it fits.

    `by_clock` are the sequences of what the clock has written since the mirror was up to date: it has done
    what was due before the operations, and what comes of them is done with them.
    """
    effects, repeats, refused = _sorted_out(operations)
    first, last = mirror.account.sequence + 1, max(effects, default=mirror.account.sequence)
    of_operations = [sequence for sequence in by_clock if sequence >= first]
    last = max([last, *of_operations])
    assert sorted([*effects, *of_operations]) == list(range(first, last + 1)), "sequences have gaps"
    assert_real_time(operations)
    trial = Trial(mirror)
    waiting = [(operation, *_window(operation, list(effects.values()), first, last)) for operation in refused]
    waiting = [each for each in waiting if not trial.fits(each)]
    for sequence in sorted(effects):
        for copy in (mirror, trial.mirror):
            assert copy.account.sequence == sequence - 1, "the clock has written what the model does not know"
            copy.judge(effects[sequence].request, effects[sequence].outcome)
            if copy.account.is_beyond:
                return
        for operation in repeats.pop(sequence, []):
            mirror.judge(operation.request, operation.outcome)
        waiting = [each for each in waiting if not trial.fits(each)]
    assert mirror.account.sequence == last, "the clock has not written what is due"
    for operations_of_one_effect in repeats.values():
        for operation in operations_of_one_effect:
            mirror.judge(operation.request, operation.outcome)
    assert not waiting, f"nothing could have refused {waiting[0]}"


class Trial:
    """A second mirror, to try on it whether a refusal fits."""

    def __init__(self, mirror: Mirror) -> None:
        self._original = mirror
        self.mirror = _copied(mirror)

    def fits(self, waiting: Waiting) -> bool:
        """Tell whether a refusal is what the model says after the latest entry, if that is of its time."""
        operation, since, until = waiting
        if not since <= self.mirror.account.sequence <= until:
            return False
        try:
            self.mirror.judge(operation.request, operation.outcome)
        except WouldSucceedError:
            self.mirror = _copied(self._original)
            return False
        except AssertionError:
            return False
        return True


def assert_real_time(operations: Sequence[Operation]) -> None:
    """What began after another had been answered has the higher sequence."""
    effects = sorted((op for op in operations if _has_effect(op)), key=lambda op: op.began)
    answered = sorted(effects, key=lambda op: op.ended)
    highest, done = 0, 0
    for operation in effects:
        while answered[done].ended < operation.began:
            highest = max(highest, answered[done].sequence)
            done += 1
        assert operation.sequence > highest, f"{operation} came before {highest}, which was answered earlier"


def _has_effect(operation: Operation) -> bool:
    return not isinstance(operation.outcome, Refusal) and not operation.outcome.replayed


def _sorted_out(
    operations: Sequence[Operation],
) -> tuple[dict[int, Operation], dict[int, list[Operation]], list[Operation]]:
    """Give the effects by sequence, their repeats, and what was refused."""
    effects: dict[int, Operation] = {}
    repeats: dict[int, list[Operation]] = {}
    refused: list[Operation] = []
    for operation in operations:
        if isinstance(operation.outcome, Refusal):
            refused.append(operation)
        elif operation.outcome.replayed:
            repeats.setdefault(operation.sequence, []).append(operation)
        else:
            assert operation.sequence not in effects, "two effects of one sequence"
            effects[operation.sequence] = operation
    return effects, repeats, refused


def _window(operation: Operation, effects: Sequence[Operation], first: int, last: int) -> tuple[int, int]:
    """Give the sequences after which an operation may have been refused: those of its time."""
    since = max((other.sequence for other in effects if other.ended < operation.began), default=first - 1)
    until = min((other.sequence - 1 for other in effects if other.began > operation.ended), default=last)
    return since, until


def _copied(mirror: Mirror) -> Mirror:
    """Give a copy, without the statement, which decides nothing."""
    return pickle.loads(pickle.dumps(replace(mirror, statement=[])))  # noqa: S301 -- our own
