"""Who did what in the back office: every write leaves one row, in the transaction that does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from guarded import CREDIT, Answer, Guarded, serving, settings_of

from ledger.access.keys import parse
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.finance.v1 import finance_service_pb2
from ledger.store.audit import Wanted, listing
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import NOT_YET, fresh
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

BACK_OFFICE = (
    pb.DESCRIPTOR.services_by_name["AdminService"],
    finance_service_pb2.DESCRIPTOR.services_by_name["FinanceService"],
)
READS = ("Check", "Diff", "Get", "List", "Simulate", "Verify")
"""What a method's name begins with that changes nothing."""
ANSWERS = ("ExplainCharge", "FitRates", "ImportCosts")
"""They change nothing either, whatever their names begin with."""
OF_OTHERS = ("Import",)
"""Its items are acts of their own methods."""
WRITES = sorted(
    method.name
    for service in BACK_OFFICE
    for method in service.methods
    if not method.name.startswith(READS) and method.name not in (*ANSWERS, *OF_OTHERS)
)
CARD = """
card: {name}
revision: {revision}
credit: credit
credit_price_usd: "0.01"
rules:
  - {{name: pages, match: {{units: web_search}}, price: {{each: "{each}"}}}}
"""
STATE = """
SELECT (SELECT count(*) FROM ledger.customers), (SELECT count(*) FROM cell_00.entries),
       (SELECT sum(sequence) FROM cell_00.wallets), (SELECT generation FROM ledger.price_generation),
       (SELECT count(*) FROM ledger.price_versions), (SELECT generation FROM ledger.key_generation),
       (SELECT count(*) FROM ledger.keys),
       (SELECT string_agg(w::text, ' ' ORDER BY endpoint_id)
        FROM (SELECT endpoint_id, url, secret, deleted_at FROM ledger.webhook_endpoints) w)
"""
"""Whatever writes of the back office change."""

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Guarded]:
    """A service with a key of ops, and a customer."""
    async with serving(await settings_of(postgres, "audited")) as service:
        await service.make("ops")
        await service.new_customer("cus_a")
        yield service


async def acts(service: Guarded, after: int = 0) -> list[asyncpg.Record]:
    return await service.owner.fetch("SELECT * FROM ledger.audit WHERE number > $1 ORDER BY number", after)


async def last(service: Guarded) -> int:
    return await service.owner.fetchval("SELECT coalesce(max(number), 0) FROM ledger.audit")


async def done(service: Guarded, method: str, /, **fields: Any) -> Answer:
    answer = await service.call(method, service.ops, **fields)
    assert answer.code is grpc.StatusCode.OK, answer
    return answer


# -- requests of the methods that write ----------------------------------------------------------

Fields = dict[str, Any]


async def create_customer(_: Guarded) -> tuple[Fields, str]:
    customer_id = f"cus_{next(_numbers)}"
    customer = pb.Customer(customer_id=customer_id, plan="standard")
    return {"request_id": fresh(), "customer": customer}, f"customers/{customer_id}"


async def update_customer(_: Guarded) -> tuple[Fields, str]:
    customer = pb.Customer(customer_id="cus_a", display_name=f"A {next(_numbers)}")
    mask = {"paths": ["display_name"]}
    return {"request_id": fresh(), "customer": customer, "update_mask": mask}, "customers/cus_a"


async def issue_grant(_: Guarded) -> tuple[Fields, str]:
    asked = {"customer_id": "cus_a", "amount_micros": CREDIT, "kind": wallet.GRANT_KIND_PAID}
    return {"request_id": fresh(), **asked}, "customers/cus_a"


async def pending_grant(service: Guarded) -> Fields:
    """The names of a grant whose payment is pending."""
    fields, _ = await issue_grant(service)
    made = await done(service, "IssueGrant", **fields, pending_payment=True)
    return {"request_id": fresh(), "customer_id": "cus_a", "grant_id": made.response.grant.grant_id}


async def confirm_grant(service: Guarded) -> tuple[Fields, str]:
    return await pending_grant(service), "customers/cus_a"


async def void_grant(service: Guarded) -> tuple[Fields, str]:
    return {**await pending_grant(service), "reason": "nobody pays"}, "customers/cus_a"


async def extend_grant(service: Guarded) -> tuple[Fields, str]:
    return {**await pending_grant(service), "priority": 7}, "customers/cus_a"


async def retry_top_up(service: Guarded) -> tuple[Fields, str]:
    await service.owner.execute(
        "INSERT INTO cell_00.top_up_needs (customer, failed_attempts, look_at)"
        " SELECT customer, 2, 'infinity' FROM ledger.customers WHERE customer_id = 'cus_a'"
        " ON CONFLICT (customer) DO UPDATE SET failed_attempts = 2, look_at = 'infinity'"
    )
    return {"customer_id": "cus_a"}, "customers/cus_a"


async def paid_grant(service: Guarded) -> Fields:
    """The names of a grant that is paid, and of which some is used."""
    fields, _ = await issue_grant(service)
    made = await done(service, "IssueGrant", **fields, paid_total_usd="1", priority=-next(_numbers))
    backend = await service.make("backend")
    used = await service.call(
        "Charge", backend, request_id=fresh(), customer_id="cus_a", amount_micros=CREDIT // 2
    )
    assert used.code is grpc.StatusCode.OK, used
    named = {"customer_id": "cus_a", "grant_id": made.response.grant.grant_id}
    return {"request_id": fresh(), **named, "reason": "asked for"}


async def dispute_grant(service: Guarded) -> tuple[Fields, str]:
    return await paid_grant(service), "customers/cus_a"


async def resolve_dispute(service: Guarded) -> tuple[Fields, str]:
    fields = await paid_grant(service)
    await done(service, "DisputeGrant", **fields)
    outcome = pb.DISPUTE_OUTCOME_WON
    return {**fields, "request_id": fresh(), "outcome": outcome}, "customers/cus_a"


async def refund_grant(service: Guarded) -> tuple[Fields, str]:
    return await paid_grant(service), "customers/cus_a"


async def write_off_grant(service: Guarded) -> tuple[Fields, str]:
    return await paid_grant(service), "customers/cus_a"


async def write_off_debt(service: Guarded) -> tuple[Fields, str]:
    used = pb.USED_CREDITS_BECOME_DEBT
    await done(service, "VoidGrant", **await paid_grant(service), used=used)
    asked = {"customer_id": "cus_a", "reason": "never paid"}
    return {"request_id": fresh(), **asked}, "customers/cus_a"


async def publish_rate_card(_: Guarded) -> tuple[Fields, str]:
    name = f"card-{next(_numbers)}"
    return {"document": CARD.format(name=name, revision=1, each=1)}, f"rateCards/{name}"


async def publish_costs(service: Guarded) -> tuple[Fields, str]:
    stated = json.loads((await done(service, "GetCosts")).response.document)
    versions = (await done(service, "ListCostVersions")).response.versions
    return {"document": json.dumps({**stated, "revision": versions[0].revision + 1})}, "costs"


async def roll_back_rate_card(service: Guarded) -> tuple[Fields, str]:
    name = f"card-{next(_numbers)}"
    for revision in (1, 2):
        await done(
            service, "PublishRateCard", document=CARD.format(name=name, revision=revision, each=revision)
        )
    return {"name": name, "number": 1}, f"rateCards/{name}"


async def roll_back_costs(service: Guarded) -> tuple[Fields, str]:
    [latest, *_] = (await done(service, "ListCostVersions")).response.versions
    await done(service, "PublishCosts", **(await publish_costs(service))[0])
    return {"number": latest.number}, "costs"


async def publish_plans(service: Guarded) -> tuple[Fields, str]:
    document = (await done(service, "GetPlans", number=1)).response.document
    versions = (await done(service, "ListPlanVersions")).response.versions
    return {"document": f"revision: {versions[0].revision + 1}\n{document}"}, "plans"


async def roll_back_plans(service: Guarded) -> tuple[Fields, str]:
    [latest, *_] = (await done(service, "ListPlanVersions")).response.versions
    await done(service, "PublishPlans", **(await publish_plans(service))[0])
    return {"number": latest.number}, "plans"


async def create_key(_: Guarded) -> tuple[Fields, str]:
    return {"request_id": fresh(), "name": "app", "scopes": ["backend"]}, "keys/"


async def revoke_key(service: Guarded) -> tuple[Fields, str]:
    key_id = parse(await service.make("backend")).key_id
    return {"key_id": key_id}, f"keys/{key_id}"


async def rotate_key(service: Guarded) -> tuple[Fields, str]:
    key_id = parse(await service.make("backend")).key_id
    return {"request_id": fresh(), "key_id": key_id}, f"keys/{key_id}"


NOWHERE = "http://127.0.0.1:9/"
"""A URL where nobody is."""


async def create_webhook(_: Guarded) -> tuple[Fields, str]:
    return {"request_id": fresh(), "url": NOWHERE}, "webhooks/"


async def new_webhook(service: Guarded) -> str:
    made = await done(service, "CreateWebhook", **(await create_webhook(service))[0])
    return made.response.webhook.endpoint_id


async def update_webhook(service: Guarded) -> tuple[Fields, str]:
    endpoint_id = await new_webhook(service)
    webhook = pb.Webhook(endpoint_id=endpoint_id, description="another")
    return {"webhook": webhook, "update_mask": {"paths": ["description"]}}, f"webhooks/{endpoint_id}"


async def delete_webhook(service: Guarded) -> tuple[Fields, str]:
    endpoint_id = await new_webhook(service)
    return {"endpoint_id": endpoint_id}, f"webhooks/{endpoint_id}"


async def rotate_webhook_secret(service: Guarded) -> tuple[Fields, str]:
    endpoint_id = await new_webhook(service)
    return {"request_id": fresh(), "endpoint_id": endpoint_id}, f"webhooks/{endpoint_id}"


async def replay_events(service: Guarded) -> tuple[Fields, str]:
    endpoint_id = await new_webhook(service)
    dead = "INSERT INTO ledger.webhook_queue (endpoint_id, number, customer, is_dead) VALUES ($1, 0, 0, true)"
    await service.owner.execute(dead, endpoint_id)
    return {"endpoint_id": endpoint_id}, f"webhooks/{endpoint_id}"


REQUESTS: dict[str, Callable[[Guarded], Awaitable[tuple[Fields, str]]]] = {
    "CreateCustomer": create_customer,
    "UpdateCustomer": update_customer,
    "IssueGrant": issue_grant,
    "ConfirmGrant": confirm_grant,
    "VoidGrant": void_grant,
    "ExtendGrant": extend_grant,
    "RetryTopUp": retry_top_up,
    "DisputeGrant": dispute_grant,
    "ResolveDispute": resolve_dispute,
    "RefundGrant": refund_grant,
    "WriteOffGrant": write_off_grant,
    "WriteOffDebt": write_off_debt,
    "PublishRateCard": publish_rate_card,
    "PublishCosts": publish_costs,
    "RollbackRateCard": roll_back_rate_card,
    "RollbackCosts": roll_back_costs,
    "PublishPlans": publish_plans,
    "RollbackPlans": roll_back_plans,
    "CreateKey": create_key,
    "RevokeKey": revoke_key,
    "RotateKey": rotate_key,
    "CreateWebhook": create_webhook,
    "UpdateWebhook": update_webhook,
    "DeleteWebhook": delete_webhook,
    "RotateWebhookSecret": rotate_webhook_secret,
    "ReplayEvents": replay_events,
}
"""A request that has an effect, and what it concerns (what is made has its id from the server)."""


# -- one row each --------------------------------------------------------------------------------


async def test_every_method_that_writes_is_tried_below():
    """From the descriptors: a new one has a request here, or a name that says that it reads."""
    assert sorted(REQUESTS) == WRITES


@pytest.mark.parametrize("method", REQUESTS)
async def test_every_write_leaves_one_row(service, method):
    """Who, when, by what, of what, before and after; a repeat and a refusal leave none."""
    key = await service.make("ops", name=f"who does {method}")
    fields, resource = await REQUESTS[method](service)
    before, earliest = await last(service), await service.owner.fetchval("SELECT clock_timestamp()")
    first = await service.call(method, key, **fields)
    assert first.code is grpc.StatusCode.OK, first
    [row] = await acts(service, before)
    assert (row["key_id"], row["name"], row["method"]) == (parse(key).key_id, f"who does {method}", method)
    assert row["request_id"] == fields.get("request_id")
    expected = {
        "CreateKey": lambda: f"keys/{first.response.key.key_id}",
        "CreateWebhook": lambda: f"webhooks/{first.response.webhook.endpoint_id}",
    }
    assert row["resource"] == expected.get(method, lambda: resource)()
    assert earliest <= row["at"] <= await service.owner.fetchval("SELECT clock_timestamp()")
    assert json.loads(row["before"] or "{}") != json.loads(row["after"])
    secret = getattr(first.response, "secret", "")
    assert not secret or secret.rpartition("_")[2] not in str(row)

    again = await service.call(method, key, **fields)
    assert again.code is grpc.StatusCode.OK
    refused = await service.call(method, key)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(await acts(service, before)) == 1


@pytest.mark.parametrize("method", REQUESTS)
async def test_what_cannot_be_audited_is_not_done(service, method):
    """The row and what it is about are one transaction: without the one there is not the other."""
    fields, _ = await REQUESTS[method](service)
    state = await service.owner.fetchrow(STATE)
    await service.owner.execute(
        f"ALTER TABLE ledger.audit ADD CONSTRAINT no_more CHECK (method <> '{method}') NOT VALID"
    )
    try:
        refused = await service.call(method, service.ops, **fields)
    finally:
        await service.owner.execute("ALTER TABLE ledger.audit DROP CONSTRAINT no_more")
    assert refused.code is grpc.StatusCode.INTERNAL
    assert await service.owner.fetchrow(STATE) == state
    await done(service, method, **fields)


async def test_what_is_imported_leaves_the_rows_of_its_methods(service):
    """One for each item that has an effect, as if it had come alone: by the same method, of the same key."""
    key = await service.make("ops", name="who imports")
    requests = [(method, await REQUESTS[method](service)) for method in ("CreateCustomer", "IssueGrant") * 2]
    items = [
        pb.ImportItem(**{"create_customer" if "customer" in fields else "issue_grant": fields})
        for _, (fields, _) in requests
    ]
    before = await last(service)
    for answer in [await service.call("Import", key, items=[*items, pb.ImportItem(), *items]) for _ in "12"]:
        assert answer.code is grpc.StatusCode.OK, answer
        assert [result.WhichOneof("outcome") for result in answer.response.results].count("error") == 1
    rows = await acts(service, before)
    assert sorted((row["method"], row["resource"], row["request_id"]) for row in rows) == sorted(
        (method, resource, fields["request_id"]) for method, (fields, resource) in requests
    )
    assert {(row["key_id"], row["name"]) for row in rows} == {(parse(key).key_id, "who imports")}
    entries = await service.owner.fetch(
        "SELECT e.request_id FROM cell_00.entries e JOIN ledger.audit a USING (customer, sequence)"
        " WHERE a.number > $1 AND e.request_id = a.request_id",
        before,
    )
    assert len(entries) == len(rows) == 4


async def test_grants_by_two_servers_at_once_leave_one_row_each(postgres):
    """Whatever was decided again, repeated or refused meanwhile: each entry has a row, each row an entry."""
    settings = await settings_of(postgres, "audited_by_two")
    async with serving(settings) as here, serving(settings) as there:
        await here.make("ops")
        await here.new_customer("cus_a")
        async with asyncio.timeout(60):
            await until(lambda: there.takes(here.ops))
        requests = [(await issue_grant(here))[0] for _ in range(40)]
        for number, fields in enumerate(requests):
            fields["amount_micros"] = -1 if number % 10 == 9 else CREDIT
        twice = [(server, fields) for fields in requests for server in (here, there)]

        async def settled(server: Guarded, fields: dict[str, Any]) -> None:
            async def is_settled() -> bool:
                return (await server.call("IssueGrant", here.ops, **fields)).code not in NOT_YET

            await until(is_settled)

        await asyncio.gather(*(settled(server, fields) for server, fields in twice))
        pairs = await here.owner.fetch("""
            SELECT e.request_id AS booked, a.request_id AS audited
            FROM (SELECT * FROM cell_00.entries WHERE kind = 'GRANT') e
            FULL JOIN (SELECT * FROM ledger.audit WHERE method = 'IssueGrant') a USING (customer, sequence)
        """)
        assert len(pairs) == 37
        assert all(booked == audited for booked, audited in pairs)


async def test_rows_say_what_changed(service):
    """Before and after, by field; prices by their version, keys without hashes, grants with what was paid."""
    before = await last(service)
    customer = pb.Customer(customer_id="cus_b", display_name="B", plan="standard", multiplier="0.9")
    await done(service, "CreateCustomer", request_id=fresh(), customer=customer)
    changed = pb.Customer(customer_id="cus_b", plan="capped")
    mask = {"paths": ["plan"]}
    await done(service, "UpdateCustomer", request_id=fresh(), customer=changed, update_mask=mask)
    end = datetime(2100, 1, 1, tzinfo=UTC)
    granted = await done(
        service,
        "IssueGrant",
        request_id=fresh(),
        customer_id="cus_b",
        amount_micros=CREDIT,
        kind=wallet.GRANT_KIND_PAID,
        paid_total_usd="12.5",
        expires_at=end,
    )
    document = CARD.format(name="reported", revision=1, each=1)
    await done(service, "PublishRateCard", document=document)
    await done(service, "PublishRateCard", document=document.replace("revision: 1", "revision: 7"))
    first = (await done(service, "CreateKey", request_id=fresh(), name="k", scopes=["refund"])).response.key
    rotated = (await done(service, "RotateKey", request_id=fresh(), key_id=first.key_id)).response
    await done(service, "RevokeKey", key_id=first.key_id)

    rows = await acts(service, before)
    reported = [(json.loads(row["before"] or "null"), json.loads(row["after"])) for row in rows]
    created, updated, grant, card, newer, made, replaced, revoked = reported
    policies = {"display_name": "B", "plan": "standard", "rate_card": "", "zone": "UTC"}
    assert created == (None, {**policies, "multiplier_nanos": 900_000_000, "plan_overrides": ""})
    assert updated == (created[1], {**created[1], "plan": "capped"})
    assert grant[0] is None
    figures = ("kind", "amount_micros", "paid_total_nanousd", "expires_at")
    assert [grant[1][figure] for figure in figures] == ["PAID", CREDIT, 12_500_000_000, end.isoformat()]
    assert rows[2]["sequence"] == granted.response.sequence
    assert card[0] is None
    assert newer[0] == card[1]
    assert (newer[1]["number"], newer[1]["revision"]) == (2, 7)
    assert made[0] is None
    assert replaced[0] == made[1]
    assert replaced[1]["successor"]["key_id"] == rotated.key.key_id
    assert replaced[1]["expires_at"] is not None
    assert revoked[0]["revoked_at"] is None
    assert (revoked[1]["revoked_by"], revoked[1]["key_id"]) == ("ops", first.key_id)
    assert made[1]["created_by_key_id"] == revoked[1]["revoked_by_key_id"] == parse(service.ops).key_id
    assert "hash" not in str(reported)


async def test_a_payment_of_another_amount_is_seen(service):
    """A confirmation has what was stated before it, and what was paid after it."""
    fields, _ = await issue_grant(service)
    stated = {**fields, "pending_payment": True, "paid_total_usd": "12.5"}
    made = await done(service, "IssueGrant", **stated)
    before = await last(service)
    named = {"customer_id": "cus_a", "grant_id": made.response.grant.grant_id}
    await done(service, "ConfirmGrant", request_id=fresh(), **named, paid_total_usd="12")
    [row] = await acts(service, before)
    images = [json.loads(row[image]) for image in ("before", "after")]
    assert [image["paid_total_nanousd"] for image in images] == [12_500_000_000, 12_000_000_000]
    assert [image["status"] for image in images] == ["PENDING_PAYMENT", "ACTIVE"]


# -- who, and not who they say -------------------------------------------------------------------


async def test_nobody_can_publish_under_another_name(service):
    """Whoever publishes is the key: a name that is sent, in whatever field, is not looked at."""
    key = await service.make("ops", name="mallory")
    metadata = [("authorization", f"Bearer {key}"), ("published_by", "alice"), ("name", "alice")]
    for method, number in {"PublishRateCard": 3, "PublishCosts": 2, "RollbackRateCard": 4}.items():
        request = service.methods[method].request(**(await REQUESTS[method](service))[0])
        request.MergeFromString(bytes([number << 3 | 2, 5]) + b"alice")
        answer = await service.ask(method, request, metadata)
        assert answer.response.version.published_by == "mallory"
    fields = [field for each in WRITES for field in service.methods[each].descriptor.input_type.fields]
    assert not [field.full_name for field in fields if field.name.endswith("_by")]


async def test_keys_of_one_name_are_told_apart(service):
    """Names are free: whoever made or revoked a key, or published, is named by the key's id, too."""
    document = CARD.format(name="by_namesakes", revision=1, each=1)
    reported = []
    for revision in ("revision: 1", "revision: 2"):
        key = await service.make("ops", name="namesake")
        request = {"request_id": fresh(), "name": "k", "scopes": ["refund"]}
        made = (await service.call("CreateKey", key, **request)).response.key
        revoked = (await service.call("RevokeKey", key, key_id=made.key_id)).response.key
        published = document.replace("revision: 1", revision)
        version = (await service.call("PublishRateCard", key, document=published)).response.version
        names = {made.created_by, revoked.created_by, revoked.revoked_by, version.published_by}
        assert names == {"namesake"}
        reported.append((made.created_by_key_id, revoked.revoked_by_key_id, version.published_by_key_id))
        assert reported[-1] == (parse(key).key_id,) * 3
    assert reported[0] != reported[1]
    listed = (await service.call("ListRateCardVersions", service.ops, name="by_namesakes")).response.versions
    assert [version.published_by_key_id for version in listed] == [reported[1][0], reported[0][0]]


async def test_without_a_key_the_name_says_how(postgres):
    """On loopback, before there is a key; no key can be made to look the same, for it has an id."""
    async with serving(await settings_of(postgres, "audited_without_keys")) as service:
        await service.new_customer("cus_a")
        rows = await acts(service)
        by_files = [row["resource"] for row in rows if row["method"] == "files"]
        assert {"costs", "plans"} < set(by_files)
        assert len(by_files) == len(set(by_files))
        assert all(row["key_id"] == "" for row in rows)
        assert {row["name"].partition(" of ")[0] for row in rows} == {"files", "loopback"}


# -- reading -------------------------------------------------------------------------------------


async def listed(service: Guarded, **fields: Any) -> list[pb.AuditEvent]:
    """All pages."""
    found: list[pb.AuditEvent] = []
    token = ""
    while True:
        page = (await done(service, "ListAuditEvents", page_token=token, **fields)).response
        assert len(page.events) <= fields.get("page_size", 1000)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


async def test_the_audit_is_listed_the_newest_first(service):
    """In pages, each row once, whatever is done meanwhile; all of what the row holds."""
    for _ in range(3):
        await done(service, "IssueGrant", **(await issue_grant(service))[0])
    stored = (await acts(service))[::-1]
    page = (await done(service, "ListAuditEvents", page_size=2)).response
    await done(service, "IssueGrant", **(await issue_grant(service))[0])
    rest = await listed(service, page_size=2)
    assert [event.number for event in page.events] == [row["number"] for row in stored[:2]]
    assert [event.number for event in rest[1:]] == [row["number"] for row in stored]
    key = await service.make("wallet", customers=("cus_a",))
    grants = (await service.call("ListGrants", key, customer_id="cus_a")).response.grants
    row, event = stored[0], rest[1]
    assert event == pb.AuditEvent(
        number=row["number"],
        at=row["at"],
        key_id=parse(service.ops).key_id,
        name="ops",
        method="IssueGrant",
        resource="customers/cus_a",
        request_id=row["request_id"],
        sequence=row["sequence"],
        grant_id=event.grant_id,
        after=row["after"],
    )
    assert event.grant_id in {grant.grant_id for grant in grants}


async def test_the_audit_is_filtered(service):
    """By method, key, resource and time, each alone and together."""
    key = await service.make("ops", name="kim")
    customer = pb.Customer(customer_id="cus_kim", plan="standard")
    await service.call("CreateCustomer", key, request_id=fresh(), customer=customer)
    for who in (key, service.ops):
        asked = {"amount_micros": CREDIT, "kind": wallet.GRANT_KIND_PAID}
        await service.call("IssueGrant", who, request_id=fresh(), customer_id="cus_kim", **asked)
    theirs = await listed(service, key_id=parse(key).key_id)
    assert [event.method for event in theirs] == ["IssueGrant", "CreateCustomer"]
    of_customer = await listed(service, resource="customers/cus_kim")
    assert [event.name for event in of_customer] == ["ops", "kim", "kim"]
    assert {event.method for event in await listed(service, method="IssueGrant")} == {"IssueGrant"}
    both = await listed(service, method="IssueGrant", resource="customers/cus_kim", key_id=parse(key).key_id)
    assert both == [theirs[0]]
    middle = of_customer[1].at.ToDatetime(tzinfo=UTC)
    since = await listed(service, resource="customers/cus_kim", since=middle)
    until = await listed(service, resource="customers/cus_kim", until=middle)
    assert (since, until) == (of_customer[:2], of_customer[2:])
    assert await listed(service, since=datetime.now(UTC) + timedelta(days=1)) == []
    refused = await service.call("ListAuditEvents", service.ops, page_size=1001)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_longest_id_can_be_asked_for(service):
    """A customer's id of 128 characters is one of its resource."""
    customer_id = "c" * 128
    await service.new_customer(customer_id)
    found = await listed(service, resource=f"customers/{customer_id}")
    assert [event.method for event in found] == ["IssueGrant", "CreateCustomer"]
    refused = await service.call("ListAuditEvents", service.ops, resource=f"customers/{customer_id}+more")
    assert refused.code is grpc.StatusCode.OK
    refused = await service.call("ListAuditEvents", service.ops, resource="c" * 145)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_page_is_no_larger_than_a_client_takes(service):
    """Rows of keys that name a thousand customers come on several pages, whatever size is asked for."""
    end = await last(service)
    after = json.dumps({"customer_ids": [f"{number:0128}" for number in range(1_000)]})
    await service.owner.execute(
        "INSERT INTO ledger.audit (key_id, name, method, resource, after)"
        " SELECT 'k', 'a test', 'CreateKey', 'keys/many', $1 FROM generate_series(1, 40)",
        after,
    )
    page = (await done(service, "ListAuditEvents", page_size=1000, resource="keys/many")).response
    assert 2**20 < page.ByteSize() < 4 * 2**20
    found = await listed(service, page_size=1000, resource="keys/many")
    assert len({event.number for event in found}) == len(found) == 40
    assert len(await listed(service, page_size=7)) == len(await acts(service))
    assert await last(service) == end + 40


@pytest.mark.parametrize("field", ["", "method", "key_id", "resource"])
async def test_a_page_is_found_by_an_index(service, field):
    """However long the audit is, a page reads the rows that it shows, and one to see if there are more."""
    wanted = Wanted(**{field: "x"} if field else {})
    statement, values = listing(wanted, (datetime.now(UTC), 9), 9)
    async with service.owner.transaction():
        await service.owner.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = await service.owner.fetch(f"EXPLAIN {statement}", *values)
    lines = [line.strip() for (line,) in plan]
    assert [line for line in lines if "Index Scan Backward" in line]
    assert not [line for line in lines if "Sort" in line]
    [condition] = [line for line in lines if line.startswith("Index Cond")]
    assert not field or f"{field} = " in condition
