"""What a run does where a server refuses work for overload."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2  # type: ignore[import-untyped]

from tests.benchmarks.load import RefusedWorkError, WorkError, carried_out


class _Work:
    """Fails as it is told to, once for each failure, and then is done."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.said: list[str] = []
        self.rests = 0

    async def rest(self) -> None:
        self.rests += 1

    async def work(self) -> str:
        if self._failures:
            raise self._failures.pop(0)
        return "done"

    async def outcome(self) -> str:
        return await carried_out(self.rest, self.work, self.said.append)


def _refused(code: int = code_pb2.RESOURCE_EXHAUSTED) -> ExceptionGroup:
    """As workers that run at once raise it."""
    return ExceptionGroup("workers", [RefusedWorkError("3 of 500 items were refused", code)])


async def test_work_that_was_refused_for_overload_is_done_again_and_that_is_said() -> None:
    """After a rest each time, whether one worker met it or several at once."""
    overload = RefusedWorkError("all of 1 item was refused", code_pb2.RESOURCE_EXHAUSTED)
    work = _Work(_refused(), overload)
    assert await work.outcome() == "done"
    assert work.rests == 3
    assert len(work.said) == 2


async def test_work_that_is_refused_again_and_again_ends_the_run() -> None:
    """A server that refuses on a machine of its own has a fault."""
    with pytest.raises(ExceptionGroup):
        await _Work(*[_refused()] * 20).outcome()


@pytest.mark.parametrize("failure", [_refused(code_pb2.NOT_FOUND), WorkError("no work ended within 3 s")])
async def test_work_that_fails_for_another_reason_ends_the_run(failure: Exception) -> None:
    """At once."""
    work = _Work(failure)
    with pytest.raises(type(failure)):
        await work.outcome()
    assert work.rests == 1
