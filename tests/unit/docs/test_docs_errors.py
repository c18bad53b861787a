"""Errors are one tree, drawn where its families stand."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import ledger
from ledger import errors
from ledger.books import BooksError
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
    """Whoever wants all that the service raises by itself names one; the books import nothing."""
    stray = {error for error in _defined() if not issubclass(error, LedgerError)}
    assert stray == {BooksError}


def test_the_tree_is_drawn_as_it_grows() -> None:
    """At the top of the file of its families: each error once, under its own."""
    assert list(_defined())
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    assert lines == list(_drawn(LedgerError))
