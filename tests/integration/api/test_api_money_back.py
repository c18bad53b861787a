"""Money that goes back, and money that never comes: refunds of grants, invoices and debts given up."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import count

import grpc
import pytest
from api_world import CONFIG, CREDIT, World, refusal, served
from test_api_grants import dollars, grants, issued, named, void

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh, patient
from tests.databases import new_database
from tests.serving import settings_on

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACTIVE, DEPLETED = wallet.GRANT_STATUS_ACTIVE, wallet.GRANT_STATUS_DEPLETED
REFUNDED = wallet.TRANSACTION_TYPE_GRANT_REFUNDED
WHY = {"reason": "asked for"}

_numbers = count(1)


async def new_customer(world: World, plan: str = "standard") -> str:
    return await world.new_customer(f"paid-back-{next(_numbers)}", plan=plan, granted=0)


def refund_of(world: World, grant_id: str, **fields) -> pb.RefundGrantRequest:
    return pb.RefundGrantRequest(**named(world, grant_id, **{**WHY, **fields}))


def write_off_of(world: World, grant_id: str, **fields) -> pb.WriteOffGrantRequest:
    return pb.WriteOffGrantRequest(**named(world, grant_id, **{**WHY, **fields}))


def write_off_debt_of(world: World, **fields) -> pb.WriteOffDebtRequest:
    given = {"request_id": fresh(), "customer_id": world.customer_id, **WHY, **fields}
    return pb.WriteOffDebtRequest(**given)


async def verified(world: World) -> None:
    found = await world.finance.VerifyJournal(VerifyJournalRequest())
    assert [*found.violations] == []


async def test_credits_are_paid_back_in_parts_up_to_the_whole(service):
    """Each at what it is worth, or as stated; a repeat is one; the customer sees credits and no dollar."""
    await new_customer(service)
    grant_id = await issued(service)
    request = refund_of(service, grant_id, amount_micros=20 * CREDIT)
    done = await service.admin.RefundGrant(request)
    assert (done.refunded_micros, done.refund_usd) == (20 * CREDIT, "10")
    assert (done.grant.status, done.grant.remaining_micros) == (ACTIVE, 80 * CREDIT)
    assert done.balance == credit.Balance(available_micros=80 * CREDIT)
    again = await service.admin.RefundGrant(request)
    assert again.replayed
    assert (again.sequence, again.refund_usd) == (done.sequence, "10")
    stated = refund_of(service, grant_id, amount_micros=20 * CREDIT, refund_usd="7.5")
    assert (await service.admin.RefundGrant(stated)).refund_usd == "7.5"
    beyond = await refusal(service.admin.RefundGrant(refund_of(service, grant_id, refund_usd="32.500000001")))
    assert beyond.reason == "REFUND_EXCEEDS_GRANT"
    assert beyond.metadata == {
        "grant_id": grant_id,
        "left_micros": str(60 * CREDIT),
        "left_usd": "32.500000000",
    }
    rest = await service.admin.RefundGrant(refund_of(service, grant_id))
    assert (rest.refund_usd, rest.grant.status) == ("30", DEPLETED)
    assert await dollars(service) == {"receivable": -50, "refund_payable": 47.5, "revenue": 2.5}

    [grant] = await grants(service)
    assert grant.refunded_micros == 100 * CREDIT
    listed = await service.wallet.ListTransactions(
        wallet.ListTransactionsRequest(customer_id=service.customer_id)
    )
    lines = [line for line in listed.transactions if line.type == REFUNDED]
    assert [line.available_change_micros for line in lines] == [-60 * CREDIT, -20 * CREDIT, -20 * CREDIT]
    assert {line.grant_id for line in lines} == {grant_id}
    await verified(service)


async def test_a_disputed_grant_is_set_aside_until_that_is_decided(service):
    """Nobody draws it meanwhile; won, it is back, and lost, what was used is owed. A repeat is one."""
    await new_customer(service)
    kept, lost = [await issued(service, priority=each) for each in (1, 2)]
    await service.charge(amount_micros=130 * CREDIT)
    disputed = [pb.DisputeGrantRequest(**named(service, each, **WHY)) for each in (kept, lost)]
    done = [await service.admin.DisputeGrant(request) for request in disputed]
    assert [each.disputed_micros for each in done] == [0, 70 * CREDIT]
    assert {each.grant.status for each in done} == {wallet.GRANT_STATUS_DISPUTED}
    assert (await service.admin.DisputeGrant(disputed[1])).replayed
    assert done[1].balance == credit.Balance(pending_micros=70 * CREDIT)
    assert (await refusal(service.reserve(amount_micros=1))).reason == "INSUFFICIENT_CREDITS"
    assert (await refusal(service.admin.RefundGrant(refund_of(service, lost)))).reason == "GRANT_CLOSED"

    async def resolve(grant_id: str, outcome, **fields) -> pb.ResolveDisputeResponse:
        asked = named(service, grant_id, outcome=outcome, **{**WHY, **fields})
        return await service.admin.ResolveDispute(pb.ResolveDisputeRequest(**asked))

    won = await resolve(kept, pb.DISPUTE_OUTCOME_WON)
    assert (won.grant.status, won.balance.pending_micros) == (DEPLETED, 70 * CREDIT)
    taken = await resolve(lost, pb.DISPUTE_OUTCOME_LOST, used=pb.USED_CREDITS_BECOME_DEBT)
    assert (taken.taken_back_micros, taken.owed_micros) == (70 * CREDIT, 30 * CREDIT)
    assert taken.balance == credit.Balance(debt_micros=30 * CREDIT)
    for grant_id, status in ((kept, "DEPLETED"), (lost, "VOIDED")):
        refused = await refusal(resolve(grant_id, pb.DISPUTE_OUTCOME_WON))
        assert (refused.reason, refused.metadata["status"]) == ("GRANT_NOT_DISPUTED", status)
    for fields in ({}, {"outcome": 9}, {"outcome": pb.DISPUTE_OUTCOME_WON, "used": 1}):
        asked = named(service, kept, **WHY, **fields)
        call = service.admin.ResolveDispute(pb.ResolveDisputeRequest(**asked))
        assert len((await refusal(call)).fields) == 1
    await verified(service)


async def test_what_nobody_pays_is_given_up(service):
    """An invoice as far as it is used; the credits that are left are taken back first. No credit moves."""
    await new_customer(service)
    grant_id = await issued(service)
    await service.charge(amount_micros=40 * CREDIT)
    await void(service, grant_id)
    request = write_off_of(service, grant_id, amount_usd="5")
    done = await service.admin.WriteOffGrant(request)
    assert (done.written_off_usd, done.balance) == ("5", credit.Balance())
    assert (await service.admin.WriteOffGrant(request)).replayed
    beyond = await refusal(
        service.admin.WriteOffGrant(write_off_of(service, grant_id, amount_usd="15.000000001"))
    )
    assert (beyond.reason, beyond.metadata["owed_usd"]) == ("WRITE_OFF_EXCEEDS_CLAIM", "15.000000000")
    assert (await service.admin.WriteOffGrant(write_off_of(service, grant_id))).written_off_usd == "15"
    assert await dollars(service) == {"write_off": -20, "revenue": 20}
    types = {
        line.type
        for line in (
            await service.wallet.ListTransactions(
                wallet.ListTransactionsRequest(customer_id=service.customer_id)
            )
        ).transactions
    }
    assert types == {
        wallet.TRANSACTION_TYPE_GRANT,
        wallet.TRANSACTION_TYPE_CHARGE,
        wallet.TRANSACTION_TYPE_GRANT_VOIDED,
    }


async def test_no_more_is_credited_than_was_billed(service):
    """What was given up or paid back of a grant backs no credits that come back to it, or to a new one."""
    await new_customer(service)
    given_up, paid_back = [await issued(service, priority=each) for each in (1, 2)]
    charged = [(await service.charge(amount_micros=100 * CREDIT)).charge.charge_id for _ in range(2)]
    await service.admin.WriteOffGrant(write_off_of(service, given_up, amount_usd="30"))
    for charge_id in charged:
        await service.credit.Refund(
            credit.RefundRequest(
                request_id=fresh(),
                customer_id=service.customer_id,
                charge_id=charge_id,
                amount_micros=60 * CREDIT,
                reason="goodwill",
            )
        )
    assert await dollars(service) == {"receivable": -70, "deferred": 50, "revenue": 50, "write_off": -30}
    await service.admin.RefundGrant(refund_of(service, paid_back, refund_usd="50"))
    disputed = pb.DisputeGrantRequest(**named(service, paid_back, **WHY))
    assert (await refusal(service.admin.DisputeGrant(disputed))).reason == "GRANT_CLOSED"
    await void(service, given_up)
    for charge_id in charged:
        await service.credit.ReverseCharge(
            credit.ReverseChargeRequest(
                request_id=fresh(), customer_id=service.customer_id, charge_id=charge_id, reason="twice"
            )
        )
    assert await dollars(service) == {
        "receivable": -50,
        "refund_payable": 50,
        "revenue": 30,
        "write_off": -30,
    }
    assert sum(grant.remaining_micros for grant in await grants(service)) == 80 * CREDIT
    await verified(service)


async def test_what_was_given_up_is_not_owed_again(service):
    """A chargeback makes the rest of what was used a debt, at what is left of its price."""
    await new_customer(service)
    grant_id = await issued(service)
    await service.charge(amount_micros=40 * CREDIT)
    await service.admin.WriteOffGrant(write_off_of(service, grant_id, amount_usd="5"))
    paid_back = refund_of(service, grant_id, amount_micros=20 * CREDIT, refund_usd="12.5")
    await service.admin.RefundGrant(paid_back)
    done = await void(service, grant_id, used=pb.USED_CREDITS_BECOME_DEBT)
    assert (done.taken_back_micros, done.owed_micros) == (40 * CREDIT, 25 * CREDIT)
    assert await dollars(service) == {
        "receivable": Decimal("-12.5"),
        "refund_payable": Decimal("12.5"),
        "unbilled": Decimal("-12.5"),
        "revenue": Decimal("17.5"),
        "write_off": -5,
    }
    await verified(service)


async def test_a_debt_is_given_up_by_a_grant_that_pays_it(service):
    """In parts up to the whole, at its price; what comes back of its usage later is worth nothing."""
    await new_customer(service, plan="overdraft")
    charged = await service.charge(amount_micros=3 * CREDIT, already_used=True)
    owed = -(await dollars(service))["unbilled"]
    request = write_off_debt_of(service, amount_micros=CREDIT)
    done = await service.admin.WriteOffDebt(request)
    assert (done.grant.kind, done.grant.status) == (wallet.GRANT_KIND_ADJUSTMENT, DEPLETED)
    assert (done.grant.consumed_micros, done.balance.debt_micros) == (CREDIT, 2 * CREDIT)
    again = await service.admin.WriteOffDebt(request)
    assert (again.replayed, again.written_off_usd) == (True, done.written_off_usd)
    beyond = write_off_debt_of(service, amount_micros=2 * CREDIT + 1)
    refused = await refusal(service.admin.WriteOffDebt(beyond))
    assert refused.reason == "WRITE_OFF_EXCEEDS_CLAIM"
    assert refused.metadata == {"owed_micros": str(2 * CREDIT)}
    await service.admin.WriteOffDebt(write_off_debt_of(service))
    assert await dollars(service) == {"write_off": -owed, "revenue": owed}

    await service.credit.Refund(
        credit.RefundRequest(
            request_id=fresh(),
            customer_id=service.customer_id,
            charge_id=charged.charge.charge_id,
            reason="goodwill",
        )
    )
    assert await dollars(service) == {"write_off": -owed, "revenue": owed}
    assert sum(grant.remaining_micros for grant in await grants(service)) == 3 * CREDIT
    await verified(service)


@pytest.mark.parametrize(
    ("method", "fields", "named_field"),
    [
        ("RefundGrant", {"reason": ""}, "reason"),
        ("RefundGrant", {"amount_micros": 0}, "amount_micros"),
        ("RefundGrant", {"amount_micros": -1}, "amount_micros"),
        ("RefundGrant", {"refund_usd": "0"}, "refund_usd"),
        ("RefundGrant", {"refund_usd": "-1"}, "refund_usd"),
        ("RefundGrant", {"refund_usd": "0.0000000001"}, "refund_usd"),
        ("WriteOffGrant", {"reason": ""}, "reason"),
        ("WriteOffGrant", {"amount_usd": "0"}, "amount_usd"),
        ("WriteOffGrant", {"amount_usd": "100000001"}, "amount_usd"),
        ("WriteOffDebt", {"reason": ""}, "reason"),
        ("WriteOffDebt", {"amount_micros": 0}, "amount_micros"),
    ],
    ids=str,
)
async def test_bad_sums(service, method, fields, named_field):
    """What is wrong is refused by field, and changes nothing."""
    await new_customer(service)
    grant_id = await issued(service)
    makes = {"RefundGrant": refund_of, "WriteOffGrant": write_off_of}
    async with service.nothing_changed():
        if method in makes:
            request = makes[method](service, grant_id, **fields)
        else:
            request = write_off_debt_of(service, **fields)
        assert (await refusal(getattr(service.admin, method)(request))).fields.keys() == {named_field}


async def test_two_servers_pay_back_no_more_than_was_paid(postgres):
    """Refunds of parts by both at once, beside charges: all that was paid leaves once, and no more."""
    urls = await new_database(postgres, f"paid_back_by_two_{next(_numbers)}")
    settings = settings_on(urls, config_dir=CONFIG)
    async with served(settings) as here, served(settings) as there:
        there.customer_id = await new_customer(here)
        grant_id = await issued(here)

        async def outcome(call) -> str:
            try:
                await patient(call)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        def pays_back(server: World):
            request = refund_of(server, grant_id, amount_micros=10 * CREDIT)
            return lambda: server.admin.RefundGrant(request)

        def charges(server: World):
            return lambda: server.charge(amount_micros=10 * CREDIT)

        servers = (here, there) * 8
        outcomes = await asyncio.gather(
            *(outcome(make(server)) for make in (pays_back, charges) for server in servers)
        )
        paid_back, charged = outcomes[: len(servers)], outcomes[len(servers) :]
        assert paid_back.count("OK") + charged.count("OK") == 10
        assert {*outcomes} == {"OK", "FAILED_PRECONDITION"}
        books = await dollars(here)
        assert books.get("refund_payable", 0) == 5 * paid_back.count("OK")
        assert books.get("revenue", 0) == 5 * charged.count("OK")
        assert "deferred" not in books
        await verified(there)
