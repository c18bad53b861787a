"""Ports where metrics are scraped: few connections at a time, each for a bounded time.

A scraper that connects and says nothing, or reads nothing, is let go after some seconds; where all
places are taken, whoever came first gives way to the next. Nobody who holds connections keeps Prometheus out.
TLS shakes hands within that time, in the thread of its connection.
"""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingTCPServer
from ssl import SSLContext, SSLSocket
from threading import Event, Lock, Semaphore, Thread
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

SCRAPES_MAX: Final = 8
"""Connections at a time, each with a thread: more than there are Prometheus servers."""

SCRAPE_SECONDS: Final = 5.0
"""From a connection to the end of its answer: half of what Prometheus waits by default."""

_PATH: Final = "/metrics"
"""The one path that is answered: a scraper, or a proxy, that is set up for another finds out."""

_ACCEPT_QUEUE: Final = 64
"""Connections that the kernel holds meanwhile."""

_log = structlog.get_logger(__name__)


class HttpRefusal(NamedTuple):
    """Why a scrape has no answer."""

    status: HTTPStatus
    text: str


_NO_SUCH_PATH: Final = HttpRefusal(HTTPStatus.NOT_FOUND, f"There is nothing here but {_PATH}.")

Admit: TypeAlias = Callable[[Sequence[str]], HttpRefusal | None]
"""Looks at each `Authorization` of a scrape; called on the threads of the port."""


class MetricsPort:
    """A port that is served by a thread of its own."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._thread = Thread(target=server.serve, name=f"metrics on {server.port}", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    def close(self) -> None:
        """Ends the thread and frees the port."""
        self._server.closing.set()
        # It waits for a connection, and looks up when one comes.
        socket.create_connection(self._server.socket.getsockname()[:2]).close()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    """Serves without looking up from time to time: asked to close, it needs one more connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _ACCEPT_QUEUE

    def __init__(
        self,
        address: tuple[str, int],
        family: socket.AddressFamily,
        handler: Callable[..., Any],
        context: Callable[[], SSLContext] | None,
    ) -> None:
        self.address_family = family
        self._context = context
        self.closing = Event()
        self._places = Semaphore(SCRAPES_MAX)
        self._lock = Lock()
        self._open: dict[socket.socket, None] = {}
        super().__init__(address, handler)
        self.port: Final = int(self.server_address[1])

    def serve(self) -> None:
        """Takes connections until it is asked to close."""
        while not self.closing.is_set():
            self.handle_request()

    def get_request(self) -> tuple[Any, Any]:
        """The next connection; what it has to say of TLS is waited for in its thread."""
        connection, address = super().get_request()
        if self._context is None:
            return connection, address
        wrapped = self._context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection in a thread, once it has a place."""
        if not self._places.acquire(blocking=False):
            self._end_oldest()
            self._places.acquire()
        with self._lock:
            self._open[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In its thread: the answer, and its place goes to the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)
            self._places.release()

    def _end_oldest(self) -> None:
        """Its thread ends as if its peer had hung up."""
        with self._lock:
            oldest = next(iter(self._open), None)
            if oldest is not None:
                del self._open[oldest]
                with suppress(OSError):
                    # Not that of a TLS socket: what its thread writes meanwhile would go out in the clear.
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- the library's
        """A scraper that went away, or was too slow, is no event; a fault of ours is reported."""
        if not isinstance(sys.exception(), OSError):
            _log.error("scrape.fault", exc_info=True)


class _Scrape(MetricsHandler):
    """One connection: what it may take in all, counted from its beginning."""

    admit: Admit | None = None
    seconds = SCRAPE_SECONDS

    def setup(self) -> None:
        """Reads by the deadline; an answer that the peer does not take ends with the time that is left."""
        super().setup()
        self._deadline = monotonic() + self.seconds
        if isinstance(self.connection, SSLSocket):
            self.connection.settimeout(self.seconds)
            self.connection.do_handshake()
        self.rfile = io.BufferedReader(_Timed(self.connection, self._deadline))

    def do_GET(self) -> None:  # noqa: N802 -- the library's name
        """The metrics, for whom they are for; who is not let in does not learn what else is there."""
        refusal = None if self.admit is None else self.admit(self.headers.get_all("Authorization", []))
        if refusal is None and self.path.partition("?")[0] != _PATH:
            refusal = _NO_SUCH_PATH
        if refusal is None:
            super().do_GET()
        else:
            self._refuse(refusal)

    def _refuse(self, refusal: HttpRefusal) -> None:
        body = f"{refusal.text}\n".encode()
        self.send_response(refusal.status)
        if refusal.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        """Says that the answer is whole: without it a TLS peer takes it for one that was cut."""
        super().finish()
        if isinstance(self.connection, SSLSocket):
            self.connection.settimeout(max(0.0, self._deadline - monotonic()))
            self.connection.unwrap()


class _Timed(io.RawIOBase):
    """Reads a socket until a deadline, however slowly the bytes come. Raises TimeoutError."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def serve(
    port: int,
    address: str,
    registry: CollectorRegistry,
    *,
    context: Callable[[], SSLContext] | None = None,
    admit: Admit | None = None,
    scrape_seconds: float = SCRAPE_SECONDS,
) -> MetricsPort:
    """Serves a registry at `/metrics` of a port; port 0 takes a free one.

    `context` gives each connection its TLS, without it the port is plaintext; `admit` says whom to refuse.

    Raises OSError, naming the address, where it cannot be listened on.
    """
    try:
        family, _, _, _, bound = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        own = {"registry": registry, "admit": admit and staticmethod(admit), "seconds": scrape_seconds}
        handler = type("Scrape", (_Scrape,), own)
        server = _Server((str(bound[0]), port), family, handler, context)
    except OSError as error:
        free = "end what listens there, or choose another port"
        raise OSError(f"cannot serve metrics on {address}:{port} ({error.strerror}): {free}") from error
    return MetricsPort(server)
