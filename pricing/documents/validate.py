"""YAML that knows where it stands: files read into pydantic models, every problem with file, line and column.

    plan = load_model(Path("plans.yaml"), Plans)        # raises ConfigError with all problems of the file

Validators of a model raise `RefusedError` to say what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from pricing.documents.yaml_reader import Document, Loc, NotYamlError, Place, read_plain

M = TypeVar("M", bound=BaseModel)

_MESSAGES: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "string_type": ("must be text", lambda key: f'put it in quotes, such as {key}: "1"'),
    "dict_type": ("must be a mapping", lambda key: f"write keys and values: {key}: {{key: value}}"),
    "list_type": ("must be a list", lambda key: f"write {key}: [...], or each entry in a line after a dash"),
    "int_type": ("must be a whole number", lambda key: f"write {key}: 1, without quotes"),
    "bool_type": ("must be true or false", lambda key: f"write {key}: true"),
    "string_too_short": ("is empty", lambda key: f"write some text, such as {key}: example"),
}
"""By pydantic's type of an error: what is wrong, and what to write instead."""

_BOUNDS: Mapping[str, str] = {
    "too_short": "has {actual_length} entries; {min_length} or more are needed",
    "too_long": "has more than {max_length} entries",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "is not of the pattern {pattern}",
}
"""The same for what is bounded, with the bounds that pydantic tells."""


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
    values: Mapping[Loc, Place]
    keys: Mapping[Loc, Place]

    def problem(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem at `loc`, or at the nearest part above it that the document holds."""
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
    """The model that the YAML file at `path` states. Raises ConfigError with every problem found."""
    return read_file(path, model).model


def read_file(path: Path, model: type[M]) -> Located[M]:
    """Like `load_model`, with the places of its parts."""
    try:
        _refuse_what_may_never_end(path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", "")
        raise ConfigError([problem]) from error
    except UnicodeDecodeError as error:
        place = _place_after(error.object[: error.start])
        raise ConfigError([Problem(str(path), *place, "is not UTF-8 text", "save it as UTF-8")]) from error
    return read_text(text, model, str(path))


def _refuse_what_may_never_end(path: Path) -> None:
    """Whoever opens a pipe waits for its writer, and a device may have no end. Links are followed."""
    mode = path.stat().st_mode
    if not S_ISREG(mode) and not S_ISDIR(mode):
        hint = "put a file there, or a link to one"
        raise ConfigError([Problem(str(path), 0, 0, "is a pipe or a device, and is not read", hint)])


def read_text(text: str, model: type[M], file: str) -> Located[M]:
    """The model that a YAML text states; `file` names the text in problems."""
    document = _read(text, file)
    places = Places(file, document.values, document.keys)
    problems = [Problem(file, *place, message, hint) for place, message, hint, _ in document.refused]
    if document.value is None and not problems:
        hint = f"write {', '.join(f'{key}: ...' for key in _keys_needed(model))}"
        raise ConfigError([Problem(file, 1, 1, "is empty", hint)])
    try:
        found = model.model_validate(document.value)
    except ValidationError as error:
        texts = {(file, *refused.place) for refused in document.refused if refused.is_text}
        problems = _together(problems, list(_problems(error, model, places)), texts)
    if problems:
        raise ConfigError(sorted(set(problems)))
    return Located(found, document.value, text, places)


def _together(
    written: Sequence[Problem], values: Sequence[Problem], texts: Collection[tuple[str, int, int]]
) -> list[Problem]:
    """One problem for each place that may have two: how it is written, and what its value is.

    Where the text was taken for the value (`texts`) advice is the value's: quotes alone would not do.
    """
    advice = {problem[:3]: problem.hint for problem in values if problem.hint and problem[:3] in texts}
    refused = {problem[:3] for problem in written}
    return [
        *(problem._replace(hint=advice.get(problem[:3], problem.hint)) for problem in written),
        *(problem for problem in values if problem[:3] not in refused),
    ]


def _place_after(text: bytes) -> Place:
    """Line and column of what comes after the UTF-8 text of a file's beginning."""
    lines = text.decode().split("\n")
    return len(lines), len(lines[-1]) + 1


def _read(text: str, file: str) -> Document:
    try:
        return read_plain(text)
    except NotYamlError as error:
        raise ConfigError([Problem(file, *error.place, f"is not YAML: {error}", "")]) from error


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
            yield _mistyped(found, model, loc, places)


def _mistyped(found: ErrorDetails, model: type[BaseModel], loc: Loc, places: Places) -> Problem:
    """The problem of a value that is not what its key asks for."""
    key = next((part for part in reversed(loc) if isinstance(part, str)), "key")
    name = repr(key) if loc else "the document"
    if loc and isinstance(loc[-1], int):
        name += f", entry {loc[-1] + 1}"
    if found["input"] is None:
        return places.problem(loc, f"{name}: is empty", "write a value")
    if found["type"] == "model_type":
        needed = ", ".join(f"{key}: ..." for key in _keys_needed(_model_at(model, loc)))
        hint = f"write {{{needed}}}" if loc else f"write {needed}, each in a line of its own"
        return places.problem(loc, f"{name}: must be a mapping", hint)
    message, hint_of = _MESSAGES.get(found["type"], ("", None))
    if hint_of is None:
        bound = _BOUNDS.get(found["type"])
        message = found["msg"].replace("Input should", "should")
        if bound is not None:
            message = bound.format(**found.get("ctx", {}))
        return places.problem(loc, f"{name}: {message}")
    return places.problem(loc, f"{name}: {message}", hint_of(key))


def _keys_allowed(model: type[BaseModel], loc: Loc) -> Sequence[str]:
    return list(_model_at(model, loc).model_fields)


def _keys_needed(model: type[BaseModel]) -> Sequence[str]:
    """The keys that a model cannot be without; one that it may have, where it needs none."""
    needed = [key for key, field in model.model_fields.items() if field.is_required()]
    return needed or list(model.model_fields)[:1]


def _model_at(annotation: Any, loc: Loc) -> type[BaseModel]:
    """The model that stands at `loc` below a model or a type made of models."""
    annotation = _plain(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return annotation
        return _model_at(annotation.model_fields[str(loc[0])].annotation, loc[1:])
    return _model_at(get_args(annotation)[-1], loc[1:])


def _plain(annotation: Any) -> Any:
    """Strips `Annotated` and `| None` from a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
        else:
            return annotation
