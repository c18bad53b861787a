"""A receiver that has Stripe pay for top-ups: events of the ledger in, payments out, their outcome back.

    python deploy/stripe/receiver.py --port 8460        # settings come from the environment: `Settings`

POST /ledger takes the ledger's signed `topup.requested` and asks Stripe for a payment of the price; POST
/stripe takes Stripe's signed events and confirms the grant, or gives it up. Nothing is stored here: a payment
carries the ids of its customer and grant, and every step may be repeated. A step that fails is answered with
503, and whoever sent the event sends it again.

Without STRIPE_SECRET_KEY nothing leaves the machine: `recorded.py` answers as Stripe does.
"""

from __future__ import annotations

import argparse
import hmac
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol, cast

import grpc
from recorded import RecordedStripe
from standardwebhooks import Webhook, WebhookVerificationError
from stripe_api import StripeApi, StripeCustomer

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.client.errors import CreditsError
from ledger.client.statuses import error_of_call
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID

BODY_BYTES_MAX: Final = 1 << 20
SILENCE_SECONDS: Final = 10
"""From somebody who is connected and has not sent all; then the connection ends, and with it a thread."""
CALL_SECONDS: Final = 8
"""Of a call of the ledger, which waits 10 s for the answer to an event."""
TOLERANCE_SECONDS: Final = 300
"""How old a signature of Stripe's may be: an event that somebody recorded is no payment."""
TOP_UPS_SEARCHED: Final = 100
"""The newest ones, among which a customer's grant is looked for."""
NO_MORE: Final = ("GRANT_NOT_PENDING_PAYMENT", "GRANT_CLOSED")
"""Refused so, a grant takes no payment any more."""

_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_log = logging.getLogger("receiver")


class SignatureError(Exception):
    """Nobody knows who has sent this."""


class Payments(Protocol):
    """Who collects what customers pay."""

    def create(self, customer_id: str, grant_id: str, cents: int) -> None:
        """Begins a payment, once for each grant; its outcome comes as an event. If it raises, again."""

    def cancel(self, customer_id: str, grant_id: str) -> None:
        """Ends the payment of a grant that has not been paid yet."""


@dataclass(frozen=True)
class Settings:
    """From the environment, by the names of the fields."""

    ledger_target: str
    """Its back office, such as 127.0.0.1:50052."""
    ledger_webhook_secret: str
    """whsec_…, as `acu-ledger webhooks create URL --type topup.requested --type topup.failed` shows it."""
    stripe_webhook_secret: str
    """whsec_…, of Stripe's endpoint for payment_intent.succeeded, .payment_failed and .canceled."""
    stripe_customers: Path
    """JSON: by the ledger's customer_id {"customer": "cus_…", "payment_method": "pm_…"}."""
    ledger_key: str = ""
    """Of scope ops; empty where the ledger asks for none."""
    stripe_secret_key: str = ""
    """sk_…; empty: payments are those that were recorded."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Raises SystemExit where something is missing."""
        found = {name: environment.get(name.upper(), "") for name in cls.__dataclass_fields__}
        missing = [name.upper() for name in list(found)[:4] if not found[name]]
        if missing:
            raise SystemExit(f"set {', '.join(missing)}")
        customers = Path(found.pop("stripe_customers"))
        return cls(stripe_customers=customers, **found)


class Ledger:
    """The back office of the ledger, as far as top-ups need it."""

    def __init__(self, stub: AdminServiceStub, key: str = "") -> None:
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def top_up(self, customer_id: str, grant_id: str) -> admin.TopUp | None:
        """The top-up of a grant, with its price."""
        request = admin.ListTopUpsRequest(customer_id=customer_id, page_size=TOP_UPS_SEARCHED)
        found = self._call(self._stub.ListTopUps, request).top_ups
        return next((each for each in found if each.grant_id == grant_id), None)

    def confirm(self, customer_id: str, grant_id: str, payment_id: str, paid_usd: str) -> None:
        """Issues what was paid: the grant, or one of its own where that takes no payment any more."""
        request = admin.ConfirmGrantRequest(
            request_id=f"stripe:{payment_id}",
            customer_id=customer_id,
            grant_id=grant_id,
            paid_total_usd=paid_usd,
        )
        try:
            self._call(self._stub.ConfirmGrant, request)
        except grpc.RpcError as error:
            refused = _refusal(error)
            if refused.reason not in NO_MORE:
                raise
            if refused.metadata.get("status") not in {"VOIDED", "EXPIRED"}:
                _log.error("%s was confirmed by something else than %s: look at both", grant_id, payment_id)
                return
            self._issue_late(customer_id, grant_id, payment_id, paid_usd)

    def _issue_late(self, customer_id: str, grant_id: str, payment_id: str, paid_usd: str) -> None:
        """The money came when nobody waited for it any more: it buys what it was asked for."""
        top_up = self.top_up(customer_id, grant_id)
        if top_up is None:
            raise LookupError(f"{grant_id} is none of the last {TOP_UPS_SEARCHED} top-ups of {customer_id}")
        request = admin.IssueGrantRequest(
            request_id=f"stripe:{payment_id}:late",
            customer_id=customer_id,
            amount_micros=top_up.amount_micros,
            kind=GRANT_KIND_PAID,
            paid_total_usd=paid_usd,
            external_reference=payment_id,
            note=f"paid after {grant_id} was taken back",
        )
        self._call(self._stub.IssueGrant, request)
        _log.warning("%s was paid late: its credits are granted by themselves", grant_id)

    def give_up(self, customer_id: str, grant_id: str, event_id: str, reason: str) -> None:
        """Takes the grant back, unless it has been paid or taken back meanwhile."""
        request = admin.VoidGrantRequest(
            request_id=f"stripe:{event_id}",
            customer_id=customer_id,
            grant_id=grant_id,
            reason=reason,
            only_pending_payment=True,
        )
        try:
            self._call(self._stub.VoidGrant, request)
        except grpc.RpcError as error:
            if _refusal(error).reason not in NO_MORE:
                raise

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        return method(request, timeout=CALL_SECONDS, metadata=self._metadata)


def _refusal(error: grpc.RpcError) -> CreditsError:
    """What the ledger says of a call that it refuses."""
    return error_of_call(cast("grpc.aio.AioRpcError", error))


class Receiver:
    """What comes of an event of either side."""

    def __init__(self, ledger: Ledger, payments: Payments, ledger_secret: str, stripe_secret: str) -> None:
        self._ledger = ledger
        self._payments = payments
        self._ledger_webhook = Webhook(ledger_secret)
        self._stripe_secret = stripe_secret

    def take(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Acts on an event. Raises SignatureError, or whatever is in the way: then it is to be sent again."""
        if path == "/ledger":
            self._take_from_ledger(body, headers)
        else:
            self._take_from_stripe(body, headers)

    def _take_from_ledger(self, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            event = self._ledger_webhook.verify(body, dict(headers))
        except WebhookVerificationError as error:
            raise SignatureError(str(error)) from error
        customer_id, data = event["customer_id"], event["data"]
        if event["type"] == "topup.requested":
            top_up = self._ledger.top_up(customer_id, data["grant_id"])
            if top_up is None or top_up.state != admin.TOP_UP_STATE_REQUESTED:
                return  # It came late, or again: nobody waits for the payment any more.
            cents = Decimal(top_up.price_usd).scaleb(2)
            self._payments.create(customer_id, data["grant_id"], int(cents))
        elif event["type"] == "topup.failed" and data["reason"] == "TIMED_OUT":
            self._payments.cancel(customer_id, data["grant_id"])

    def _take_from_stripe(self, body: bytes, headers: Mapping[str, str]) -> None:
        verify_stripe(body, headers.get("stripe-signature", ""), self._stripe_secret, time.time())
        event = json.loads(body)
        payment = event["data"]["object"]
        metadata = payment.get("metadata") or {}
        if "grant_id" not in metadata:
            return  # A payment for something else.
        customer_id, grant_id = metadata["customer_id"], metadata["grant_id"]
        if event["type"] == "payment_intent.succeeded":
            if payment["currency"] != "usd":
                raise ValueError(f"{payment['id']} was paid in {payment['currency']}")
            paid_usd = f"{Decimal(payment['amount_received']).scaleb(-2):f}"
            asked, received = payment["amount"], payment["amount_received"]
            if received != asked:
                _log.warning("%s: %d cents were paid where %d were asked for", payment["id"], received, asked)
            self._ledger.confirm(customer_id, grant_id, payment["id"], paid_usd)
        elif event["type"] in ("payment_intent.payment_failed", "payment_intent.canceled"):
            reason = (payment.get("last_payment_error") or {}).get("code") or event["type"]
            self._ledger.give_up(customer_id, grant_id, event["id"], reason)


def verify_stripe(body: bytes, header: str, secret: str, now: float) -> None:
    """Verifies `Stripe-Signature: t=…,v1=…`: HMAC-SHA256 over `t.body`, by any of the v1.

    Raises SignatureError.
    """
    parts = [part.partition("=")[::2] for part in header.split(",")]
    stamp = next((value for key, value in parts if key.strip() == "t"), "")
    if not re.fullmatch(r"\d{1,12}", stamp) or abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureError("no timestamp, or one that is too old")
    expected = hmac.new(secret.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
    signatures = [value for key, value in parts if key.strip() == "v1"]
    if not any(hmac.compare_digest(expected.encode(), each.strip().encode()) for each in signatures):
        raise SignatureError("signed by nobody that is known")


@contextmanager
def listening(
    receiver: Receiver, port: int, host: str = "127.0.0.1", silence_seconds: float = SILENCE_SECONDS
) -> Iterator[ThreadingHTTPServer]:
    """The HTTP server of a receiver; it ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = silence_seconds

        def do_POST(self) -> None:
            self.send_response(self._status())
            self.send_header("content-length", "0")
            self.end_headers()

        def _status(self) -> int:
            length = self.headers.get("content-length", "")
            if self.path not in ("/ledger", "/stripe"):
                return self._unread(404)
            if not _LENGTH.fullmatch(length) or int(length) > BODY_BYTES_MAX:
                return self._unread(413)
            body = self.rfile.read(int(length))
            try:
                receiver.take(self.path, body, {key.lower(): value for key, value in self.headers.items()})
            except SignatureError as error:
                _log.warning("%s: %s", self.path, error)
                return 400
            except Exception:  # noqa: BLE001 -- whatever it is, the event comes again
                _log.exception("%s: not done, and to be sent again", self.path)
                return 503
            return 204

        def _unread(self, status: int) -> int:
            self.close_connection = True
            return status

        def log_message(self, *_: object) -> None:
            """What matters is logged where it happens."""

    server = ThreadingHTTPServer((host, port), Handler)
    try:
        yield server
    finally:
        server.server_close()


def main() -> None:
    """Serves until it is interrupted."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8460)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO)
    settings = Settings.of(os.environ)
    customers = StripeCustomer.read(settings.stripe_customers)
    payments: Payments
    if settings.stripe_secret_key:
        payments = StripeApi(settings.stripe_secret_key, customers)
    else:
        own = f"http://127.0.0.1:{given.port}/stripe"
        payments = RecordedStripe(own, settings.stripe_webhook_secret, customers)
        _log.warning("no STRIPE_SECRET_KEY: payments are those that were recorded")
    with grpc.insecure_channel(settings.ledger_target) as channel:
        ledger = Ledger(AdminServiceStub(channel), settings.ledger_key)
        receiver = Receiver(ledger, payments, settings.ledger_webhook_secret, settings.stripe_webhook_secret)
        with listening(receiver, given.port, given.host) as server:
            server.serve_forever()


if __name__ == "__main__":
    main()
