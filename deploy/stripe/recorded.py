"""Stripe without Stripe: its events, sent and signed as it does, with the ids of the payment at hand.

`events/` has one of each type, in the form that Stripe documents. A customer's payment method is one of its
test cards: `pm_card_visa` pays, `pm_card_chargeDeclined` does not; with any other name no event comes.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from stripe_api import StripeCustomer

EVENTS: Final = Path(__file__).parent / "events"
OUTCOMES: Final = {
    "pm_card_visa": "payment_intent.succeeded",
    "pm_card_chargeDeclined": "payment_intent.payment_failed",
}
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 1.0
POST_SECONDS: Final = 30

_log = logging.getLogger("recorded")


class RecordedStripe:
    """Payments whose outcome was recorded."""

    def __init__(self, url: str, secret: str, customers: Mapping[str, StripeCustomer]) -> None:
        """`url`: where events go, with signatures by `secret`."""
        self.url = url
        self._secret = secret
        self._customers = customers
        self._sending: list[threading.Thread] = []

    def create(self, customer_id: str, grant_id: str, cents: int) -> None:
        """Has the outcome of the customer's card sent, from another thread: as at Stripe it comes later."""
        outcome = OUTCOMES.get(self._customers[customer_id].payment_method)
        if outcome is not None:
            body = self.event(outcome, customer_id, grant_id, cents)
            thread = threading.Thread(target=self._send, args=(body,))
            self._sending.append(thread)
            thread.start()

    def cancel(self, customer_id: str, grant_id: str) -> None:
        """No recorded payment waits for anything."""

    def event(self, event_type: str, customer_id: str, grant_id: str, cents: int) -> bytes:
        """A recorded event, of a payment for this grant: of one grant and type it is always the same."""
        recorded: dict[str, Any] = json.loads((EVENTS / f"{event_type}.json").read_text("utf-8"))
        payment = recorded["data"]["object"]
        payment["id"] = f"pi_{_tail(grant_id)}"
        recorded["id"] = f"evt_{_tail(grant_id + event_type)}"
        payment["metadata"] = {"customer_id": customer_id, "grant_id": grant_id}
        payment["amount"] = cents
        payment["amount_received"] = cents if event_type == "payment_intent.succeeded" else 0
        payment["customer"], payment["payment_method"] = self._customers[customer_id]
        return json.dumps(recorded).encode()

    def post(self, body: bytes) -> int:
        """Sends an event once; the status that it is answered with."""
        stamp = str(int(time.time()))
        signature = hmac.new(self._secret.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={stamp},v1={signature}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310 -- the receiver's own
        try:
            with urllib.request.urlopen(request, timeout=POST_SECONDS) as answer:  # noqa: S310 -- as above
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def close(self) -> None:
        """Waits for what is being sent."""
        for thread in self._sending:
            thread.join()

    def _send(self, body: bytes) -> None:
        """Sends an event until it is taken, as Stripe does, though not for three days."""
        for _ in range(ATTEMPTS):
            try:
                if self.post(body) < 300:
                    return
            except OSError as error:
                _log.warning("the receiver is not there: %s", error)
            time.sleep(PAUSE_SECONDS)
        _log.error("an event was not taken")


def _tail(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:24]
