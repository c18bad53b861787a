"""Pieces: what the usage of a period would cost in each step, in the order in which it came.

What a period comes to follows from its pieces alone. So a line can be taken out of them again, and what is
left comes to what it would have come to without that line: what came after it moves down.

Lines that cost the same a unit make one piece, and so do those of the lowest step, which cannot move. Of
others at most `PIECES_MAX` are kept apart: beyond that those furthest above the beginning of their step are
put together, and where a reversal moves the beginning of a step into them, they cost their average there.

A piece is a list in the state: the number of its first line and how many it has, its quantity, its bounds (by
their place in `bounds`), and the exact price of all of it in each step, in micro-credits as they are charged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

PIECES_MAX = 32
"""That a period keeps apart: its state is read and written whole with each line."""

GRADUATED: Final = "graduated"
"""Each piece costs by the steps that it lies in."""
VOLUME: Final = "volume"
"""All pieces beyond what is included cost by the step that has been reached."""

Bounds = Sequence[Any]
"""How steps are meant (graduated or volume), what is included, and where each step but the last ends."""

_SETTLED = -1
"""Place of the bounds of a piece that costs what it came to, wherever it lies."""
_ZERO = Fraction(0)


def parts(bounds: Bounds, before: int, used: int) -> list[int]:
    """Return how much of what is used lies in each step; of nothing, the step that it stands at takes all.

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
    """Add a line of so much to what a period keeps; return what the period comes to more (or less)."""
    number = state["last"] = state.get("last", 0) + 1
    before = state.get("count", 0)
    place = _place(state, bounds)
    is_volume = bounds[0] == VOLUME
    owed = -_total_of(state, place) if is_volume else value(bounds, before, used, prices)
    state["count"] = before + used
    state["bounds"][place][1:] = [before + used, number]
    pieces = state.setdefault("pieces", [])
    pieces.append([number, 1, used, place, list(map(str, prices))])
    _join_last(pieces, bounds, before)
    if is_volume:
        owed += _total_of(state, place)
    if len(pieces) > PIECES_MAX:
        _join_some(state, pieces)
    return owed


def take_away(
    state: dict[str, Any], number: int, used: int, prices: Sequence[Fraction], owed: Fraction
) -> Fraction:
    """Take a line out again; return what the period comes to less (or, below 0, more) without it.

    `owed` is what the period came to more when the line was added.
    """
    before = total(state)
    pieces = state["pieces"]
    at = bisect_right(pieces, number, key=_first) - 1
    first, lines, quantity, place, whole = pieces[at]
    taken = [owed] if place == _SETTLED else prices
    rest = [Fraction(price) - less for price, less in zip(whole, taken, strict=True)]
    if lines > 1:
        pieces[at] = [first, lines - 1, quantity - used, place, list(map(str, rest))]
    else:
        del pieces[at]
    state["count"] -= used
    for kept in state["bounds"]:
        if kept[2] >= number:
            kept[1] -= used
    return before - total(state)


def value(bounds: Bounds, position: int, used: int, prices: Sequence[Fraction], reached: int = 0) -> Fraction:
    """Return what so much at a position comes to; `reached`: how much has been counted, for volume."""
    whole = used or 1
    lying = parts(bounds, position, used)
    if bounds[0] == VOLUME:
        return prices[_step(bounds, reached)] * Fraction(lying[0], whole)
    return sum(
        (price * Fraction(part, whole) for price, part in zip(prices, lying, strict=True) if part), _ZERO
    )


def total(state: Mapping[str, Any]) -> Fraction:
    """Return what a period comes to, in micro-credits as they are charged."""
    return sum((value for _, value in _values(state)), _ZERO)


def _total_of(state: Mapping[str, Any], place: int) -> Fraction:
    return sum((value for own, value in _values(state) if own == place), _ZERO)


def _values(state: Mapping[str, Any]) -> Iterator[tuple[int, Fraction]]:
    """Give what each piece comes to where it lies now, after the place of its bounds."""
    position = 0
    for _, _, quantity, place, texts in state.get("pieces", ()):
        if place == _SETTLED:
            yield place, Fraction(texts[0])
        else:
            bounds, reached, _ = state["bounds"][place]
            yield place, value(bounds, position, quantity, list(map(Fraction, texts)), reached)
        position += quantity


def _step(bounds: Bounds, reached: int) -> int:
    """Return the step that a quantity has reached; one that fills a step is in it."""
    return bisect_left(bounds, reached, lo=2) - 2


def _ends(bounds: Bounds) -> list[int]:
    """Return what is included, and where each step ends whose price begins to count there."""
    return list(bounds[1:2] if bounds[0] == VOLUME else bounds[1:])


def _place(state: dict[str, Any], bounds: Bounds) -> int:
    """Return where a period keeps bounds, with how much it had counted at their last line, and which."""
    known: list[list[Any]] = state.setdefault("bounds", [])
    for place, kept in enumerate(known):
        if kept[0] == bounds:
            return place
    known.append([list(bounds), 0, 0])
    return len(known) - 1


# --- pieces that become one --------------------------------------------------------------------------------


def _join_last(pieces: list[Any], bounds: Bounds, before: int) -> None:
    """Put the newest piece to the one before it, if they cost the same a unit or cannot move apart."""
    if len(pieces) == 1:
        return
    (_, _, quantity, place, whole), (_, _, used, own, prices) = pieces[-2:]
    if place != own:
        return
    lowest = _zone(bounds, 0, 0)
    is_low = _zone(bounds, before - quantity, quantity) == lowest == _zone(bounds, before, used)
    if is_low or _costs_alike(quantity, whole, used, prices):
        _join(pieces, len(pieces) - 2)


def _costs_alike(quantity: int, whole: Sequence[str], used: int, prices: Sequence[str]) -> bool:
    if not quantity or not used:
        return not quantity and not used
    return all(
        Fraction(price) * used == Fraction(other) * quantity
        for price, other in zip(whole, prices, strict=True)
    )


def _join_some(state: Mapping[str, Any], pieces: list[Any]) -> None:
    """Put two neighbours together: the last that lie in one step, else the last, at what they come to."""
    positions = [0]
    for _, _, quantity, _, _ in pieces:
        positions.append(positions[-1] + quantity)
    for at in range(len(pieces) - 2, -1, -1):
        place = pieces[at][3]
        if place != pieces[at + 1][3]:
            continue
        zones = {
            _SETTLED if place == _SETTLED else _zone(state["bounds"][place][0], positions[n], pieces[n][2])
            for n in (at, at + 1)
        }
        if len(zones) == 1 and None not in zones:
            _join(pieces, at)
            return
    values = [value for _, value in _values(state)][-2:]
    for n, value in enumerate(values, len(pieces) - 2):
        pieces[n][3:] = [_SETTLED, [str(value)]]
    _join(pieces, len(pieces) - 2)


def _join(pieces: list[Any], at: int) -> None:
    first, lines, quantity, place, whole = pieces[at]
    _, more, used, _, prices = pieces.pop(at + 1)
    added = [str(Fraction(price) + Fraction(other)) for price, other in zip(whole, prices, strict=True)]
    pieces[at] = [first, lines + more, quantity + used, place, added]


def _zone(bounds: Bounds, position: int, quantity: int) -> int | None:
    """Return which step a piece lies in; None: in several."""
    ends = _ends(bounds)
    zone = bisect_right(ends, position)
    return zone if not quantity or bisect_left(ends, position + quantity) == zone else None


def _first(piece: Sequence[Any]) -> int:
    number: int = piece[0]
    return number
