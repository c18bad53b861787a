"""Stripe's API, as far as top-ups need it: payments of a stored card, while the customer is not there."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

API: Final = "https://api.stripe.com"
CALL_SECONDS: Final = 8
DECLINED: Final = 402
"""The status of a payment that failed at once; its event comes as that of any other."""
LISTED: Final = 100


class StripeCustomer(NamedTuple):
    """How a customer of the ledger pays."""

    customer: str
    payment_method: str

    @classmethod
    def read(cls, file: Path) -> dict[str, StripeCustomer]:
        """Those of a JSON file, by the ledger's customer_id."""
        return {each: cls(**fields) for each, fields in json.loads(file.read_text("utf-8")).items()}


class StripeApi:
    """Payments by Stripe."""

    def __init__(self, key: str, customers: Mapping[str, StripeCustomer], url: str = API) -> None:
        self._key = key
        self._customers = customers
        self._url = url

    def create(self, customer_id: str, grant_id: str, cents: int) -> None:
        """Begins a payment. Stripe makes one for each `Idempotency-Key`, however often it is asked."""
        payer = self._customers[customer_id]
        fields = {
            "amount": str(cents),
            "currency": "usd",
            "customer": payer.customer,
            "payment_method": payer.payment_method,
            "off_session": "true",
            "confirm": "true",
            "metadata[customer_id]": customer_id,
            "metadata[grant_id]": grant_id,
        }
        try:
            self._call("POST", "/v1/payment_intents", fields, {"Idempotency-Key": grant_id})
        except urllib.error.HTTPError as error:
            with error:
                if error.code != DECLINED:
                    raise

    def cancel(self, customer_id: str, grant_id: str) -> None:
        """Ends the payment of a grant; one that has succeeded meanwhile stays, and is reported as that."""
        query = urllib.parse.urlencode({"customer": self._customers[customer_id].customer, "limit": LISTED})
        for payment in self._call("GET", f"/v1/payment_intents?{query}")["data"]:
            ended = payment["status"] in ("succeeded", "canceled")
            if payment["metadata"].get("grant_id") == grant_id and not ended:
                self._call("POST", f"/v1/payment_intents/{payment['id']}/cancel", {})

    def _call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        body = None if fields is None else urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(  # noqa: S310 -- Stripe's, or a test's
            self._url + path,
            body,
            {"Authorization": f"Bearer {self._key}", **(headers or {})},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 -- as above
            return json.load(answer)
