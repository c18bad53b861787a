"""Who does what tests do below the API, where nobody calls."""

from __future__ import annotations

from ledger.store.audit import Act

ACT = Act("", "a test", "tests")
