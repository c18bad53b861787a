"""YAML read into plain values, each with its place: text, whole numbers, booleans, null, lists and mappings.

libyaml finds the words, this module what they mean: YAML 1.2, so that `yes` and `on` are text. No document of
ours holds a float, so floats are refused; aliases, tags and repeated keys too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yaml.cyaml import CBaseLoader
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

Loc = tuple[int | str, ...]
"""A path of keys and indexes from the document's root."""
Place = tuple[int, int]
"""Line and column, from 1."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What the database takes in no text, and nobody sees in one; line breaks and tabs are none."""
_DEPTH_MAX = 50
"""Lists and mappings within each other."""
_TAG = "tag:yaml.org,2002:"
_CONSTANTS = {
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_BEGINS = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(?:[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
    re.ASCII,
)


class Refused(NamedTuple):
    """Something that is YAML, but not taken here."""

    place: Place
    message: str
    hint: str
    is_text: bool = False
    """Its text was taken for its value, which may be refused too."""


class NotYamlError(Exception):
    """Raised on text that is not YAML; `place` is (0, 0) where none is known."""

    def __init__(self, place: Place, message: str) -> None:
        self.place = place
        super().__init__(message)


@dataclass(slots=True)
class Document:
    """A document's plain value, where its parts stand, and what is not taken of it."""

    value: object = None
    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)


def read_plain(text: str) -> Document:
    """The one document of a YAML text; an empty text is null. Raises NotYamlError."""
    try:
        return _Reader(CBaseLoader(text)).read()
    except MarkedYAMLError as error:
        mark, message = error.problem_mark or error.context_mark, str(error.problem)
        began, end = error.context_mark, _end(text)
        if mark and began and (began.line, began.column) < end <= (mark.line, mark.column):
            mark, message = began, f"not closed to the end of the text: {message}"
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise NotYamlError(place, message) from error
    except YAMLError as error:
        raise NotYamlError((0, 0), str(error)) from error


def _end(text: str) -> Place:
    """Where the last word of a text ends, from 0."""
    lines = text.rstrip().split("\n")
    return len(lines) - 1, len(lines[-1])


class _Reader:
    """Turns the events of a parser into a document."""

    def __init__(self, parser: CBaseLoader) -> None:
        self._next: Callable[[], Any] = parser.get_event
        self._found = Document()
        self._depth = 0

    def read(self) -> Document:
        """Reads the whole stream: its beginning, a document or none, and its end."""
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            self._found.value = self._value(self._next(), ())
            self._next()
            after = self._next()
            if not isinstance(after, StreamEndEvent):
                raise NotYamlError(_place(after), "expected one document, but found another")
        return self._found

    def _value(self, event: Event, loc: Loc) -> object:
        self._found.values[loc] = _place(event)
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if isinstance(event, AliasEvent):
            self._refuse(event, "an alias is not taken here", "write the part out")
            return None
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise NotYamlError(_place(event), f"lists and mappings go deeper than {_DEPTH_MAX}")
        value = self._mapping(loc) if isinstance(event, MappingStartEvent) else self._sequence(loc)
        self._depth -= 1
        return value

    def _sequence(self, loc: Loc) -> list[object]:
        result: list[object] = []
        while type(event := self._next()) is not SequenceEndEvent:
            result.append(self._value(event, (*loc, len(result))))
        return result

    def _mapping(self, loc: Loc) -> dict[str, object]:
        result: dict[str, object] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key = event.value if type(event) is ScalarEvent else None
            if key is None:
                self._refuse(event, "a key must be text", "")
                self._skip(event)
                self._skip(self._next())
            elif key in result:
                self._refuse(event, f"the key {key!r} stands here twice", "keep one of them")
                self._skip(self._next())
            else:
                self._check(event, key)
                below = (*loc, key)
                self._found.keys[below] = _place(event)
                result[key] = self._value(self._next(), below)
        return result

    def _skip(self, event: Event) -> None:
        """Reads over the node that an event begins."""
        depth = 0
        while True:
            if isinstance(event, MappingStartEvent | SequenceStartEvent):
                depth += 1
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                depth -= 1
            if not depth:
                return
            event = self._next()

    def _scalar(self, event: ScalarEvent) -> object:
        text: str = event.value
        self._check(event, text)
        if event.tag is None:
            return self._plain(event, text) if event.implicit[0] else text
        match event.tag.removeprefix(_TAG):
            case "str" | "timestamp":
                return text
            case "int":
                return self._integer(event, text)
            case "bool" | "null" if text in _CONSTANTS:
                return _CONSTANTS[text]
            case "float":
                return self._refuse_float(event, text)
            case tag:
                self._refuse(event, f"the tag {tag!r} is not taken here", "write a plain value")
                return None

    def _check(self, event: Event, text: str) -> None:
        if not text.isprintable() and (found := _CONTROL.search(text)):
            message = f"the control character U+{ord(found[0]):04X} is not taken here"
            self._refuse(event, message, "write printable text; line breaks and tabs may be in it")

    def _plain(self, event: ScalarEvent, text: str) -> object:
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text[0] not in _NUMBER_BEGINS:
            return text
        if _INTEGER.fullmatch(text):
            return self._integer(event, text)
        return self._refuse_float(event, text) if _FLOAT.fullmatch(text) else text

    def _integer(self, event: ScalarEvent, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            self._refuse(event, f"{text} is not a decimal number", "write decimal digits")
            return 0

    def _refuse_float(self, event: ScalarEvent, text: str) -> str:
        message, hint = f"{text} is a float, and floats are not exact", f'write "{text}" in quotes'
        self._found.refused.append(Refused(_place(event), message, hint, is_text=True))
        return text

    def _refuse(self, event: Event, message: str, hint: str) -> None:
        self._found.refused.append(Refused(_place(event), message, hint))


def _place(event: Event) -> Place:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1
