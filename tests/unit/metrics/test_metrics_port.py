"""The ports where metrics are scraped."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from ledger.metrics.operations import serve


@pytest.fixture
def registry():
    """A registry of one gauge."""
    registry = CollectorRegistry()
    Gauge("answers", "What it is.", registry=registry).set(42)
    return registry


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")])
def test_a_scrape(registry, address, host, capfd):
    """The registry is served at the port that is told, and no line is logged for it."""
    served = serve(0, address, registry)
    with urllib.request.urlopen(f"http://{host}:{served.port}/metrics") as response:
        assert "\nanswers 42.0\n" in response.read().decode()
    served.close()
    assert capfd.readouterr() == ("", "")


def test_closing_ends_the_thread_and_frees_the_port(registry):
    """Closing waits for its thread alone: not for a scraper that keeps its connection open."""
    before = set(threading.enumerate())
    served = serve(0, "127.0.0.1", registry)
    assert len(set(threading.enumerate()) - before) == 1
    with socket.create_connection(("127.0.0.1", served.port)):
        served.close()
        assert not [thread for thread in set(threading.enumerate()) - before if "metrics" in thread.name]
    again = serve(served.port, "127.0.0.1", registry)
    assert again.port == served.port
    again.close()


def test_a_port_that_is_taken(registry):
    """The error names the address, and says what to do."""
    served = serve(0, "127.0.0.1", registry)
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{served.port}.*choose another port"):
        serve(served.port, "127.0.0.1", registry)
    served.close()


def test_an_address_of_no_machine(registry):
    """A name that leads nowhere is told like a port that is taken."""
    with pytest.raises(OSError, match=r"nowhere\.invalid:0"):
        serve(0, "nowhere.invalid", registry)
