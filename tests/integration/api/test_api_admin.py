"""AdminService: customers, grants, rate cards."""

from __future__ import annotations

import pytest
from api_world import CREDIT, refusal, tokens, usage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


def create(**fields):
    given = {"customer_id": fresh(), "plan": "standard", **fields}
    return pb.CreateCustomerRequest(request_id=fresh(), customer=pb.Customer(**given))


async def test_create_and_get(world):
    """A customer is what it was created as, with its zone and the instant it was made."""
    request = create(
        display_name="Zoë & Söhne", rate_card="following", zone="Europe/Berlin", multiplier="0.9"
    )
    made = await world.admin.CreateCustomer(request)
    assert (made.sequence, made.replayed) == (1, False)
    assert made.customer.created_at.seconds > 0
    expected = pb.Customer.FromString(request.customer.SerializeToString())
    expected.created_at.CopyFrom(made.customer.created_at)
    assert made.customer == expected
    read = await world.admin.GetCustomer(pb.GetCustomerRequest(customer_id=expected.customer_id))
    assert read.customer == made.customer


async def test_validate_only_has_no_effect(world):
    """What a creation would answer, or be refused for, and no customer: no id is taken."""
    request = create(display_name="one", rate_card="following")
    request.validate_only = True
    world.customer_id = request.customer.customer_id
    async with world.nothing_changed():
        answer = await world.admin.CreateCustomer(request)
        assert (answer.customer.display_name, answer.customer.zone, answer.sequence) == ("one", "UTC", 0)
        request.customer.rate_card = "nobody"
        assert (await refusal(world.admin.CreateCustomer(request))).reason == "RATE_CARD_NOT_FOUND"
    request.validate_only, request.customer.rate_card = False, "following"
    assert (await world.admin.CreateCustomer(request)).sequence == 1


async def test_create_again(world):
    """The same request is a repeat; another request for the same customer is an error."""
    request = create(display_name="one")
    first = await world.admin.CreateCustomer(request)
    second = await world.admin.CreateCustomer(request)
    assert second.replayed
    assert second.customer == first.customer
    world.customer_id = request.customer.customer_id
    async with world.nothing_changed():
        reused = pb.CreateCustomerRequest.FromString(request.SerializeToString())
        reused.customer.display_name = "two"
        refused = await refusal(world.admin.CreateCustomer(reused))
        assert (refused.code.name, refused.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        reused.request_id = fresh()
        refused = await refusal(world.admin.CreateCustomer(reused))
        assert (refused.code.name, refused.reason) == ("ALREADY_EXISTS", "CUSTOMER_EXISTS")


@pytest.mark.parametrize(
    ("fields", "code", "reason", "named"),
    [
        ({"plan": "platinum"}, "NOT_FOUND", "PLAN_NOT_FOUND", "plan"),
        ({"rate_card": "nobody"}, "NOT_FOUND", "RATE_CARD_NOT_FOUND", "rate_card"),
        ({"plan": "cardless"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.rate_card"),
        ({"plan": ""}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.plan"),
        ({"customer_id": ""}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.customer_id"),
        ({"customer_id": "x" * 129}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.customer_id"),
        ({"zone": "Mars/Olympus"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.zone"),
        ({"zone": "../../etc/passwd"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.zone"),
        ({"multiplier": "0"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.multiplier"),
        ({"multiplier": "-1"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.multiplier"),
        ({"multiplier": "1000.000000001"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.multiplier"),
        ({"display_name": "x" * 257}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "customer.display_name"),
    ],
)
async def test_bad_customers(world, fields, code, reason, named):
    """Unknown plans, cards and zones are refused by name, with what there is; no customer is made."""
    async with world.nothing_changed():
        refused = await refusal(world.admin.CreateCustomer(create(**fields)))
    assert (refused.code.name, refused.reason) == (code, reason)
    assert named in (refused.fields or refused.metadata)
    if reason == "RATE_CARD_NOT_FOUND":
        assert refused.metadata["allowed"] == "following, metered"


async def test_a_plan_without_a_card_takes_a_customers_own(world):
    """A customer on a plan that has no card names one."""
    made = await world.admin.CreateCustomer(create(plan="cardless", rate_card="metered"))
    assert made.customer.rate_card == "metered"


async def test_an_update_changes_what_its_mask_names(world, customer):
    """What the mask names changes; a repeat is distinguished, and answers with the customer as it stands."""
    request = pb.UpdateCustomerRequest(
        request_id=fresh(),
        customer=pb.Customer(customer_id=customer, display_name="new", rate_card="following", plan="capped"),
        update_mask=FieldMask(paths=["display_name", "rate_card"]),
    )
    first = await world.admin.UpdateCustomer(request)
    assert (first.customer.display_name, first.customer.rate_card) == ("new", "following")
    assert (first.customer.plan, first.sequence, first.replayed) == ("standard", 3, False)
    cleared = await world.update(rate_card="")
    assert cleared.customer.rate_card == ""
    again = await world.admin.UpdateCustomer(request)
    assert (again.sequence, again.replayed) == (3, True)
    assert again.customer == cleared.customer


async def test_another_request_under_an_id_is_said_to_be_that_whatever_it_asks_for(world, customer):
    """A plan that is unknown is not what is wrong with it."""
    request = pb.UpdateCustomerRequest(
        request_id=fresh(),
        customer=pb.Customer(customer_id=customer, plan="capped"),
        update_mask=FieldMask(paths=["plan"]),
    )
    await world.admin.UpdateCustomer(request)
    request.customer.plan = "platinum"
    assert (await refusal(world.admin.UpdateCustomer(request))).reason == "REQUEST_ID_REUSED"


async def test_an_update_reaches_the_next_price(world, customer):
    """A customer's new card prices its next charge; a reservation keeps the card that it was made on."""
    named = await world.reservation(amount_micros=30 * CREDIT)
    await world.update(rate_card="following")
    charged = (await world.charge(usage=usage(tokens()))).charge
    stored = (await world.commit(named, usage=usage(tokens()), final=True)).charge
    assert (charged.rate_card, stored.rate_card) == ("following", "metered")
    assert stored.charged_micros == 10 * CREDIT
    assert charged.charged_micros != stored.charged_micros


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"plan": "platinum"}, "PLAN_NOT_FOUND"),
        ({"rate_card": "nobody"}, "RATE_CARD_NOT_FOUND"),
        ({"plan": "cardless"}, "INVALID_ARGUMENT"),
        ({"plan": ""}, "INVALID_ARGUMENT"),
        ({"zone": "nowhere"}, "INVALID_ARGUMENT"),
        ({"created_at": None}, "INVALID_ARGUMENT"),
        ({}, "INVALID_ARGUMENT"),
    ],
)
async def test_bad_updates(world, customer, fields, reason):
    """A change that would leave a customer without a plan, a card or a zone is refused."""
    async with world.nothing_changed():
        assert (await refusal(world.update(**fields))).reason == reason


async def test_unknown_customers(world):
    """What does not exist is neither read, changed nor granted credits."""
    await world.new_customer(fresh())
    known, world.customer_id = world.customer_id, "nobody"
    read = world.admin.GetCustomer(pb.GetCustomerRequest(customer_id="nobody"))
    for call in (read, world.update(display_name="x"), world.grant(1)):
        refused = await refusal(call)
        assert (refused.code.name, refused.reason) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
    world.customer_id = known


async def test_list_customers(world):
    """All customers, in the order of their ids, in pages that hold while others are made."""
    made = sorted([await world.new_customer(f"list-{fresh()}", granted=0) for _ in range(5)])
    request, found = pb.ListCustomersRequest(page_size=3), []
    while True:
        answer = await world.admin.ListCustomers(request)
        assert len(answer.customers) <= 3
        found += [row.customer_id for row in answer.customers]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
        await world.new_customer(f"aaa-{fresh()}", granted=0)
    assert found == sorted(found)
    assert [name for name in found if name.startswith("list-")] == made
    assert len(found) == len(set(found))


async def test_issue_grant(world, customer):
    """A grant is available at once, or pending until it starts; the answer is the grant as issued."""
    now = (await world.wallet.GetBalance(wallet.GetBalanceRequest(customer_id=customer))).as_of.seconds
    start, end = Timestamp(seconds=now + 3_600), Timestamp(seconds=now + 7_200)
    request_id = fresh()
    fields = {
        "request_id": request_id,
        "effective_at": start,
        "expires_at": end,
        "scope": "tokens",
        "priority": 4,
        "paid_total_usd": "012.500",
    }
    issued = await world.grant(9 * CREDIT, **fields)
    assert issued.grant.status == wallet.GRANT_STATUS_PENDING_START
    assert issued.paid_total_usd == "12.5"
    assert issued.balance == credit.Balance(available_micros=100 * CREDIT, pending_micros=9 * CREDIT)
    again = await world.grant(9 * CREDIT, **fields)
    assert again.replayed
    again.replayed = False
    assert again == issued
    listed = await world.wallet.ListGrants(wallet.ListGrantsRequest(customer_id=customer))
    assert listed.grants[0] == issued.grant


async def test_a_grant_pays_debt_first(world):
    """What is owed is paid before anything becomes available."""
    await world.new_customer(fresh(), plan="overdraft", granted=0)
    await world.charge(amount_micros=3 * CREDIT, already_used=True)
    assert await world.balance() == credit.Balance(debt_micros=3 * CREDIT)
    partly = await world.grant(CREDIT)
    assert partly.grant.status == wallet.GRANT_STATUS_DEPLETED
    assert partly.balance == credit.Balance(debt_micros=2 * CREDIT)
    issued = await world.grant(5 * CREDIT)
    assert (issued.grant.amount_micros, issued.grant.remaining_micros) == (5 * CREDIT, 3 * CREDIT)
    assert issued.balance == credit.Balance(available_micros=3 * CREDIT)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"amount_micros": 0}, "amount_micros"),
        ({"amount_micros": -5}, "amount_micros"),
        ({"amount_micros": 10**15 + 1}, "amount_micros"),
        ({"kind": 0}, "kind"),
        ({"kind": 99}, "kind"),
        ({"paid_total_usd": "-1"}, "paid_total_usd"),
        ({"paid_total_usd": "NaN"}, "paid_total_usd"),
        ({"paid_total_usd": "1e3"}, "paid_total_usd"),
        ({"paid_total_usd": "100000001"}, "paid_total_usd"),
        ({"kind": wallet.GRANT_KIND_PROMO, "paid_total_usd": "1"}, "paid_total_usd"),
        ({"scope": "gpus"}, "scope"),
        ({"expires_at": Timestamp(seconds=1)}, "expires_at"),
        (
            {"effective_at": Timestamp(seconds=5 * 10**9), "expires_at": Timestamp(seconds=4 * 10**9)},
            "expires_at",
        ),
        ({"request_id": ""}, "request_id"),
    ],
    ids=str,
)
async def test_bad_grants(world, customer, fields, named):
    """Amounts, prices, scopes and instants out of range are refused by field."""
    async with world.nothing_changed():
        assert (await refusal(world.grant(**{"amount_micros": CREDIT, **fields}))).fields.keys() == {named}


async def test_rate_cards(world):
    """The cards in force, by name, in pages; one of them with the document as it was loaded."""
    first = await world.admin.ListRateCards(pb.ListRateCardsRequest(page_size=1))
    second = await world.admin.ListRateCards(
        pb.ListRateCardsRequest(page_size=1, page_token=first.next_page_token)
    )
    assert [card.name for card in first.rate_cards] == ["following"]
    [card] = second.rate_cards
    assert second.next_page_token == ""
    assert (card.name, card.revision, card.credit_name, card.credit_price_usd) == ("metered", 3, "ACU", "1.5")
    assert (len(card.version), card.rules) == (64, 4)
    one = await world.admin.GetRateCard(pb.GetRateCardRequest(name="metered"))
    assert one.rate_card == card
    assert "hushed rule of large" in one.document
    refused = await refusal(world.admin.GetRateCard(pb.GetRateCardRequest(name="nobody")))
    assert refused.reason == "RATE_CARD_NOT_FOUND"
    assert "name" in (await refusal(world.admin.GetRateCard(pb.GetRateCardRequest()))).fields


async def test_own_fields_are_warned_of_as_plans_are(world):
    """What is likely a mistake is said, by a rehearsal too, and by each change until it is mended."""
    likely = "is less than below: one top-up may leave need of the next one, a cool_down later"
    own = "topup: {below: '50', add: '20', credit_price_usd: '1', monthly_cap: '100'}"
    request = create(plan_overrides=own)
    rehearsal = pb.CreateCustomerRequest(request_id=fresh(), customer=request.customer, validate_only=True)
    rehearsed = await world.admin.CreateCustomer(rehearsal)
    made = await world.admin.CreateCustomer(request)
    again = await world.admin.CreateCustomer(request)
    for answer in (rehearsed, made, again):
        assert [each.message for each in answer.warnings] == [f"topup.add: {likely}"]
        assert answer.warnings[0].hint == "write as much or more"
    world.customer_id = made.customer.customer_id
    assert (await world.update(display_name="other")).warnings == made.warnings
    mended = await world.update(plan_overrides=own.replace("'20'", "'50'"))
    assert [*mended.warnings] == []


async def test_a_customer_has_its_own_fields_of_its_plan(world):
    """They are in force with the next command, beside the rest of the plan; without any it is the plan's."""
    own = "over_capture: ALLOW_WITH_OVERDRAFT\noverdraft_limit: '7' # agreed on"
    made = await world.admin.CreateCustomer(create(plan="capped", plan_overrides=own))
    world.customer_id = made.customer.customer_id
    stated = '{"over_capture": "ALLOW_WITH_OVERDRAFT", "overdraft_limit": "7"}'
    assert made.customer.plan_overrides == stated
    await world.grant(CREDIT)
    named = await world.reservation(amount_micros=CREDIT)
    answer = await world.commit(named, amount_micros=20 * CREDIT, final=True)
    assert answer.balance == credit.Balance(debt_micros=7 * CREDIT)

    await world.grant(107 * CREDIT)
    changed = await world.update(plan_overrides="{max_ttl: 30s, default_ttl: 10s}")
    assert changed.customer.plan_overrides == '{"default_ttl": "10s", "max_ttl": "30s"}'
    refused = await refusal(world.reservation(amount_micros=CREDIT, ttl=Duration(seconds=31)))
    assert refused.fields.keys() == {"ttl"}
    named = await world.reservation(amount_micros=CREDIT, ttl=Duration(seconds=30))
    committed = await world.commit(named, amount_micros=20 * CREDIT, final=True)
    assert committed.charge.charged_micros == CREDIT

    assert (await world.update(plan_overrides="")).customer.plan_overrides == ""
    await world.reservation(amount_micros=CREDIT, ttl=Duration(seconds=31))
    denied = await world.update(plan_overrides="entitlements: {deny: {tokens: 'acme/*'}}")
    assert denied.customer.plan == "capped"
    assert (await refusal(world.reserve(usage=usage(tokens())))).reason == "NOT_ENTITLED"
    checked = await world.credit.Check(
        credit.CheckRequest(customer_id=world.customer_id, usage=usage(tokens()))
    )
    assert not checked.allowed

    await world.update(plan_overrides="budgets: {in_all: {limit: '3', window: TOTAL}}")
    assert (await refusal(world.reserve(amount_micros=4 * CREDIT))).reason == "BUDGET_EXCEEDED"
    budgets = await world.wallet.GetBudgets(wallet.GetBudgetsRequest(customer_id=world.customer_id))
    assert [(each.name, each.left_micros) for each in budgets.budgets] == [("in_all", 3 * CREDIT)]


async def test_own_fields_of_a_newer_version_ignore_no_limit(world):
    """No work begins, and no choice is left to the plan; what has begun is charged no more than its hold."""
    await world.update(plan="overdraft")
    begun, other = await world.reservation(amount_micros=10 * CREDIT), await world.reservation()
    granted = (await world.grant(CREDIT)).grant.grant_id
    await world.write_own_fields('{"max_ttl": "1h", "spend_limit": "5"}')
    voided = {
        "request_id": fresh(),
        "customer_id": world.customer_id,
        "grant_id": granted,
        "reason": "a test",
    }
    refused = [
        world.reserve(amount_micros=CREDIT),
        world.extend(begun, amount_micros=CREDIT),
        world.charge(amount_micros=CREDIT),
        world.credit.Check(credit.CheckRequest(customer_id=world.customer_id, amount_micros=CREDIT)),
        world.wallet.GetBudgets(wallet.GetBudgetsRequest(customer_id=world.customer_id)),
        world.admin.VoidGrant(pb.VoidGrantRequest(**voided)),
        world.update(display_name="Acme"),
    ]
    async with world.nothing_changed():
        for call in refused:
            found = await refusal(call)
            assert (found.reason, found.metadata) == ("PLAN_OVERRIDES_UNREADABLE", {"fields": "spend_limit"})
    committed = await world.commit(begun, amount_micros=30 * CREDIT, final=True)
    assert committed.charge.charged_micros == 10 * CREDIT
    await world.release(other)
    assert (await world.charge(amount_micros=CREDIT, already_used=True)).charge.charged_micros == CREDIT
    got = await world.admin.GetCustomer(pb.GetCustomerRequest(customer_id=world.customer_id))
    assert "spend_limit" in got.customer.plan_overrides
    await world.update(plan_overrides="")
    await world.reserve(amount_micros=CREDIT)


@pytest.mark.parametrize(
    ("plan", "own", "problem"),
    [
        ("standard", "overdraft_limit: 5", "<overrides>:1:18: is no amount of credits"),
        ("standard", "card: metered", "<overrides>:1:1: unknown key 'card'"),
        (
            "standard",
            '{overdraft_limit: "5"}',
            "<overrides>:1:21: an overdraft_limit that over_capture does not",
        ),
        ("overdraft", "over_capture: CAP", "<overrides>:1:1: an overdraft_limit that over_capture does not"),
        ("standard", "unpriced: FALLBACK", "is metered, which names no rule to fall back on"),
        ("standard", "#" * 4_097, "has 4097 characters; 4096 at most are allowed"),
    ],
)
async def test_own_fields_that_cannot_be(world, plan, own, problem):
    """Neither a new customer nor one that there is gets them; what is wrong is said of the field."""
    await world.update(plan=plan)
    new = create(plan=plan, plan_overrides=own)
    given = {"customer_id": world.customer_id, "plan_overrides": own}
    change = pb.UpdateCustomerRequest(
        request_id=fresh(),
        customer=pb.Customer(**given),
        update_mask=FieldMask(paths=["plan_overrides"]),
    )
    for call in (world.admin.CreateCustomer(new), world.admin.UpdateCustomer(change)):
        refused = await refusal(call)
        [(field, said)] = refused.fields.items()
        assert field in ("customer.plan_overrides", "customer.rate_card")
        assert problem in said


async def test_own_fields_go_with_the_plan_that_comes(world):
    """A change of plan is refused while they do not, and both change together."""
    await world.update(plan="overdraft")
    await world.update(plan_overrides='{"overdraft_limit": "50"}')
    refused = await refusal(world.update(plan="capped"))
    assert refused.fields.keys() == {"customer.plan_overrides"}
    changed = await world.update(plan="capped", plan_overrides="default_ttl: 1m")
    assert (changed.customer.plan, changed.customer.plan_overrides) == ("capped", '{"default_ttl": "1m"}')
