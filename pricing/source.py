"""Located YAML."""

from __future__ import annotations
from pathlib import Path
from typing import NamedTuple, TypeVar
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


class Problem(NamedTuple):
    file: str
    line: int
    column: int
    message: str
    hint: str


class ConfigError(Exception):
    problems: tuple[Problem, ...]


def load_model(path: Path, model: type[M]) -> M:
    raise NotImplementedError
