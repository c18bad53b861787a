"""The synchronous client is the asynchronous one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable

import pytest

from ledger.client import ClientClosed, Credits, NotNow, SyncCredits


def _methods(client: type) -> dict[str, Callable[..., object]]:
    return {
        name: method
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


def _threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "ledger-client"]


def test_the_calls_are_the_same() -> None:
    """All of them, with the same arguments and answers; they wait where the others are awaited.

    A session, and a watch that goes on, are things of their own.
    """
    asynchronous, synchronous = _methods(Credits), _methods(SyncCredits)
    assert set(synchronous) == set(asynchronous)
    for name in set(asynchronous) - {"open", "close", "session", "watch_balance"}:
        assert inspect.signature(synchronous[name]) == inspect.signature(asynchronous[name]), name
        assert not inspect.iscoroutinefunction(synchronous[name])
    assert inspect.signature(SyncCredits) == inspect.signature(Credits)


def test_the_thread_ends_with_the_client() -> None:
    """And there is none before it is opened; closed twice is closed."""
    client = SyncCredits("127.0.0.1:1", timeout_seconds=0.2)
    assert not _threads()
    with client, pytest.raises(NotNow):
        client.balance("acme")
    client.close()
    assert not _threads()
    with pytest.raises(ClientClosed):
        client.balance("acme")
