"""YAML that knows where it stands: files read into pydantic models, every problem with file, line and column.

    plan = load_model(Path("plans.yaml"), Plans)        # raises ConfigError with all problems of the file

Validators of a model raise `RefusedError` to say what to write instead. No document of ours holds a float, so
the reader refuses them all; aliases, tags and repeated keys too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

M = TypeVar("M", bound=BaseModel)
Loc = tuple[int | str, ...]
"""A path of keys and indexes from the document's root."""

_TAG = "tag:yaml.org,2002:"
_CONSTANTS = {"null": None, "~": None, "": None, "true": True, "false": False}
_MESSAGES = {
    "string_type": "must be text: put it in quotes",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
}


class Problem(NamedTuple):
    """Something wrong in a file; `line` and `column` count from 1, 0 where a file has none."""

    file: str
    line: int
    column: int
    message: str
    hint: str
    """What to write instead; empty if the message says it all."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """Configuration that cannot be used; `problems` are all that were found, in order of file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RefusedError(ValueError):
    """Raised by a model's validator: what is wrong, what to write instead, and where.

    `at` is a path below what is validated; if it ends in a key, the problem is shown at the key itself.
    """

    def __init__(self, message: str, hint: str = "", at: Loc = ()) -> None:
        self.message = message
        self.hint = hint
        self.at = at
        super().__init__(message)


class Strict(BaseModel):
    """Base of what is read from YAML: no unknown key, no conversion between types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one document stand."""

    file: str
    values: Mapping[Loc, tuple[int, int]]
    keys: Mapping[Loc, tuple[int, int]]

    def problem(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """Return a problem at `loc`, or at the nearest part above it that the document holds."""
        places = self.keys if key else self.values
        while loc and loc not in places:
            loc = loc[:-1]
        line, column = places.get(loc) or self.values.get(loc, (1, 1))
        return Problem(self.file, line, column, message, hint)


@dataclass(frozen=True, slots=True)
class Located(Generic[M]):
    """A valid model, the plain values and the text that it was made from, and where its parts stand."""

    model: M
    plain: Any
    text: str
    places: Places


def load_model(path: Path, model: type[M]) -> M:
    """Return the model that the YAML file at `path` states. Raises ConfigError with every problem found."""
    return read_file(path, model).model


def read_file(path: Path, model: type[M]) -> Located[M]:
    """Like `load_model`, with the places of its parts."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", "")
        raise ConfigError([problem]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), 0, 0, "is not UTF-8 text", "")]) from error
    return read_text(text, model, str(path))


def read_text(text: str, model: type[M], file: str) -> Located[M]:
    """Return the model that a YAML text states; `file` names the text in problems."""
    reader = _Reader(file)
    value = reader.read(text)
    places = Places(file, reader.values, reader.keys)
    if value is None and not reader.problems:
        raise ConfigError([Problem(file, 0, 0, "is empty", "")])
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        refused = {problem[:3] for problem in reader.problems}
        found_too = _problems(error, model, places)
        reader.problems += [problem for problem in found_too if problem[:3] not in refused]
    if reader.problems:
        raise ConfigError(sorted(set(reader.problems)))
    return Located(found, value, text, places)


@dataclass(slots=True)
class _Reader:
    """Turns the nodes of a YAML document into plain values and notes where each stands."""

    file: str
    values: dict[Loc, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Loc, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def read(self, text: str) -> object:
        try:
            node = YAML(typ="safe", pure=True).compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            raise ConfigError(
                [Problem(self.file, line, column, f"is not YAML: {error.problem}", "")]
            ) from error
        except YAMLError as error:
            raise ConfigError([Problem(self.file, 0, 0, f"is not YAML: {error}", "")]) from error
        return None if node is None else self.value(node, ())

    def value(self, node: Node, loc: Loc) -> object:
        self.values[loc] = _place(node)
        if id(node) in self.seen:
            self.refuse(node, "an alias is not taken here", "write the part out")
            return None
        self.seen.add(id(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, loc)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return self.scalar(node) if isinstance(node, ScalarNode) else None

    def mapping(self, node: MappingNode, loc: Loc) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.refuse(key_node, "a key must be text", "")
                continue
            key = key_node.value
            if key in result:
                self.refuse(key_node, f"the key {key!r} stands here twice", "keep one of them")
                continue
            self.keys[*loc, key] = _place(key_node)
            result[key] = self.value(value_node, (*loc, key))
        return result

    def scalar(self, node: ScalarNode) -> object:
        text: str = node.value
        match str(node.tag).removeprefix(_TAG):
            case "str" | "timestamp":
                return text
            case "int":
                return self.integer(node)
            case "bool" | "null":
                return _CONSTANTS[text.lower()]
            case "float":
                self.refuse(node, f"{text} is a float, and floats are not exact", f'write "{text}" in quotes')
                return text
            case tag:
                self.refuse(node, f"the tag {tag!r} is not taken here", "write a plain value")
                return None

    def integer(self, node: ScalarNode) -> int:
        try:
            return int(node.value)
        except ValueError:
            self.refuse(node, f"{node.value} is not a decimal number", "write decimal digits")
            return 0

    def refuse(self, node: Node, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, *_place(node), message, hint))


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _problems(error: ValidationError, model: type[BaseModel], places: Places) -> Iterator[Problem]:
    for found in error.errors(include_url=False):
        loc: Loc = tuple(part for part in found["loc"] if part != "[key]")
        cause = found.get("ctx", {}).get("error")
        name = repr(loc[-1]) if loc else "the document"
        if isinstance(cause, RefusedError):
            key = "[key]" in found["loc"] or bool(cause.at and isinstance(cause.at[-1], str))
            yield places.problem(loc + cause.at, cause.message, cause.hint, key=key)
        elif found["type"] == "extra_forbidden":
            allowed = ", ".join(_keys_allowed(model, loc[:-1]))
            yield places.problem(loc, f"unknown key {name}", f"allowed here: {allowed}", key=True)
        elif found["type"] == "missing":
            above = loc[:-1]
            key = bool(above) and isinstance(above[-1], str)
            yield places.problem(above, f"the key {name} is missing", key=key)
        else:
            message = _MESSAGES.get(found["type"]) or found["msg"].replace("Input should", "should")
            yield places.problem(loc, f"{name}: {message}")


def _keys_allowed(annotation: Any, loc: Loc) -> Sequence[str]:
    """Return the keys of the model that stands at `loc` below a model or a type made of models."""
    annotation = _plain(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return list(annotation.model_fields)
        return _keys_allowed(annotation.model_fields[str(loc[0])].annotation, loc[1:])
    return _keys_allowed(get_args(annotation)[-1], loc[1:])


def _plain(annotation: Any) -> Any:
    """Strip `Annotated` and `| None` from a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
        else:
            return annotation
