"""What of the receiver of deploy/stripe needs no ledger: Stripe's signatures, and what is asked of it."""

from __future__ import annotations

import hmac
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from tests.serving import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "deploy" / "stripe"))

from receiver import Receiver, SignatureError, listening, verify_stripe
from stripe_api import StripeApi, StripeCustomer

NOW = 1_764_417_600
BODY = b'{"id": "evt_1"}'
CUSTOMERS = {"acme": StripeCustomer("cus_1", "pm_card_visa")}


def _signature(secret: str, stamp: int = NOW, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},v1={_signature('ours')}",
        f"t={NOW - 300},v1={_signature('ours', NOW - 300)}",
        f"t={NOW},v1={_signature('before')},v1={_signature('ours')},v0=1",
    ],
)
def test_what_stripe_signed_is_taken(header: str) -> None:
    """By any of its signatures, for five minutes."""
    verify_stripe(BODY, header, "ours", NOW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"v1={_signature('ours')}",
        f"t={NOW}",
        f"t={NOW},v1={_signature('theirs')}",
        f"t={NOW},v0={_signature('ours')}",
        f"t={NOW},v1={_signature('ours', body=b'{}')}",
        f"t={NOW - 301},v1={_signature('ours', NOW - 301)}",
        f"t={NOW + 301},v1={_signature('ours', NOW + 301)}",
        f"t=-1,v1={_signature('ours', -1)}",
        "t=\u0661,v1=\u00e9",
    ],
)
def test_what_it_did_not_sign_is_refused(header: str) -> None:
    """Another secret, another body, another instant, no signature of this kind."""
    with pytest.raises(SignatureError):
        verify_stripe(BODY, header, "ours", NOW)


class _Stripe(BaseHTTPRequestHandler):
    """Answers as Stripe does: a card that is declined with 402, a list of payments, a payment."""

    asked: list[tuple[str, str, str, dict[str, list[str]]]]

    def do_GET(self) -> None:
        self._answer(
            200,
            {
                "data": [
                    {"id": "pi_1", "status": "succeeded", "metadata": {"grant_id": "grt_1"}},
                    {"id": "pi_2", "status": "requires_action", "metadata": {"grant_id": "grt_1"}},
                    {"id": "pi_3", "status": "requires_action", "metadata": {}},
                ]
            },
        )

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.asked.append(
            (self.path, self.headers["authorization"], self.headers.get("idempotency-key", ""), fields)
        )
        status = {"100": 200, "200": 402, "300": 500}[fields.get("amount", ["100"])[0]]
        self._answer(status, {"id": "pi_9"})

    def _answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stripe() -> Iterator[StripeApi]:
    """The API, at a server that is not Stripe's."""
    _Stripe.asked = []
    with HTTPServer(("127.0.0.1", 0), _Stripe) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield StripeApi("sk_test", CUSTOMERS, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def test_a_payment_is_asked_for_once_for_each_grant(stripe: StripeApi) -> None:
    """With the grant as its idempotency key, and in what it carries back; a decline is no error."""
    stripe.create("acme", "grt_1", 100)
    stripe.create("acme", "grt_2", 200)
    with pytest.raises(OSError, match="500"):
        stripe.create("acme", "grt_3", 300)
    path, authorization, key, fields = _Stripe.asked[0]
    assert (path, authorization, key) == ("/v1/payment_intents", "Bearer sk_test", "grt_1")
    assert fields == {
        "amount": ["100"],
        "currency": ["usd"],
        "customer": ["cus_1"],
        "payment_method": ["pm_card_visa"],
        "off_session": ["true"],
        "confirm": ["true"],
        "metadata[customer_id]": ["acme"],
        "metadata[grant_id]": ["grt_1"],
    }


def test_the_payment_of_a_grant_is_cancelled_unless_it_has_succeeded(stripe: StripeApi) -> None:
    """It is found by the grant that it carries, among its customer's."""
    stripe.cancel("acme", "grt_1")
    assert [asked[0] for asked in _Stripe.asked] == ["/v1/payment_intents/pi_2/cancel"]


@contextmanager
def receiving(**limits: float) -> Iterator[socket.socket]:
    """A connection to a receiver; what this takes it never comes to act on."""
    receiver = Receiver(None, None, "whsec_AAAA", "whsec_stripe")  # type: ignore[arg-type] -- never asked
    with listening(receiver, 0, **limits) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
                yield connection
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /stripe HTTP/1.1\r\nx: ",
        b"POST /stripe HTTP/1.1\r\ncontent-length: 9\r\n\r\n{",
    ],
)
def test_who_sends_no_more_is_let_go(sent: bytes) -> None:
    """Each connection has a thread: whoever opens many and says nothing would have them all."""
    # A connection that ends before all was sent is reset.
    with receiving(silence_seconds=0.2) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("length", ["", "-1", "1048577", "9" * 5_000, "1e3"])
def test_a_body_without_a_length_that_fits_is_not_read(length: str) -> None:
    """It is answered with 413, whatever the header says."""
    with receiving(silence_seconds=600) as connection:
        connection.sendall(f"POST /stripe HTTP/1.1\r\ncontent-length: {length}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"413"
