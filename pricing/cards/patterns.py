"""Patterns, of which selectors are made: exact names, or globs whose `*` stands for any text, or none.

Many of them are not tried one by one. A glob is filed under a piece of its text that few others have; only
names that hold the piece, at its place, are tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")
Test = Callable[[str], object]


def is_glob(pattern: str) -> bool:
    """Tells a glob from an exact name."""
    return "*" in pattern


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns matches a name."""
    return any(covers(pattern, name) for pattern in patterns)


def covers(wide: str, narrow: str) -> bool:
    """Whether all that `narrow` matches is matched by `wide` too.

    A `*` of `narrow` may stand for a letter that `wide` never names, so only a `*` of `wide` can take it:
    matching the pattern itself as text decides.
    """
    return bool(compile_pattern(wide)(narrow))


def meet(one: str, other: str) -> bool:
    """Whether some name is matched by both patterns."""
    # Row by row: whether the rest of `one` and the rest of `other` have a text in common.
    common = [True] * (len(other) + 1)
    for at in range(len(other) - 1, -1, -1):
        common[at] = other[at] == "*" and common[at + 1]
    for letter in reversed(one):
        below, common = common, [False] * (len(other) + 1)
        common[-1] = letter == "*" and below[-1]
        for at in range(len(other) - 1, -1, -1):
            if "*" in (letter, other[at]):
                common[at] = below[at] or common[at + 1]
            else:
                common[at] = letter == other[at] and below[at + 1]
    return common[0]


def compile_pattern(pattern: str) -> Test:
    """Compiles a pattern to a test of a name; what it returns is true if it matches."""
    if not is_glob(pattern):
        return pattern.__eq__
    first, *middle, last = pattern.split("*")
    if not middle and not last:
        return partial(_begins, first)
    return partial(_holds, first, middle, last)


def compile_patterns(patterns: Sequence[str]) -> Test:
    """Compiles patterns to a test of a name; what it returns is true if one of them matches."""
    if not any(map(is_glob, patterns)):
        return frozenset(patterns).__contains__
    tests = [compile_pattern(pattern) for pattern in patterns]
    return tests[0] if len(tests) == 1 else partial(_one_holds, tests)


def _begins(first: str, name: str) -> bool:
    return name.startswith(first)


def _holds(first: str, middle: Iterable[str], last: str, name: str) -> bool:
    """Whether a name begins and ends with two texts, and holds others between them, in their order."""
    at, end = len(first), len(name) - len(last)
    if not (name.startswith(first) and name.endswith(last)):
        return False
    for text in middle:
        at = name.find(text, at, end)
        if at < 0:
            return False
        at += len(text)
    return at <= end


def _one_holds(tests: Iterable[Test], name: str) -> bool:
    return any(test(name) for test in tests)


class Index(Generic[V]):
    """Values of patterns, found by a name that the patterns match, or by a pattern that they cover."""

    __slots__ = ("_anywhere", "_beginnings", "_endings", "_exact", "_rest")

    def __init__(self, values: Iterable[tuple[str, V]]) -> None:
        """Takes each pattern once, with its value."""
        self._exact: dict[str, V] = {}
        self._rest: list[V] = []
        """Of globs without any text: they match all."""
        self._beginnings: _Filed[V] = {}
        self._endings: _Filed[V] = {}
        self._anywhere: _Filed[V] = {}
        globs = []
        for pattern, value in values:
            if is_glob(pattern):
                globs.append((pattern, value, _pieces(pattern)))
            else:
                self._exact[pattern] = value
        common = Counter(piece for _, _, pieces in globs for piece in pieces)
        for pattern, value, pieces in globs:
            if not pieces:
                self._rest.append(value)
                continue
            place, text = min(pieces, key=lambda piece: (common[piece], -len(piece.text)))
            filed = (self._beginnings, self._endings, self._anywhere)[place]
            filed.setdefault(len(text), {}).setdefault(text, []).append((compile_pattern(pattern), value))

    def find(self, name: str) -> list[V]:
        """The values of the patterns that match a name, in no order."""
        found = self._rest.copy()
        if name in self._exact:
            found.append(self._exact[name])
        for length, filed in self._beginnings.items():
            found += [value for test, value in filed.get(name[:length], ()) if test(name)]
        for length, filed in self._endings.items():
            found += [value for test, value in filed.get(name[-length:], ()) if test(name)]
        for length, filed in self._anywhere.items():
            pieces = {name[at : at + length] for at in range(len(name) - length + 1)}
            found += [value for piece in pieces for test, value in filed.get(piece, ()) if test(name)]
        return found


_Filed = dict[int, dict[str, list[tuple[Test, V]]]]
"""Globs by a piece of theirs, and those by its length."""
_BEGINNING, _ENDING, _ANYWHERE = range(3)


class _Piece(NamedTuple):
    """A text that a name has to hold, and where, to match a glob."""

    place: int
    text: str


def _pieces(pattern: str) -> list[_Piece]:
    first, *middle, last = pattern.split("*")
    pieces = [_Piece(_BEGINNING, first), _Piece(_ENDING, last), *(_Piece(_ANYWHERE, text) for text in middle)]
    return [piece for piece in pieces if piece.text]
