"""Errors of the service are one tree, those of its client another; each is drawn where its families stand."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import ledger
from ledger import errors
from ledger.books import BooksError
from ledger.client import errors as client_errors
from ledger.client.errors import CreditsError
from ledger.errors import LedgerError


def _defined() -> Iterator[type[Exception]]:
    """Every error that a module of the service defines for others."""
    for module in pkgutil.walk_packages(ledger.__path__, "ledger."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for name, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(found, Exception) and found.__module__ == module.name and not name.startswith("_"):
                yield found


def _drawn(error: type[Exception], depth: int = 1) -> Iterator[str]:
    yield f"{'    ' * depth}{error.__name__}"
    for child in sorted(error.__subclasses__(), key=lambda each: each.__name__):
        if not child.__name__.startswith("_") and child.__module__.startswith("ledger."):
            yield from _drawn(child, depth + 1)


def test_errors_are_one_tree() -> None:
    """Whoever wants all that the service, or its client, raises names one; the books import nothing."""
    stray = {error for error in _defined() if not issubclass(error, LedgerError | CreditsError)}
    assert stray == {BooksError}


@pytest.mark.parametrize(
    ("drawing", "root"), [(errors.__doc__, LedgerError), (client_errors.__doc__, CreditsError)]
)
def test_the_tree_is_drawn_as_it_grows(drawing: str, root: type[Exception]) -> None:
    """At the top of the file of its families: each error once, under its own."""
    assert list(_defined())
    lines = [line for line in drawing.splitlines() if line.startswith("    ")]
    assert lines == list(_drawn(root))
