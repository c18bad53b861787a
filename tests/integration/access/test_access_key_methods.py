"""AdminService's methods about keys: made once, shown once, rotated with an overlap, revoked for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from guarded import Answer, Guarded, serving, settings_of

from ledger.access.keys import LIFE_MAX, parse
from ledger.access.table import KeyTable
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.calling import fresh
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR = timedelta(hours=1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Guarded]:
    """A service with a key of ops, named "ops", and a customer."""
    async with serving(await settings_of(postgres, "key_methods")) as service:
        refused = await service.call("CreateKey", request_id=fresh(), name="app", scopes=["backend"])
        assert problems_of(refused).keys() == {"scopes"}
        await service.make("ops")
        await service.new_customer("cus_a")
        yield service


def problems_of(answer: Answer) -> dict[str, str]:
    """What is wrong with the fields of a request."""
    bad = BadRequest()
    for detail in Status.FromString(answer.status).details:
        detail.Unpack(bad)
    return {each.field: each.description for each in bad.field_violations}


async def create(service: Guarded, **fields: Any) -> Answer:
    given = {"request_id": fresh(), "name": "app", "scopes": ["backend"], **fields}
    return await service.call("CreateKey", service.ops, **given)


async def works(service: Guarded, secret: str) -> bool:
    """Whether a key of scope backend is let in."""
    answer = await service.call("Quote", secret)
    assert answer.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT)
    return answer.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_key_is_shown_once(service):
    """The answer that made it holds the key; the list, the database and a repeat do not."""
    end = datetime.now(UTC) + HOUR
    request = {"request_id": fresh(), "scopes": ["backend", "refund"], "customer_ids": ["cus_a"]}
    made = (await create(service, **request, expires_at=end)).response
    assert await works(service, made.secret)
    assert made.key == pb.Key(
        key_id=parse(made.secret).key_id,
        name="app",
        scopes=["backend", "refund"],
        customer_ids=["cus_a"],
        state=pb.KEY_STATE_ACTIVE,
        created_by="ops",
        created_by_key_id=parse(service.ops).key_id,
        created_at=made.key.created_at,
        expires_at=end,
    )
    again = (await create(service, **request, expires_at=end)).response
    assert again == pb.CreateKeyResponse(key=made.key, secret="", replayed=True)
    [stored] = await service.owner.fetch("SELECT k::text FROM ledger.keys k WHERE id = $1", made.key.key_id)
    secret = parse(made.secret).secret
    listed = (await service.call("ListKeys", service.ops)).response
    assert made.key.key_id in {key.key_id for key in listed.keys}
    assert secret not in stored[0]
    assert secret not in str(listed)


async def test_a_key_is_shown_whatever_comes_after(service, monkeypatch):
    """It is made, and nobody could show it again: a look for it that fails does not take the answer away."""

    async def away(_):
        raise ConnectionError

    with monkeypatch.context() as patched:
        # The database is there to make the key, and away a moment later.
        patched.setattr(KeyTable, "look", away)
        made = (await create(service)).response
    async with asyncio.timeout(60):
        await until(lambda: works(service, made.secret))


async def test_another_request_under_the_same_id_makes_no_key(service):
    """A request id stands for one request."""
    request_id = fresh()
    await create(service, request_id=request_id)
    refused = await create(service, request_id=request_id, name="another")
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    ("fields", "path", "reported"),
    [
        ({"request_id": ""}, "request_id", "is empty"),
        ({"name": ""}, "name", "is empty"),
        ({"name": "a\nb"}, "name", "has a control character"),
        ({"scopes": []}, "scopes", "is empty; one or more of"),
        ({"scopes": ["x" * 10_000, *"abcde"]}, "scopes", "has 6 scopes; of backend"),
        ({"scopes": ["backends"]}, "scopes[0]", "'backends' is no scope; backend is meant, perhaps"),
        ({"scopes": ["ops"], "customer_ids": ["cus_a"]}, "customer_ids", "go with no key of scope ops"),
        ({"scopes": ["wallet"]}, "customer_ids", "has 0 customers; a wallet key names exactly one"),
        ({"customer_ids": [""]}, "customer_ids[0]", "is empty"),
        ({"customer_ids": [f"c{n}" for n in range(1001)]}, "customer_ids", "has 1001 customers; at most"),
        ({"expires_at": datetime.now(UTC) - HOUR}, "expires_at", "is 20"),
        ({"expires_at": datetime(9999, 1, 1, tzinfo=UTC)}, "expires_at", "is 9999-01-01T00:00:00+00:00; at"),
    ],
)
async def test_what_is_wrong_with_a_key_is_told_by_field(service, fields, path, reported):
    """And no key is made."""
    before = await service.owner.fetchval("SELECT count(*) FROM ledger.keys")
    refused = await create(service, **fields)
    assert problems_of(refused)[path].startswith(reported)
    assert await service.owner.fetchval("SELECT count(*) FROM ledger.keys") == before


async def test_a_key_is_bound_to_customers_that_exist(service):
    """A mistyped customer would make a key that opens nothing."""
    refused = await create(service, customer_ids=["cus_a", "cus_nobody"])
    assert (refused.reason, refused.metadata) == ("CUSTOMER_NOT_FOUND", {"customer_id": "cus_nobody"})


async def test_keys_are_listed_in_pages_the_newest_first(service):
    """Each once, however many were made since the first page."""
    made = [(await create(service)).response.key.key_id for _ in range(5)]
    found, token = [], ""
    while len(found) < 5:
        page = (await service.call("ListKeys", service.ops, page_size=2, page_token=token)).response
        found += [key.key_id for key in page.keys]
        token = page.next_page_token
        await create(service)
    assert found[:5] == made[::-1]


async def test_a_page_of_keys_is_no_larger_than_a_client_takes(service):
    """Keys that name a thousand customers come on several pages, each once, whatever size is asked for."""
    customers = [str(number).rjust(128, "\N{GRINNING FACE}") for number in range(1_000)]
    last = await service.owner.fetchval("SELECT generation FROM ledger.key_generation")
    await service.owner.execute(
        "INSERT INTO ledger.keys (id, hash, name, scopes, customers, created_by, created_by_key_id,"
        " created_at, request_id, fingerprint, number, generation)"
        " SELECT lpad(n::text, 12, '0'), hash, 'a test', scopes, $1, created_by, created_by_key_id,"
        " created_at, 'r' || n, fingerprint, $2 + n, $2 + n"
        " FROM ledger.keys, generate_series(1, 12) n WHERE name = 'ops'",
        customers,
        last,
    )
    await service.owner.execute("UPDATE ledger.key_generation SET generation = $1", last + 12)
    found, token, pages = [], "", 0
    while token or not pages:
        page = await service.call("ListKeys", service.ops, page_size=1000, page_token=token)
        assert page.response.ByteSize() < 4 * 2**20
        found += [(key.key_id, len(key.customer_ids)) for key in page.response.keys]
        token, pages = page.response.next_page_token, pages + 1
    assert found[:12] == [(f"{number:012}", 1_000) for number in range(12, 0, -1)]
    assert (
        len(found)
        == len({key_id for key_id, _ in found})
        == await service.owner.fetchval("SELECT count(*) FROM ledger.keys")
    )
    assert pages > 1


async def test_a_rotated_key_goes_on_for_the_overlap(service):
    """Both let in; the first says when it ends and by whom it is replaced, the second lives as long as it."""
    end = datetime.now(UTC) + 100 * HOUR
    first = (await create(service, customer_ids=["cus_a"], expires_at=end)).response
    began = datetime.now(UTC)
    request = {"request_id": fresh(), "key_id": first.key.key_id, "overlap": Duration(seconds=3600)}
    answer = await service.call("RotateKey", service.ops, **request)
    rotated = answer.response
    assert await works(service, first.secret)
    assert await works(service, rotated.secret)
    assert rotated.secret != first.secret
    assert rotated.key.key_id == rotated.replaced.replaced_by == parse(rotated.secret).key_id
    for field in ("name", "scopes", "customer_ids", "created_by", "created_by_key_id"):
        assert getattr(rotated.key, field) == getattr(first.key, field)
    for reported, expected in ((rotated.replaced, HOUR), (rotated.key, 100 * HOUR)):
        lasts = reported.expires_at.ToDatetime(tzinfo=UTC) - began
        assert abs(lasts - expected) < timedelta(minutes=10)
    again = (await service.call("RotateKey", service.ops, **request)).response
    assert again == pb.RotateKeyResponse(key=rotated.key, replaced=rotated.replaced, secret="", replayed=True)


async def test_a_rotation_without_overlap_ends_the_first_at_once(service):
    """For a key that got lost: its successor is there, and it is not."""
    first = (await create(service)).response
    request = {"request_id": fresh(), "key_id": first.key.key_id, "overlap": Duration()}
    rotated = (await service.call("RotateKey", service.ops, **request)).response
    assert await works(service, rotated.secret)
    assert not await works(service, first.secret)
    assert rotated.replaced.state == pb.KEY_STATE_EXPIRED
    assert not rotated.key.HasField("expires_at")


async def test_an_overlap_makes_no_key_last_longer(service):
    """What was to end before the overlap ends when it was to."""
    end = datetime.now(UTC) + HOUR
    first = (await create(service, expires_at=end)).response
    rotated = await service.call("RotateKey", service.ops, request_id=fresh(), key_id=first.key.key_id)
    assert rotated.response.replaced.expires_at == first.key.expires_at


async def test_a_key_may_last_longer_than_anybody(service):
    """A hundred years, and so may its successor."""
    end = datetime.now(UTC) + LIFE_MAX - HOUR
    first = (await create(service, expires_at=end)).response
    request = {"request_id": fresh(), "key_id": first.key.key_id, "overlap": Duration(seconds=30 * 86_400)}
    rotated = (await service.call("RotateKey", service.ops, **request)).response
    lives = [key.expires_at.ToDatetime() - key.created_at.ToDatetime() for key in (first.key, rotated.key)]
    assert lives[0] == lives[1]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"overlap": Duration(seconds=30 * 86_400, nanos=1)}, "overlap"),
        ({"overlap": Duration(seconds=999_000_000_000_000)}, "overlap"),
        ({"overlap": Duration(seconds=-1)}, "overlap"),
        ({"expires_at": datetime.now(UTC) - HOUR}, "expires_at"),
        ({"expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at"),
        ({"key_id": ""}, "key_id"),
    ],
)
async def test_what_is_wrong_with_a_rotation_is_told_by_field(service, fields, path):
    """And the first key stays as it is."""
    first = (await create(service)).response
    given = {"request_id": fresh(), "key_id": first.key.key_id, **fields}
    assert path in problems_of(await service.call("RotateKey", service.ops, **given))
    assert await works(service, first.secret)


async def test_a_key_that_has_ended_has_no_successor(service):
    """Revoked, or rotated before: the successor is reported, and is the one to be rotated next."""
    first = (await create(service)).response
    key_id = first.key.key_id
    second = (await service.call("RotateKey", service.ops, request_id=fresh(), key_id=key_id)).response
    again = await service.call("RotateKey", service.ops, request_id=fresh(), key_id=key_id)
    assert (again.code, again.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_ENDED")
    assert again.metadata == {"key_id": key_id, "replaced_by": second.key.key_id}
    await service.call("RevokeKey", service.ops, key_id=second.key.key_id)
    after = await service.call("RotateKey", service.ops, request_id=fresh(), key_id=second.key.key_id)
    assert (after.reason, after.metadata) == ("KEY_ENDED", {"key_id": second.key.key_id})


async def test_a_key_is_revoked_once(service):
    """For good; a repeat answers who did it, and when."""
    made = (await create(service)).response
    revoked = (await service.call("RevokeKey", service.ops, key_id=made.key.key_id)).response.key
    assert not await works(service, made.secret)
    assert (revoked.state, revoked.revoked_by) == (pb.KEY_STATE_REVOKED, "ops")
    again = (await service.call("RevokeKey", await service.make("ops"), key_id=made.key.key_id)).response.key
    assert again == revoked


@pytest.mark.parametrize("name", ["RevokeKey", "RotateKey"])
async def test_a_key_that_is_not_there(service, name):
    """Its id is reported."""
    fields = {"request_id": fresh()} if name == "RotateKey" else {}
    refused = await service.call(name, service.ops, key_id="nothing", **fields)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    assert refused.metadata == {"key_id": "nothing"}
