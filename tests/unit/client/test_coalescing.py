"""Writes of many callers in few calls: who travels with whom, and what each caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
import pytest

from ledger.client.coalescing import BYTES_MAX, ITEMS_MAX, UNDER_WAY_MAX, Coalescer
from ledger.client.errors import ClientClosed, CreditsError, DeadlineExceeded, Unavailable
from ledger.v1 import credit_service_pb2 as pb

LATER = 1_000_000.0


def item(name: str, padding: int = 0) -> pb.BatchItem:
    labels = pb.Labels(other={"padding": "x" * padding}) if padding else None
    return pb.BatchItem(charge=pb.ChargeRequest(request_id=name, labels=labels))


def names(items: Sequence[pb.BatchItem]) -> list[str]:
    return [each.charge.request_id for each in items]


def answer_to(name: str) -> pb.BatchResult:
    return pb.BatchResult(charge=pb.ChargeResponse(charge=pb.Charge(charge_id=name)))


class Line:
    """What calls go over: it notes them, and holds them until it is told to answer."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.is_held = False
        self._held: list[asyncio.Future[None]] = []

    async def send(self, items: Sequence[pb.BatchItem], _seconds: float) -> Sequence[pb.BatchResult]:
        self.calls.append(names(items))
        if self.is_held:
            held = asyncio.get_running_loop().create_future()
            self._held.append(held)
            await held
        return [answer_to(name) for name in names(items)]

    def answer(self) -> None:
        self._end(lambda held: held.set_result(None))

    def answer_first(self) -> None:
        """The others are held on, and so are those that come."""
        self._held.pop(0).set_result(None)

    def fail(self, error: Exception) -> None:
        self._end(lambda held: held.set_exception(error))

    def _end(self, end: Callable[[asyncio.Future[None]], None]) -> None:
        self.is_held = False
        for held in self._held:
            end(held)
        self._held.clear()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def coalescer(line: Line) -> Coalescer:
    return Coalescer(line.send)


async def turns() -> None:
    """As many turns of the loop as anything here takes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def fill(coalescer: Coalescer, line: Line) -> list[asyncio.Task[pb.BatchResult]]:
    """As many calls as there may be, under way."""
    line.is_held = True
    tasks = []
    for number in range(UNDER_WAY_MAX):
        tasks.append(asyncio.create_task(coalescer.attempt(item(f"first-{number}"), LATER)))
        await turns()
    assert len(line.calls) == UNDER_WAY_MAX
    return tasks


async def test_a_lone_write_goes_at_once(coalescer: Coalescer, line: Line) -> None:
    """One after the other, each alone: nothing waits for company."""
    for name in "abc":
        result = await coalescer.attempt(item(name), LATER)
        assert result.charge.charge.charge_id == name
    assert line.calls == [["a"], ["b"], ["c"]]


async def test_who_waits_travels_together(coalescer: Coalescer, line: Line) -> None:
    """While as many calls are under way as may be, the others wait, and share the next ones."""
    first = await fill(coalescer, line)
    rest = [asyncio.create_task(coalescer.attempt(item(str(number)), LATER)) for number in range(100)]
    await turns()
    assert len(line.calls) == UNDER_WAY_MAX
    line.answer()
    results = await asyncio.gather(*rest, *first)
    assert [each.charge.charge.charge_id for each in results[:100]] == [str(number) for number in range(100)]
    halves = [[str(number) for number in each] for each in (range(51), range(51, 100))]
    assert line.calls[UNDER_WAY_MAX:] == halves


async def test_few_are_not_shared_out(coalescer: Coalescer, line: Line) -> None:
    """A call for each of two halves of so little would cost more than it gains."""
    line.is_held = True
    few = [asyncio.create_task(coalescer.attempt(item(name), LATER)) for name in "abcde"]
    await turns()
    assert line.calls == [["a"], ["b", "c", "d", "e"]]
    line.answer()
    await asyncio.gather(*few)


async def test_calls_grow_alike(coalescer: Coalescer, line: Line) -> None:
    """Whoever is first does not leave all others to one call: they would wait for each other ever after."""
    line.is_held = True
    many = [asyncio.create_task(coalescer.attempt(item(str(number)), LATER)) for number in range(32)]
    await turns()
    assert [len(call) for call in line.calls] == [1, 16]
    line.answer_first()
    await turns()
    assert [len(call) for call in line.calls] == [1, 16, 15]
    line.answer()
    await asyncio.gather(*many)


async def test_what_one_call_leaves_is_the_next_one_s(coalescer: Coalescer, line: Line) -> None:
    """Where one of the calls under way ends, no more than half of all goes in its place."""
    first = await fill(coalescer, line)
    rest = [asyncio.create_task(coalescer.attempt(item(str(number)), LATER)) for number in range(100)]
    await turns()
    line.answer_first()
    await turns()
    assert line.calls[UNDER_WAY_MAX:] == [[str(number) for number in range(51)]]
    line.answer()
    await asyncio.gather(*rest, *first)


async def test_a_call_is_bounded(coalescer: Coalescer, line: Line) -> None:
    """In items and in bytes; an item of more bytes than that goes alone, for the server to say so."""
    first = await fill(coalescer, line)
    many = [item(str(number)) for number in range(2 * ITEMS_MAX + 1)]
    large = [item("large", BYTES_MAX + 1), item("half", BYTES_MAX // 2), item("rest", BYTES_MAX // 2 + 1)]
    waiting = [asyncio.create_task(coalescer.attempt(each, LATER)) for each in (*many, *large)]
    await turns()
    line.answer()
    await asyncio.gather(*waiting, *first)
    assert [len(call) for call in line.calls[UNDER_WAY_MAX:]][:2] == [ITEMS_MAX, ITEMS_MAX]
    assert line.calls[UNDER_WAY_MAX + 2 :] == [[str(2 * ITEMS_MAX)], ["large"], ["half"], ["rest"]]


async def test_a_cancelled_caller_leaves_the_others_alone(coalescer: Coalescer, line: Line) -> None:
    """Its own write is not sent if it waited; those that travel with it are answered."""
    first = await fill(coalescer, line)
    waiting = [asyncio.create_task(coalescer.attempt(item(name), LATER)) for name in "abc"]
    await turns()
    waiting[1].cancel()
    await turns()
    line.is_held = False
    line.answer()
    assert [(await waiting[number]).charge.charge.charge_id for number in (0, 2)] == ["a", "c"]
    assert line.calls[UNDER_WAY_MAX:] == [["a", "c"]]
    assert waiting[1].cancelled()
    await asyncio.gather(*first)


async def test_a_caller_cancelled_on_the_way(coalescer: Coalescer, line: Line) -> None:
    """The call goes on, for the others and for what the write has begun."""
    first = await fill(coalescer, line)
    waiting = [asyncio.create_task(coalescer.attempt(item(name), LATER)) for name in "ab"]
    await turns()
    line.answer()
    line.is_held = True
    await turns()
    assert line.calls[UNDER_WAY_MAX:] == [["a", "b"]]
    waiting[0].cancel()
    await turns()
    line.answer()
    assert (await waiting[1]).charge.charge.charge_id == "b"
    await asyncio.gather(*first)


async def test_a_deadline_ends_the_wait(coalescer: Coalescer, line: Line) -> None:
    """Of the write whose it is, though it was not sent; that is not sent later either."""
    first = await fill(coalescer, line)
    late = asyncio.create_task(coalescer.attempt(item("late"), 0.0))
    other = asyncio.create_task(coalescer.attempt(item("other"), LATER))
    with pytest.raises(DeadlineExceeded):
        await late
    line.answer()
    await asyncio.gather(*first, other)
    assert line.calls[UNDER_WAY_MAX:] == [["other"]]


async def test_each_deadline_ends_its_own_wait(coalescer: Coalescer, line: Line) -> None:
    """In whatever order they come, of writes that wait and of those on the way."""
    first = await fill(coalescer, line)
    now = asyncio.get_running_loop().time()
    later = [asyncio.create_task(coalescer.attempt(item(name), LATER)) for name in "ab"]
    soon = [asyncio.create_task(coalescer.attempt(item(f"soon-{each}"), now + each)) for each in (0.02, 0.01)]
    answers = await asyncio.gather(*soon, return_exceptions=True)
    assert [type(each) for each in answers] == [DeadlineExceeded] * 2
    line.answer()
    line.is_held = True
    await turns()
    assert line.calls[UNDER_WAY_MAX:] == [["a", "b"]]
    under_way = asyncio.create_task(coalescer.attempt(item("late"), asyncio.get_running_loop().time() + 0.01))
    with pytest.raises(DeadlineExceeded):
        await under_way
    line.answer()
    assert [(await each).charge.charge.charge_id for each in later] == ["a", "b"]
    await asyncio.gather(*first)


async def test_a_failed_call_fails_whoever_was_in_it(coalescer: Coalescer, line: Line) -> None:
    """Each with an error of its own, and nobody else; the next call is made as ever."""
    first = await fill(coalescer, line)
    waiting = [asyncio.create_task(coalescer.attempt(item(name), LATER)) for name in "ab"]
    await turns()
    line.answer()
    line.is_held = True
    await asyncio.gather(*first)
    await turns()
    nothing = grpc.aio.Metadata()
    line.fail(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "away"))
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert errors[0] is not errors[1]
    assert (await coalescer.attempt(item("c"), LATER)).charge.charge.charge_id == "c"


async def test_an_answer_that_cannot_be_read_leaves_nobody_waiting(line: Line) -> None:
    """A server that answers fewer than were asked is no reason to hang."""

    async def short(items: Sequence[pb.BatchItem], seconds: float) -> Sequence[pb.BatchResult]:
        return (await line.send(items, seconds))[1:]

    coalescer = Coalescer(short)
    errors = await asyncio.gather(
        *(coalescer.attempt(item(name), LATER) for name in "abc"), return_exceptions=True
    )
    assert [type(error) for error in errors] == [CreditsError] * 3


async def test_closing_waits_for_what_is_under_way(coalescer: Coalescer, line: Line) -> None:
    """What was handed in is sent and answered; what comes later is refused, and no task is left."""
    before = asyncio.all_tasks()
    first = await fill(coalescer, line)
    waiting = asyncio.create_task(coalescer.attempt(item("waiting"), LATER))
    await turns()
    closing = asyncio.create_task(coalescer.close())
    await turns()
    assert not closing.done()
    with pytest.raises(ClientClosed):
        await coalescer.attempt(item("late"), LATER)
    line.answer()
    await asyncio.gather(*first, waiting, closing)
    await turns()
    assert asyncio.all_tasks() == before
