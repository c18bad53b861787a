"""The ports where metrics are scraped."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from http import HTTPStatus

import pytest
from prometheus_client import CollectorRegistry, Gauge

from ledger.metrics.port import SCRAPES_MAX, HttpRefusal, serve


@pytest.fixture
def registry():
    """A registry of one gauge."""
    registry = CollectorRegistry()
    Gauge("answers", "What it is.", registry=registry).set(42)
    return registry


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")])
def test_a_scrape(registry, address, host, capfd):
    """The registry is served at the port that is asked for, and no line is logged for it."""
    served = serve(0, address, registry)
    with urllib.request.urlopen(f"http://{host}:{served.port}/metrics") as response:
        assert "\nanswers 42.0\n" in response.read().decode()
    served.close()
    assert capfd.readouterr() == ("", "")


def answer(served, path: str) -> tuple[int, str]:
    """The status of a GET, and what it says."""
    asking = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    asking.request("GET", path)
    with asking.getresponse() as response:
        said = response.status, response.read().decode()
    asking.close()
    return said


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/metrics/", "/metricsx", "/METRICS", "/m", "/?name[]=answers"]
)
def test_another_path(registry, path):
    """Nothing but `/metrics` is there: a probe that is set up wrongly does not take it for that."""
    served = serve(0, "127.0.0.1", registry)
    assert answer(served, path) == (404, "There is nothing here but /metrics.\n")
    served.close()


def test_a_scrape_of_some_names(registry):
    """What stands behind the path chooses among the metrics, as Prometheus' libraries do."""
    served = serve(0, "127.0.0.1", registry)
    chosen, none = (answer(served, f"/metrics?name[]={name}") for name in ("answers", "nothing"))
    served.close()
    assert chosen[0] == none[0] == 200
    assert "\nanswers 42.0\n" in chosen[1]
    assert none[1] == ""


def test_who_is_not_let_in_learns_of_no_path(registry):
    """Whoever has no key reads the same of a path that is there and of one that is not."""
    refusal = HttpRefusal(HTTPStatus.UNAUTHORIZED, "A key is required.")
    served = serve(0, "127.0.0.1", registry, admit=lambda _: refusal)
    there, not_there = answer(served, "/metrics"), answer(served, "/nothing")
    served.close()
    assert there == not_there == (401, "A key is required.\n")


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
    """A name that leads nowhere is said like a port that is taken."""
    with pytest.raises(OSError, match=r"nowhere\.invalid:0"):
        serve(0, "nowhere.invalid", registry)


def connect(served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=60)


def scrape(served) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=60) as response:
        return response.read().decode()


def test_scrapers_that_say_nothing_give_way(registry, capfd):
    """However many connections are held half open, there are few threads, and the next scrape is answered."""
    before = threading.active_count()
    served = serve(0, "127.0.0.1", registry)
    held = []
    for _ in range(300):
        held.append(connect(served))
        held[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        assert threading.active_count() - before <= 1 + SCRAPES_MAX
    assert "\nanswers 42.0\n" in scrape(served)
    assert held[0].recv(1) == b""
    for each in held:
        each.close()
    served.close()
    assert capfd.readouterr() == ("", "")


def test_a_half_open_scrape_ends_with_its_time(registry, capfd):
    """A peer that sends a byte now and then has no more time than one that is silent; nobody waits for it."""
    served = serve(0, "127.0.0.1", registry, scrape_seconds=0.5)
    silent, slow = connect(served), connect(served)
    slow.settimeout(0.05)
    assert "\nanswers 42.0\n" in scrape(served)
    ended = False
    while not ended:
        try:
            slow.send(b"x")
            ended = slow.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            ended = True
    assert silent.recv(1) == b""
    for each in (silent, slow):
        each.close()
    served.close()
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_nobody_reads(capfd):
    """A peer that asks and takes nothing loses its place; a large answer holds no thread."""
    registry = CollectorRegistry()
    Gauge("answers", "x" * 30_000_000, registry=registry)
    served = serve(0, "127.0.0.1", registry, scrape_seconds=0.2)
    deaf = connect(served)
    deaf.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    deaf.recv(1)
    answering = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    for thread in answering:
        thread.join(60)
    assert [thread for thread in answering if thread.is_alive()] == []
    deaf.close()
    served.close()
    assert capfd.readouterr() == ("", "")
