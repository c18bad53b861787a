"""The plans that servers have taken from their files: each change is an act of the back office."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ledger.store.audit import note
from ledger.store.prices.versions import LOCK
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.books.model import Plan, PlanEntitlements
    from ledger.books.top_ups import TopUpRules
    from ledger.store.audit import Act, Image
    from ledger.store.postgres.database import Pool, PooledConnection

RESOURCE: Final = "plans"
"""They are one document."""

_SQL = statements_of(__name__)
LATEST = _SQL["latest"]


async def note_plans(pool: Pool, act: Act, plans: Mapping[str, Plan]) -> None:
    """Notes the act if these plans are others than those that a server took last. Processes take turns."""
    after = {name: _image(plan) for name, plan in sorted(plans.items())}
    async with pool.acquire() as connection:
        if await _latest(connection) == after:
            return
        async with connection.transaction():
            await connection.fetchval(LOCK)
            before = await _latest(connection)
            if before != after:
                await note(connection, act, RESOURCE, before, after)


async def _latest(connection: PooledConnection) -> Image | None:
    text = await connection.fetchval(LATEST, RESOURCE)
    return json.loads(text) if text is not None else None


def _image(plan: Plan) -> Image:
    return {
        "card": plan.card,
        "over_capture": str(plan.over_capture),
        "overdraft_limit_micros": plan.overdraft_limit_micros,
        "default_ttl_seconds": int(plan.default_ttl.total_seconds()),
        "max_ttl_seconds": int(plan.max_ttl.total_seconds()),
        "unpriced": str(plan.unpriced),
        "low_balance_micros": plan.low_balance_micros,
        **_entitlements(plan.entitlements),
        **_top_up(plan.top_up),
    }


def _entitlements(stated: PlanEntitlements | None) -> Image:
    if stated is None:
        return {}
    return {"entitlements": {"allow": dict(stated.allow), "deny": dict(stated.deny)}}


def _top_up(rules: TopUpRules | None) -> Image:
    if rules is None:
        return {}
    fields = rules._asdict()
    seconds = {
        name: int(value.total_seconds()) for name, value in fields.items() if isinstance(value, timedelta)
    }
    return {"topup": fields | seconds}
