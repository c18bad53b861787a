"""The life of a grant: paid later, voided, extended; what is said of it, and what became of its credits."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import count

import grpc
import pytest
from api_world import CONFIG, CREDIT, World, refusal, served
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.finance.v1.finance_service_pb2 import GetTrialBalanceRequest, VerifyJournalRequest
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh, patient
from tests.databases import new_database
from tests.serving import settings_on
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PENDING_PAYMENT = wallet.GRANT_STATUS_PENDING_PAYMENT
ACTIVE, DEPLETED = wallet.GRANT_STATUS_ACTIVE, wallet.GRANT_STATUS_DEPLETED
EXPIRED, VOIDED = wallet.GRANT_STATUS_EXPIRED, wallet.GRANT_STATUS_VOIDED
DEBT = pb.USED_CREDITS_BECOME_DEBT
SERVERS_SECONDS = 60

_numbers = count(1)


async def new_customer(world: World, plan: str = "standard") -> str:
    return await world.new_customer(f"life-{next(_numbers)}", plan=plan, granted=0)


async def issued(world: World, credits_count: int = 100, usd: str = "50", **fields) -> str:
    """The id of a new grant."""
    made = await world.grant(credits_count * CREDIT, paid_total_usd=usd, **fields)
    return made.grant.grant_id


def named(world: World, grant_id: str, **fields):
    return {"request_id": fresh(), "customer_id": world.customer_id, "grant_id": grant_id, **fields}


async def confirm(world: World, grant_id: str, **fields) -> pb.ConfirmGrantResponse:
    return await world.admin.ConfirmGrant(pb.ConfirmGrantRequest(**named(world, grant_id, **fields)))


async def void(world: World, grant_id: str, **fields) -> pb.VoidGrantResponse:
    given = {"reason": "a mistake", **fields}
    return await world.admin.VoidGrant(pb.VoidGrantRequest(**named(world, grant_id, **given)))


async def extend(world: World, grant_id: str, **fields) -> pb.ExtendGrantResponse:
    return await world.admin.ExtendGrant(pb.ExtendGrantRequest(**named(world, grant_id, **fields)))


async def grants(world: World, **fields) -> list[wallet.Grant]:
    """As the customer sees them, the newest first; what became of each adds up to it."""
    request = wallet.ListGrantsRequest(customer_id=world.customer_id, **fields)
    found = [*(await world.wallet.ListGrants(request)).grants]
    for grant in found:
        ended = (grant.expired_micros, grant.voided_micros, grant.refunded_micros)
        parts = (grant.remaining_micros, grant.consumed_micros, *ended)
        assert sum(parts) == grant.amount_micros
        assert min(parts) >= 0
    return found


async def dollars(world: World) -> dict[str, Decimal]:
    """The customer's dollar accounts that are not 0."""
    request = GetTrialBalanceRequest(customer_id=world.customer_id)
    balances = {
        each.account: Decimal(each.balance) for each in (await world.finance.GetTrialBalance(request)).dollars
    }
    return {account: balance for account, balance in balances.items() if balance}


async def now(world: World) -> int:
    """The database's second."""
    request = wallet.GetBalanceRequest(customer_id=world.customer_id)
    return (await world.wallet.GetBalance(request)).as_of.seconds


async def test_a_grant_is_issued_once_it_is_paid(service):
    """Nobody can draw it before, it pays no debt and posts nothing; a repeat of its confirmation is one."""
    await new_customer(service, plan="overdraft")
    await service.charge(amount_micros=3 * CREDIT, already_used=True)
    owed = credit.Balance(debt_micros=3 * CREDIT)
    stated = await service.grant(100 * CREDIT, paid_total_usd="50", pending_payment=True)
    assert stated.grant.status == PENDING_PAYMENT
    assert (stated.grant.remaining_micros, stated.balance) == (100 * CREDIT, owed)
    assert await grants(service) == [stated.grant]
    assert (await refusal(service.reserve(amount_micros=1))).reason == "INSUFFICIENT_CREDITS"

    request = pb.ConfirmGrantRequest(**named(service, stated.grant.grant_id, paid_total_usd="45"))
    done = await service.admin.ConfirmGrant(request)
    assert (done.grant.status, done.grant.consumed_micros) == (ACTIVE, 3 * CREDIT)
    assert done.balance == credit.Balance(available_micros=97 * CREDIT)
    assert (await dollars(service))["receivable"] == -45
    again = await service.admin.ConfirmGrant(request)
    assert again.replayed
    assert again.sequence == done.sequence
    refused = await refusal(confirm(service, stated.grant.grant_id))
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "GRANT_NOT_PENDING_PAYMENT",
    )
    assert refused.metadata == {"grant_id": stated.grant.grant_id, "status": "ACTIVE"}
    listed = wallet.ListTransactionsRequest(customer_id=service.customer_id, page_size=1)
    [newest] = (await service.wallet.ListTransactions(listed)).transactions
    assert (newest.type, newest.grant_id) == (wallet.TRANSACTION_TYPE_GRANT, stated.grant.grant_id)


async def test_a_grant_is_confirmed_at_what_was_stated(service):
    """Where the confirmation states no amount."""
    await new_customer(service)
    done = await confirm(service, await issued(service, pending_payment=True))
    assert done.grant.status == ACTIVE
    assert await dollars(service) == {"receivable": -50, "deferred": 50}


async def test_a_grant_that_nobody_pays_is_dropped(service):
    """It is voided whole, and no account moves."""
    await new_customer(service)
    grant_id = await issued(service, pending_payment=True)
    done = await void(service, grant_id)
    assert (done.taken_back_micros, done.owed_micros, done.balance) == (0, 0, credit.Balance())
    assert (done.grant.status, done.grant.voided_micros) == (VOIDED, 100 * CREDIT)
    assert await dollars(service) == {}
    assert await grants(service) == [done.grant]
    assert (await refusal(confirm(service, grant_id))).metadata["status"] == "VOIDED"


async def test_what_nobody_holds_is_voided(service):
    """With its value; what is held can be used, its rest is voided when the hold ends. Once, by its id."""
    await new_customer(service)
    grant_id = await issued(service)
    await service.charge(amount_micros=20 * CREDIT)
    held = await service.reservation(amount_micros=30 * CREDIT)
    request = pb.VoidGrantRequest(**named(service, grant_id, reason="a mistake"))
    done = await service.admin.VoidGrant(request)
    assert (done.taken_back_micros, done.owed_micros) == (50 * CREDIT, 0)
    assert done.balance == credit.Balance(held_micros=30 * CREDIT)
    assert await dollars(service) == {"receivable": -25, "deferred": 15, "revenue": 10}

    await service.commit(held, amount_micros=10 * CREDIT, final=True)
    assert await service.balance() == credit.Balance()
    assert await dollars(service) == {"receivable": -15, "revenue": 15}
    [grant] = await grants(service)
    assert (grant.status, grant.voided_micros, grant.consumed_micros) == (VOIDED, 70 * CREDIT, 30 * CREDIT)
    again = await service.admin.VoidGrant(request)
    assert (again.replayed, again.sequence, again.taken_back_micros) == (True, done.sequence, 50 * CREDIT)
    refused = await refusal(void(service, grant_id))
    assert (refused.reason, refused.metadata["status"]) == ("GRANT_CLOSED", "VOIDED")
    listed = wallet.ListTransactionsRequest(customer_id=service.customer_id)
    types = [each.type for each in (await service.wallet.ListTransactions(listed)).transactions]
    assert types.count(wallet.TRANSACTION_TYPE_GRANT_VOIDED) == 1


async def test_after_a_chargeback_the_used_credits_are_owed(service):
    """At what was paid for them, also of a grant that is used up; the next grant pays them."""
    await new_customer(service)
    grant_id = await issued(service)
    await service.charge(amount_micros=100 * CREDIT)
    assert (await refusal(void(service, grant_id))).metadata["status"] == "DEPLETED"
    done = await void(service, grant_id, used=DEBT)
    assert (done.taken_back_micros, done.owed_micros) == (0, 100 * CREDIT)
    assert done.balance == credit.Balance(debt_micros=100 * CREDIT)
    assert await dollars(service) == {"unbilled": -50, "revenue": 50}
    await issued(service, 150, usd="90")
    assert await service.balance() == credit.Balance(available_micros=50 * CREDIT)
    assert await dollars(service) == {"receivable": -90, "deferred": 30, "revenue": 60}
    newest, voided = await grants(service)
    assert (newest.consumed_micros, voided.voided_micros) == (100 * CREDIT, 100 * CREDIT)


async def test_a_grant_is_extended(service):
    """Another expiry or priority, or both, and nothing else of it; the draws after it go by them."""
    await new_customer(service)
    soon = Timestamp(seconds=await now(service) + 3_600)
    first, second = await issued(service, expires_at=soon), await issued(service)
    done = await extend(service, first, never_expires=True, priority=5)
    assert (done.grant.HasField("expires_at"), done.grant.priority) == (False, 5)
    await service.charge(amount_micros=10 * CREDIT)
    assert [grant.consumed_micros for grant in await grants(service)] == [10 * CREDIT, 0]
    later = Timestamp(seconds=soon.seconds + 1)
    assert (await extend(service, second, expires_at=later)).grant.expires_at == later
    assert (await extend(service, second, priority=-1)).grant.expires_at == later


async def test_an_expiry_may_come_sooner_while_it_is_to_come(service):
    """A mistake is mended so; the clock goes by the new one, and a grant that has ended is not extended."""
    await new_customer(service)
    grant_id = await issued(service)
    past = Timestamp(seconds=await now(service) - 1)
    assert "expires_at" in (await refusal(extend(service, grant_id, expires_at=past))).fields
    await extend(service, grant_id, expires_at=Timestamp(seconds=await now(service) + 2))

    async def has_expired() -> bool:
        return (await grants(service))[0].status == EXPIRED

    async with asyncio.timeout(SERVERS_SECONDS):
        await until(has_expired)
    assert (await grants(service))[0].expired_micros == 100 * CREDIT
    assert (await refusal(extend(service, grant_id, never_expires=True))).reason == "GRANT_CLOSED"


async def test_a_grant_is_extended_and_drawn_in_one_batch(service):
    """Its row is written once, with what is left of it and with its new terms."""
    await new_customer(service)
    grant_id = await issued(service)
    charges = [patient(lambda: service.charge(amount_micros=CREDIT)) for _ in range(20)]
    extension = patient(lambda: extend(service, grant_id, priority=3))
    await asyncio.gather(*charges[:10], extension, *charges[10:])
    [grant] = await grants(service)
    assert (grant.remaining_micros, grant.priority) == (80 * CREDIT, 3)


async def test_instants_at_both_ends_of_the_calendar(service):
    """Beside the ends they are read as they were stated; the ends are refused: no database has them."""
    await new_customer(service)
    first, last = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799, nanos=999_999_000)
    second = Timestamp(seconds=first.seconds, nanos=1_000)
    last_but_one = Timestamp(seconds=last.seconds, nanos=999_998_000)
    async with service.nothing_changed():
        for field, end in {"effective_at": first, "expires_at": last}.items():
            assert (await refusal(service.grant(CREDIT, **{field: end}))).fields.keys() == {field}
    grant_id = await issued(service, effective_at=second, expires_at=last_but_one)
    async with service.nothing_changed():
        assert (await refusal(extend(service, grant_id, expires_at=last))).fields.keys() == {"expires_at"}
    request = wallet.ListGrantsRequest(customer_id=service.customer_id)
    [grant] = (await service.wallet.ListGrants(request)).grants
    assert (grant.effective_at, grant.expires_at) == (second, last_but_one)


async def test_references_and_notes(service):
    """A reference is shown to the customer and found by the back office; a note is shown to that alone."""
    reference = f"invoice-{fresh()}"
    said = {"external_reference": reference, "note": "ask Zoë first"}
    ids = []
    for _ in range(3):
        customer_id = await new_customer(service)
        ids += [(customer_id, await issued(service, **said)) for _ in range(2)]
        await issued(service, external_reference=f"{reference}-b")
        [_, shown, _] = await grants(service)
        assert shown.external_reference == reference
        request = wallet.ListGrantsRequest(customer_id=customer_id)
        assert b"Zo" not in (await service.wallet.ListGrants(request)).SerializeToString()
    found, token = [], ""
    while True:
        answer = await service.admin.ListCustomerGrants(
            pb.ListCustomerGrantsRequest(external_reference=reference, page_size=4, page_token=token)
        )
        found += answer.grants
        token = answer.next_page_token
        if not token:
            break
    assert [(each.customer_id, each.grant.grant_id) for each in found] == ids[::-1]
    assert {each.note for each in found} == {"ask Zoë first"}


async def test_grants_of_one_customer(service):
    """All of them, the newest first, in pages; or those of a reference."""
    customer_id = await new_customer(service)
    ids = [await issued(service, external_reference=f"po-{n % 2}") for n in range(5)]
    given = {"customer_id": customer_id, "page_size": 2}
    first = await service.admin.ListCustomerGrants(pb.ListCustomerGrantsRequest(**given))
    rest = await service.admin.ListCustomerGrants(
        pb.ListCustomerGrantsRequest(**given, page_token=first.next_page_token)
    )
    shown = [each.grant.grant_id for each in (*first.grants, *rest.grants)]
    assert shown == ids[:0:-1]
    odd = await service.admin.ListCustomerGrants(
        pb.ListCustomerGrantsRequest(customer_id=customer_id, external_reference="po-1")
    )
    assert [each.grant.grant_id for each in odd.grants] == [ids[3], ids[1]]


async def test_grants_that_expire_soon(service):
    """Of all customers, the next to expire first; of one, among its own. What is used up or voided is not."""
    start = 4_000_000_000 + next(_numbers)
    expected = []
    for place in range(3):
        customer_id = await new_customer(service)
        for more in range(2):
            expires_at = Timestamp(seconds=start + 10 * more + place)
            expected.append((expires_at.seconds, customer_id, await issued(service, expires_at=expires_at)))
        gone = await issued(service, 1, expires_at=Timestamp(seconds=start), priority=-1)
        await service.charge(amount_micros=CREDIT)
        await void(service, await issued(service, expires_at=Timestamp(seconds=start)))
        await issued(service)
    limit = Timestamp(seconds=start + 12)
    found, token = [], ""
    while True:
        request = pb.ListCustomerGrantsRequest(expires_before=limit, page_size=2, page_token=token)
        answer = await service.admin.ListCustomerGrants(request)
        found += answer.grants
        token = answer.next_page_token
        if not token:
            break
    mine = {grant_id for _, _, grant_id in expected}
    shown = [
        (each.grant.expires_at.seconds, each.customer_id, each.grant.grant_id)
        for each in found
        if each.grant.grant_id in mine
    ]
    assert shown == sorted(row for row in expected if row[0] < limit.seconds)
    assert [*found] == sorted(found, key=lambda each: each.grant.expires_at.seconds)
    assert gone not in {each.grant.grant_id for each in found}
    own = await grants(service, expires_before=limit)
    assert [grant.grant_id for grant in own] == [expected[-2][2]]


@pytest.mark.parametrize(
    ("method", "fields", "named_field"),
    [
        ("ConfirmGrant", {"request_id": ""}, "request_id"),
        ("ConfirmGrant", {"grant_id": ""}, "grant_id"),
        ("ConfirmGrant", {"paid_total_usd": "-1"}, "paid_total_usd"),
        ("ConfirmGrant", {"paid_total_usd": "100000001"}, "paid_total_usd"),
        ("VoidGrant", {"reason": ""}, "reason"),
        ("VoidGrant", {"reason": "x" * 257}, "reason"),
        ("VoidGrant", {"used": 9}, "used"),
        ("ExtendGrant", {}, "expiry"),
        ("ExtendGrant", {"never_expires": False}, "never_expires"),
        ("ExtendGrant", {"expires_at": Timestamp(seconds=10**14)}, "expires_at"),
        ("ExtendGrant", {"expires_at": Timestamp(seconds=1)}, "expires_at"),
    ],
    ids=str,
)
async def test_bad_changes(service, method, fields, named_field):
    """What is wrong is refused by field, and changes nothing."""
    await new_customer(service)
    grant_id = await issued(service, pending_payment=True)
    given = {"reason": "why"} if method == "VoidGrant" else {}
    kind = getattr(pb, f"{method}Request")
    async with service.nothing_changed():
        call = getattr(service.admin, method)(kind(**{**named(service, grant_id), **given, **fields}))
        assert (await refusal(call)).fields.keys() == {named_field}


@pytest.mark.parametrize(
    ("fields", "named_field"),
    [
        ({"external_reference": "x" * 129}, "external_reference"),
        ({"external_reference": "a\nb"}, "external_reference"),
        ({"note": "x" * 1_001}, "note"),
        (
            {"kind": wallet.GRANT_KIND_PROMO, "paid_total_usd": "0", "pending_payment": True},
            "pending_payment",
        ),
    ],
    ids=str,
)
async def test_bad_words(service, fields, named_field):
    """References and notes are bounded, printable text; nobody pays for a promotional grant."""
    await new_customer(service)
    async with service.nothing_changed():
        assert (await refusal(service.grant(CREDIT, **fields))).fields.keys() == {named_field}


async def test_a_list_is_of_something(service):
    """Not all grants of all customers; a token is of its own list."""
    assert (
        "customer_id"
        in (await refusal(service.admin.ListCustomerGrants(pb.ListCustomerGrantsRequest()))).fields
    )
    request = pb.ListCustomerGrantsRequest(external_reference="x", page_token=fresh())
    assert "page_token" in (await refusal(service.admin.ListCustomerGrants(request))).fields
    unknown = pb.ListCustomerGrantsRequest(customer_id="nobody")
    assert (await refusal(service.admin.ListCustomerGrants(unknown))).reason == "CUSTOMER_NOT_FOUND"


async def test_another_customers_grant_is_none(service):
    """An id is sealed to its customer, and one that was never given out names nothing."""
    await new_customer(service)
    grant_id = await issued(service)
    await new_customer(service)
    for wrong in (grant_id, "grt_00", "chg_" + grant_id[4:]):
        for call in (confirm(service, wrong), void(service, wrong), extend(service, wrong, priority=1)):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "GRANT_NOT_FOUND")
            assert refused.metadata == {"grant_id": wrong}


async def test_two_servers_change_the_same_grants(postgres):
    """One confirmation and one void of each take effect, whoever draws on it meanwhile; the books hold."""
    urls = await new_database(postgres, f"grants_by_two_{next(_numbers)}")
    settings = settings_on(urls, config_dir=CONFIG)
    async with served(settings) as here, served(settings) as there:
        there.customer_id = await new_customer(here)
        ids = [await issued(here, pending_payment=True) for _ in range(4)]

        async def outcome(call, server, *named, **fields) -> str:
            try:
                await patient(lambda: call(server, *named, **fields))
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        servers = (here, there)
        confirmed = await asyncio.gather(
            *(outcome(confirm, server, grant_id) for grant_id in ids for server in servers)
        )
        assert sorted(confirmed) == ["FAILED_PRECONDITION"] * 4 + ["OK"] * 4
        await asyncio.gather(
            *(outcome(World.charge, server, amount_micros=CREDIT) for server in servers for _ in range(10)),
            *(outcome(extend, server, ids[0], priority=7) for server in servers),
            *(outcome(void, server, ids[1], used=DEBT) for server in servers),
            *(outcome(void, server, ids[2]) for server in servers),
        )
        by_id = {grant.grant_id: grant for grant in await grants(there)}
        assert [by_id[grant_id].status for grant_id in ids[1:3]] == [VOIDED] * 2
        assert by_id[ids[0]].priority == 7
        kinds = [row["kind"] for row in await here.journal()]
        assert (kinds.count("GRANT"), kinds.count("GRANT_VOIDED"), kinds.count("GRANT_EXTENDED")) == (4, 2, 2)
        found = await here.finance.VerifyJournal(VerifyJournalRequest())
        assert [*found.violations] == []
