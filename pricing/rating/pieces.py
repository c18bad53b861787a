"""Pieces: what the usage of a period would cost in each step, in the order in which it came.

What a period amounts to follows from its pieces alone. So a line can be taken out of them again, and what is
left amounts to what it would have amounted to without that line: what came after it moves down.

Lines that cost the same a unit make one piece, and so do those of the lowest step, which cannot move. Of
others `PIECES_MAX` are counted apart: beyond that those furthest above the beginning of their step are put
together. A piece of such lines is exact where it lies in one step, whichever that is. Where lines are taken
away so that a step begins within it, what is left has no exact price (`is_exact`).

A piece is a list in the state: the number of its first line and how many it has, and its parts, one for each
of the bounds that its lines were priced with. A part is the place of these in `bounds`, the zone in which its
lines were put together (None: they cost the same a unit), its quantity, and the exact price of all of it in
each step, in micro-credits as they are charged. Zones are what is included, then the steps; of volume there
is one step.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

PIECES_MAX: Final = 128
"""That a period keeps apart: its state is read and written whole with each line, some 100 bytes for each."""

GRADUATED: Final = "graduated"
"""Each piece costs by the steps that it lies in."""
VOLUME: Final = "volume"
"""All pieces beyond what is included cost by the step that has been reached."""

Bounds = Sequence[Any]
"""How steps are meant (graduated or volume), what is included, and where each step but the last ends."""

_ZERO = Fraction(0)


def parts(bounds: Bounds, before: int, used: int) -> list[int]:
    """How much of what is used lies in each step; of nothing, the step that it stands at takes all.

    Of volume there is one step: all beyond what is included.
    """
    ends = _ends(bounds)
    made, start = [], ends[0]
    for end in (*ends[1:], None):
        if used:
            top = before + used if end is None else min(before + used, end)
            made.append(max(top - max(before, start), 0))
        else:
            made.append(int(start <= before and (end is None or before < end)))
        start = end if end is not None else start
    return made


def append(state: dict[str, Any], bounds: Bounds, used: int, prices: Sequence[Fraction]) -> Fraction:
    """Adds a line of so much to what a period holds; returns what the period amounts to more (or less).

    `state["last"]` is the line's number then.
    """
    number = state["last"] = state.get("last", 0) + 1
    before = state.get("count", 0)
    place = place_of(state, bounds)
    counted = state["bounds"][place]
    moved = _ZERO
    has_moved = bounds[0] == VOLUME and _step(bounds, counted[1]) != _step(bounds, before + used)
    if has_moved:
        moved -= total(state, place)
    state["count"] = before + used
    counted[1:] = [before + used, number]
    if has_moved:
        moved += total(state, place)
    pieces = state.setdefault("pieces", [])
    pieces.append([number, 1, [[place, None, used, list(map(str, prices))]]])
    _join_last(state, pieces, before)
    if len(pieces) > PIECES_MAX:
        _join_some(state, pieces)
    return moved + value(bounds, before, used, prices, before + used)


def take_away(
    state: dict[str, Any], number: int, place: int, used: int, prices: Sequence[Fraction]
) -> Fraction:
    """Takes a line out again; returns what the period amounts to less (or, below 0, more) without it.

    `place`: of its bounds, as `place_of` reported it.
    """
    before = total(state)
    pieces = state["pieces"]
    at = bisect_right(pieces, number, key=_first) - 1
    piece = pieces[at]
    if piece[1] == 1:
        del pieces[at]
    else:
        piece[1] -= 1
        part = next(part for part in piece[2] if part[0] == place)
        part[2] -= used
        part[3] = [str(Fraction(price) - less) for price, less in zip(part[3], prices, strict=True)]
    state["count"] -= used
    for counted in state["bounds"]:
        if counted[2] >= number:
            counted[1] -= used
    return before - total(state)


def place_of(state: dict[str, Any], bounds: Bounds) -> int:
    """Where a period keeps bounds, with how much it had counted at their last line, and which."""
    known: list[list[Any]] = state.setdefault("bounds", [])
    for place, counted in enumerate(known):
        if counted[0] == bounds:
            return place
    known.append([list(bounds), 0, 0])
    return len(known) - 1


def is_exact(state: Mapping[str, Any]) -> bool:
    """Whether all that was put together lies in one zone."""
    return all(
        _is_whole(state["bounds"][part[0]][0], position, _quantity(piece), part[1])
        for position, piece in _lying(state)
        for part in piece[2]
    )


def value(bounds: Bounds, position: int, used: int, prices: Sequence[Fraction], reached: int = 0) -> Fraction:
    """What so much at a position amounts to; `reached`: how much has been counted, for volume."""
    whole = used or 1
    lying = parts(bounds, position, used)
    if bounds[0] == VOLUME:
        return prices[_step(bounds, reached)] * Fraction(lying[0], whole)
    return sum(
        (price * Fraction(part, whole) for price, part in zip(prices, lying, strict=True) if part), _ZERO
    )


def total(state: Mapping[str, Any], place: int | None = None) -> Fraction:
    """What a period amounts to, in micro-credits as they are charged: by one place's bounds, or all."""
    return sum(
        (
            _value_of(state, position, part)
            for position, piece in _lying(state)
            for part in piece[2]
            if place is None or part[0] == place
        ),
        _ZERO,
    )


def _value_of(state: Mapping[str, Any], position: int, part: Sequence[Any]) -> Fraction:
    """What a part amounts to where it lies now."""
    place, _, quantity, texts = part
    bounds, reached, _ = state["bounds"][place]
    return value(bounds, position, quantity, list(map(Fraction, texts)), reached)


def _lying(state: Mapping[str, Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Each piece after where it begins now."""
    position = 0
    for piece in state.get("pieces", ()):
        yield position, piece
        position += _quantity(piece)


def _quantity(piece: Sequence[Any]) -> int:
    quantity: int = sum([part[2] for part in piece[2]])
    return quantity


def _step(bounds: Bounds, reached: int) -> int:
    """The step that a quantity has reached; one that fills a step is in it."""
    return bisect_left(bounds, reached, lo=2) - 2


def _ends(bounds: Bounds) -> list[int]:
    """What is included, and where each step ends whose price begins to count there."""
    return list(bounds[1:2] if bounds[0] == VOLUME else bounds[1:])


# --- pieces that become one --------------------------------------------------------------------------------


def _join_last(state: Mapping[str, Any], pieces: list[Any], position: int) -> None:
    """Puts the newest piece, at a position, to the one before it, if they cost the same a unit or stay.

    Or if that one was put together in the zone: nothing is gained by keeping apart what lies beyond it.
    """
    if len(pieces) == 1:
        return
    before, newest = pieces[-2:]
    [(place, _, used, prices)] = newest[2]
    if len(before[2]) == 1:
        own, zone, quantity, whole = before[2][0]
        if own == place and zone is None and _costs_alike(quantity, whole, used, prices):
            _join(pieces, len(pieces) - 2, {place: None})
            return
    zones = _shared_zones(state, position - _quantity(before), before, newest)
    if zones is None:
        return
    bound = {part[0]: part[1] for part in before[2]}
    if all(zone in (bound.get(own), _zone(state["bounds"][own][0], 0, 0)) for own, zone in zones.items()):
        _join(pieces, len(pieces) - 2, zones)


def _costs_alike(quantity: int, whole: Sequence[str], used: int, prices: Sequence[str]) -> bool:
    if not quantity or not used:
        return not quantity and not used
    return all(
        Fraction(price) * used == Fraction(other) * quantity
        for price, other in zip(whole, prices, strict=True)
    )


def _join_some(state: Mapping[str, Any], pieces: list[Any]) -> None:
    """Puts the last two neighbours together of which each lies in one zone; others stay, one a step's end."""
    lying = list(_lying(state))
    for at in range(len(pieces) - 2, -1, -1):
        zones = _shared_zones(state, lying[at][0], *pieces[at : at + 2])
        if zones is not None:
            _join(pieces, at, zones)
            return


def _shared_zones(
    state: Mapping[str, Any], position: int, piece: Sequence[Any], following: Sequence[Any]
) -> Mapping[int, int] | None:
    """The zone of each of two neighbours' bounds that both lie in; None: they do not."""
    zones: dict[int, int] = {}
    middle = position + _quantity(piece)
    for place in {part[0] for part in (*piece[2], *following[2])}:
        bounds = state["bounds"][place][0]
        zone = _zone(bounds, position, middle - position)
        if zone is None or zone != _zone(bounds, middle, _quantity(following)):
            return None
        zones[place] = zone
    return zones


def _join(pieces: list[Any], at: int, zones: Mapping[int, int | None]) -> None:
    """Makes one piece of two; `zones`: in which it lies, by place."""
    piece, following = pieces[at], pieces.pop(at + 1)
    piece[1] += following[1]
    joined = {part[0]: part for part in piece[2]}
    for part in following[2]:
        known = joined.setdefault(part[0], part)
        if known is not part:
            known[2] += part[2]
            known[3] = [
                str(Fraction(one) + Fraction(two)) for one, two in zip(known[3], part[3], strict=True)
            ]
    for place, part in joined.items():
        part[1] = zones[place]
    piece[2] = list(joined.values())


def _zone(bounds: Bounds, position: int, quantity: int) -> int | None:
    """Which step a piece lies in; None: in several."""
    ends = _ends(bounds)
    zone = bisect_right(ends, position)
    return zone if not quantity or bisect_left(ends, position + quantity) == zone else None


def _is_whole(bounds: Bounds, position: int, quantity: int, made_in: int | None) -> bool:
    """Whether a part that was put together in a zone lies in one now.

    One that has moved must not end where a zone does: a line of nothing at its end stands in the next.
    """
    if made_in is None:
        return True
    zone = _zone(bounds, position, quantity)
    return zone == made_in or (zone is not None and position + quantity not in _ends(bounds))


def _first(piece: Sequence[Any]) -> int:
    number: int = piece[0]
    return number
