"""Stacks of layers: what the segments of a run amount to, updated by each that is reported.

At each level of the hourly rate the machine starts, goes on, or does not run. A machine that is resized goes
on wherever it ran before. One that starts has a minimum of its own, unless it starts while that of an earlier
start lasts, which then covers both.

A segment that is reported changes what it is next to, and no more: so a run of a thousand starts costs a
thousand short looks, not a thousand readings of the whole run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from pricing.rating.meters import Meter

_ORDER = attrgetter("order")
_BEGAN = attrgetter("head.order")

Change = tuple[Meter, int]
"""What a meter bills more than before, as rate x time; below 0: less."""


@dataclass(slots=True, eq=False)
class Stretch:
    """How long a machine ran at one size."""

    started_nanos: int
    """Since 1970."""
    order: tuple[int, bool, int]
    """When it started; at one instant starts come before changes of size, and then what came first."""
    size: Meter
    before: Meter | None
    """Its size before; None: it started."""
    duration_nanos: int = 0


class Layers:
    """The segments of a run that are billed together."""

    __slots__ = ("_levels", "_rates_nanos", "_stretches")

    def __init__(self) -> None:
        self._rates_nanos = [0]
        """Of all sizes, and nothing: what the levels lie between."""
        self._levels: list[_Level] = []
        self._stretches: dict[str, Stretch] = {}
        """By the keys of their segments."""

    def add(
        self, key: str, started_nanos: int, size: Meter, before: Meter | None, duration_nanos: int
    ) -> Iterator[Change]:
        """Adds a part of a segment; yields what it changes."""
        stretch = self._stretches.get(key)
        is_new = stretch is None
        if stretch is None:
            order = (started_nanos, before is not None, len(self._stretches))
            stretch = self._stretches[key] = Stretch(started_nanos, order, size, before)
            for meter in (size,) if before is None else (size, before):
                self._split_at(meter.rate_nanos)
        stretch.duration_nanos += duration_nanos
        for level, low, high in zip(self._levels, self._rates_nanos, self._rates_nanos[1:], strict=False):
            if size.rate_nanos <= low:
                break
            changes = level.begin(stretch) if is_new else level.go_on(stretch, duration_nanos)
            for meter, billed_nanos in changes:
                yield meter, (high - low) * billed_nanos

    def _split_at(self, rate_nanos: int) -> None:
        """Makes a rate one that levels end at: the same machines run on both sides of it."""
        at = bisect_left(self._rates_nanos, rate_nanos)
        if at == len(self._rates_nanos):
            self._levels.append(_Level(self._rates_nanos[-1], []))
        elif self._rates_nanos[at] != rate_nanos:
            self._levels.insert(at, self._levels[at - 1].copy(rate_nanos))
        else:
            return
        self._rates_nanos.insert(at, rate_nanos)


@dataclass(slots=True, eq=False)
class _Group:
    """Stretches that share a minimum."""

    meter: Meter
    """Of the size that began them."""
    stretches: list[Stretch]
    """In their order."""
    duration_nanos: int

    @property
    def head(self) -> Stretch:
        return self.stretches[0]

    @property
    def billed_nanos(self) -> int:
        return self.meter.billed(self.duration_nanos)


class _Level:
    """What runs just above a rate: the groups of its stretches, in order of time."""

    __slots__ = ("_groups", "_low_nanos")

    def __init__(self, low_nanos: int, groups: list[_Group]) -> None:
        self._low_nanos = low_nanos
        self._groups = groups

    def copy(self, low_nanos: int) -> _Level:
        """A level of the same stretches, above another rate."""
        groups = [_Group(group.meter, [*group.stretches], group.duration_nanos) for group in self._groups]
        return _Level(low_nanos, groups)

    def go_on(self, stretch: Stretch, duration_nanos: int) -> Iterator[Change]:
        """Lengthens a stretch; yields by meter how much more time is billed."""
        group = self._groups[bisect_right(self._groups, stretch.order, key=_BEGAN) - 1]
        billed_nanos = group.billed_nanos
        group.duration_nanos += duration_nanos
        yield group.meter, group.billed_nanos - billed_nanos

    def begin(self, stretch: Stretch) -> Iterator[Change]:
        """Puts a new stretch in its place; yields by meter how much more time is billed, or less."""
        at = bisect_right(self._groups, stretch.order, key=_BEGAN)
        group = self._groups[at - 1] if at else None
        if group is not None and self._takes(group, stretch):
            group.stretches.insert(bisect_right(group.stretches, stretch.order, key=_ORDER), stretch)
            yield from self.go_on(stretch, stretch.duration_nanos)
            return
        later: list[Stretch] = []
        if group is not None:
            billed_nanos = group.billed_nanos
            later = _cut(group, stretch)
            yield group.meter, group.billed_nanos - billed_nanos
        yield from self._group_again(at, [stretch, *later])

    def _group_again(self, at: int, stretches: list[Stretch]) -> Iterator[Change]:
        """Puts stretches into groups before the one at a place, and anew what they take of that and so on."""
        groups = [self._begun_by(stretches[0])]
        stretches, end = stretches[1:], at
        while True:
            for stretch in stretches:
                group = groups[-1]
                if self._takes(group, stretch):
                    group.stretches.append(stretch)
                    group.duration_nanos += stretch.duration_nanos
                else:
                    groups.append(self._begun_by(stretch))
            if end == len(self._groups) or not self._takes(groups[-1], self._groups[end].head):
                break
            stretches = self._groups[end].stretches
            end += 1
        billed_nanos = dict.fromkeys((group.meter for group in groups), 0)
        for group in self._groups[at:end]:
            billed_nanos[group.meter] = billed_nanos.get(group.meter, 0) - group.billed_nanos
        for group in groups:
            billed_nanos[group.meter] += group.billed_nanos
        self._groups[at:end] = groups
        yield from billed_nanos.items()

    def _begun_by(self, stretch: Stretch) -> _Group:
        before = stretch.before
        began = before if before is not None and before.rate_nanos > self._low_nanos else stretch.size
        return _Group(began, [stretch], stretch.duration_nanos)

    def _takes(self, group: _Group, stretch: Stretch) -> bool:
        """Whether a stretch goes on where a group ran, or is covered by its minimum."""
        before, meter = stretch.before, group.meter
        if before is not None and before.rate_nanos > self._low_nanos:
            return True
        return meter == stretch.size and meter.covers(stretch.started_nanos - group.head.started_nanos)


def _cut(group: _Group, stretch: Stretch) -> list[Stretch]:
    """Takes out of a group what comes after a stretch."""
    at = bisect_right(group.stretches, stretch.order, key=_ORDER)
    later = group.stretches[at:]
    del group.stretches[at:]
    group.duration_nanos -= sum(other.duration_nanos for other in later)
    return later
