"""What the door of the books asks of its callers, and what it carries along."""

from datetime import timedelta
from typing import Any

import pytest
from books_world import World

from ledger.books import (
    MAX_AMOUNT,
    BooksError,
    Charge,
    Command,
    Commit,
    CreateCustomer,
    Credits,
    Decision,
    EntryKind,
    Facts,
    GrantKind,
    IssueGrant,
    LotKey,
    LotStatus,
    OverCapture,
    Plan,
    Priced,
    Refusal,
    RefusalReason,
    Release,
    ReservationState,
    Reserve,
    Reverse,
    State,
    Treatment,
    create,
    decide,
)
from ledger.books.grants import SCOPES_ALLOWED
from ledger.books.limits import LOTS_MAX
from tests.amounts import CREDIT
from tests.build import START, decided, line, priced, refused, tokens


@pytest.fixture
def world() -> World:
    """Give a customer with 100 paid credits."""
    world = World()
    decided(world.run(IssueGrant("grant", b"", 100 * CREDIT, GrantKind.PAID, 10**11)))
    return world


def decide_now(world: World, command: Command, **changes: Any) -> Decision | Refusal:
    """Decide without keeping anything."""
    arguments: dict[str, Any] = {
        "now": world.now,
        "plan": world.plan,
        "priced": None,
        "terms": world.terms,
        "facts": Facts(),
    }
    return decide(changes.pop("wallet", world.wallet), command, **(arguments | changes))


def test_a_customer_begins_with_an_entry_and_an_empty_wallet() -> None:
    """Entry 1 makes the customer; the wallet is empty and nothing is due."""
    decision = create(7, "Ada", "standard", "own", "Europe/Berlin", "create", b"print", START)
    wallet, entry = decision.wallet, decision.entry
    assert (wallet.customer, wallet.sequence, wallet.plan, wallet.card) == (7, 1, "standard", "own")
    assert (wallet.zone, wallet.balances, wallet.lots) == ("Europe/Berlin", Credits(), ())
    assert (wallet.next_due_at, wallet.last_instant) == (None, START)
    assert (entry.sequence, entry.kind, entry.request_id) == (1, EntryKind.CUSTOMER_CREATED, "create")
    assert (entry.fingerprint, entry.money, entry.plan) == (b"print", None, "standard")


def test_instants_of_a_customer_never_go_back(world: World) -> None:
    """A decision before the wallet's last instant is a fault."""
    with pytest.raises(BooksError, match="is before"):
        decide_now(world, Charge("c", b"", 5), now=world.wallet.last_instant - timedelta(microseconds=1))


def test_no_command_is_decided_before_what_is_due(world: World) -> None:
    """A command at or after the instant when something is due finds it written, or it is a fault."""
    decided(world.run(Reserve("r", b"", 5)))
    due_at = START + world.plan.default_ttl
    with pytest.raises(BooksError, match="due and not written"):
        decide_now(world, Charge("c", b"", 5), now=due_at)
    assert isinstance(
        decide_now(world, Charge("c", b"", 5), now=due_at - timedelta(microseconds=1)), Decision
    )


@pytest.mark.parametrize("command", [Reserve("r", b"", None), Charge("c", b"", None)])
def test_a_command_states_credits_or_usage(world: World, command: Reserve | Charge) -> None:
    """Neither is a fault, and so are both."""
    with pytest.raises(BooksError, match="neither"):
        decide_now(world, command)
    with pytest.raises(BooksError, match="both"):
        decide_now(world, command._replace(amount_micros=5), priced=tokens(5))


@pytest.mark.parametrize("command", [Reserve("r", b"", 5), Charge("c", b"", 5)])
def test_a_reserve_and_a_charge_rest_on_terms(world: World, command: Command) -> None:
    """Without terms there is no price of the debt, and nothing to pin: a fault."""
    with pytest.raises(BooksError, match="terms"):
        decide_now(world, command, terms=None)


def test_a_command_that_nobody_knows_is_a_fault(world: World) -> None:
    """The books decide the commands that they know, and no other in their place."""
    with pytest.raises(BooksError, match="no such command"):
        decide_now(world, CreateCustomer("x", b""))


def test_an_entry_is_the_record_of_its_request(world: World) -> None:
    """It keeps request id, fingerprint, plan, instant, and the balances after it."""
    world.now += timedelta(seconds=3)
    entry = decided(world.run(Charge("request", b"print", 5 * CREDIT))).entry
    assert (entry.request_id, entry.fingerprint, entry.plan) == ("request", b"print", "standard")
    assert entry.effective_at == entry.booked_at == world.now == world.wallet.last_instant
    assert (entry.after, entry.sequence) == (world.wallet.balances, world.wallet.sequence)
    assert entry.terms == world.terms


def test_what_is_due_has_two_dates(world: World) -> None:
    """It takes effect when it was due and is booked when it is written; nobody requested it."""
    decided(world.run(Reserve("r", b"", 5)))
    (expiry,) = world.pass_time(timedelta(hours=1))
    entry = expiry.entry
    assert (entry.effective_at, entry.booked_at) == (START + timedelta(minutes=5), world.now)
    assert (entry.request_id, entry.fingerprint) == (None, None)
    assert world.wallet.last_instant == world.now


def test_entries_of_a_reservation_carry_its_image_its_terms_and_its_labels(world: World) -> None:
    """From the reserve to the release, late price changes notwithstanding."""
    terms = world.terms
    sequence = decided(world.run(Reserve("r", b"", 9 * CREDIT, labels={"agent": "a"}))).entry.sequence
    world.terms = terms._replace(card_version=2, credit_price_nanousd=5)
    decided(world.run(Commit("c", b"", sequence, 2 * CREDIT, final=False, labels={"step": "1"})))
    decided(world.run(Release("x", b"", sequence)))
    reserve, commit, release = world.entries[-3:]
    assert [entry.terms for entry in (reserve, commit, release)] == [terms] * 3
    assert reserve.labels == release.labels == {"agent": "a"}
    assert commit.labels == {"agent": "a", "step": "1"}
    image = commit.reservation
    assert image is not None
    assert (image.sequence, image.state, image.held_micros) == (sequence, ReservationState.OPEN, 7 * CREDIT)
    assert (image.charged_micros, image.expires_at) == (2 * CREDIT, START + timedelta(minutes=5))


def test_runs_and_the_instant_of_use_travel_with_a_commit_not_with_an_estimate(world: World) -> None:
    """The books carry the states of runs to the same statement, and keep the reservation's own run."""
    when = START - timedelta(days=1)
    usage = tokens(5, states={"run/vm-1": State("60 s")}, own_run="30 s", occurred_at=when)
    reserve = decided(world.run(Reserve("r", b"", None), usage))
    assert (reserve.states, reserve.entry.occurred_at) == ({}, None)
    assert reserve.reservation is not None
    assert reserve.reservation.own_run is None
    sequence = reserve.entry.sequence
    part = decided(world.run(Commit("c1", b"", sequence, None, final=False), usage))
    assert (part.states, part.entry.occurred_at) == ({"run/vm-1": State("60 s")}, when)
    assert part.reservation is not None
    assert part.reservation.own_run == "30 s"
    last = decided(world.run(Commit("c2", b"", sequence, 5, final=True)))
    assert last.reservation is not None
    assert last.reservation.own_run == "30 s"


def test_lines_keep_what_pricing_said(world: World) -> None:
    """The public side of a line stands on the entry, the internal side with the money."""
    usage = priced(line(5, 3, kind="units", public={"title": "A"}, internal={"rule": "b"}))
    entry = decided(world.run(Charge("c", b"", None), usage)).entry
    assert entry.money is not None
    assert [(e.public, e.treatment, e.credits_micros) for e in entry.lines] == [
        ({"title": "A"}, "CHARGED", 5)
    ]
    assert [(m.kind, m.internal, m.cost_nanousd) for m in entry.money.lines] == [("units", {"rule": "b"}, 3)]


def test_a_reversal_says_what_it_undoes_and_why(world: World) -> None:
    """Its subject is the charge's sequence, its reason the caller's."""
    charge = decided(world.run(Charge("c", b"", 5))).entry
    entry = decided(world.run(Reverse("v", b"", charge.sequence, None, "duplicate"))).entry
    assert (entry.kind, entry.subject, entry.reason) == (EntryKind.REVERSAL, charge.sequence, "duplicate")
    assert (entry.terms, entry.reservation) == (charge.terms, None)


def test_entries_of_lots_name_the_lot(world: World) -> None:
    """A grant, its start and its expiry have the lot's key as their subject."""
    starts, ends = START + timedelta(hours=1), START + timedelta(hours=2)
    grant = decided(world.run(IssueGrant("g", b"", 5, GrantKind.PROMO, 0, starts, ends))).entry
    start, expiry = (decision.entry for decision in world.pass_time(timedelta(hours=3)))
    assert [start.kind, expiry.kind] == [EntryKind.GRANT_STARTED, EntryKind.GRANT_EXPIRED]
    assert {(e.subject, e.subject_n) for e in (grant, start, expiry)} == {(grant.sequence, 0)}


def test_credits_released_after_their_lot_was_voided_are_voided_at_once(world: World) -> None:
    """They go held -> voided, and their value is no longer to be received: deferred -> receivable."""
    reserve = decided(world.run(Reserve("r", b"", 60 * CREDIT)))
    key = LotKey(2, 0)
    lot = world.lots[key]._replace(
        status=LotStatus.VOIDED, remaining_micros=60 * CREDIT, value_nanousd=60 * 10**9
    )
    wallet = world.wallet._replace(
        lots=(lot,),
        balances=world.wallet.balances._replace(available=0, voided=40 * CREDIT),
    )
    facts = Facts(reservation=reserve.reservation)
    release = decided(decide_now(world, Release("x", b"", 3), wallet=wallet, facts=facts))
    assert release.entry.credits == Credits(held=-60 * CREDIT, voided=60 * CREDIT)
    assert release.entry.money is not None
    assert release.entry.money.dollars.receivable == 60 * 10**9
    assert release.entry.money.dollars.deferred == -60 * 10**9
    assert (release.lots[0].remaining_micros, release.lots[0].status) == (0, LotStatus.VOIDED)
    assert release.wallet.lots == ()

    drawn = decided(
        decide_now(world, Commit("c", b"", 3, 10 * CREDIT, final=True), wallet=wallet, facts=facts)
    )
    assert drawn.entry.credits == Credits(held=-60 * CREDIT, consumed=10 * CREDIT, voided=50 * CREDIT)


def test_a_lot_counts_as_the_wallet_holds_it_however_it_was_read(world: World) -> None:
    """What was due after a lot was read has emptied it: it does not come back as it was."""
    decided(
        world.run(
            IssueGrant("g", b"", 50 * CREDIT, GrantKind.PROMO, 0, expires_at=START + timedelta(hours=1))
        )
    )
    charge = decided(world.run(Charge("c", b"", 30 * CREDIT))).entry
    reverse = Reverse("v", b"", charge.sequence, None, "why")
    read = world.facts(reverse)
    world.pass_time(timedelta(hours=1))
    reversal = decided(decide_now(world, reverse, facts=read))
    assert reversal == decided(decide_now(world, reverse, facts=world.facts(reverse)))
    assert [(lot.key, lot.remaining_micros) for lot in reversal.lots] == [((6, 0), 30 * CREDIT)]


def field_of(outcome: Decision | Refusal) -> str:
    """Give the field that a refusal names."""
    refusal = refused(outcome)
    assert refusal.reason is RefusalReason.INVALID_ARGUMENT
    assert refusal.detail["description"]
    return refusal.detail["field"]


def test_a_customer_is_never_granted_more_than_the_books_can_hold() -> None:
    """At the limit, and one past it; also what was used or has expired counts."""
    world = World()
    assert field_of(world.run(IssueGrant("g", b"", MAX_AMOUNT + 1, GrantKind.PROMO, 0))) == "amount_micros"
    decided(world.run(IssueGrant("g1", b"", MAX_AMOUNT - 1, GrantKind.PROMO, 0)))
    decided(world.run(Charge("c", b"", MAX_AMOUNT - 1)))
    decided(world.run(IssueGrant("g2", b"", 1, GrantKind.PROMO, 0)))
    assert field_of(world.run(IssueGrant("g3", b"", 1, GrantKind.PROMO, 0))) == "amount_micros"


def test_grants_are_never_worth_more_than_the_books_can_hold() -> None:
    """At the limit, and one past it, over all lots with credits in them."""
    world = World()
    assert field_of(world.run(IssueGrant("g", b"", 5, GrantKind.PAID, MAX_AMOUNT + 1))) == "paid_total_usd"
    decided(world.run(IssueGrant("g1", b"", 5, GrantKind.PAID, MAX_AMOUNT - 1)))
    decided(world.run(IssueGrant("g2", b"", 5, GrantKind.PAID, 1)))
    assert field_of(world.run(IssueGrant("g3", b"", 5, GrantKind.PAID, 1))) == "paid_total_usd"
    decided(world.run(Charge("c", b"", 10)))
    decided(world.run(IssueGrant("g4", b"", 5, GrantKind.PAID, MAX_AMOUNT)))


def test_a_priority_fits_its_column(world: World) -> None:
    """32 bits, at the limits and one past them."""
    for priority in (2**31 - 1, -(2**31)):
        assert isinstance(
            decide_now(world, IssueGrant("g", b"", 5, GrantKind.PROMO, 0, priority=priority)), Decision
        )
    for priority in (2**31, -(2**31) - 1):
        grant = IssueGrant("g", b"", 5, GrantKind.PROMO, 0, priority=priority)
        assert field_of(decide_now(world, grant)) == "priority"


@pytest.mark.parametrize("usage", [tokens(MAX_AMOUNT + 1), tokens(10**40)])
def test_quantities_that_overflow_are_refused_not_booked(world: World, usage: Priced) -> None:
    """A price that 64 bits cannot hold is refused as usage, by commits too, and nothing changes."""
    sequence = decided(world.run(Reserve("r", b"", 5))).entry.sequence
    assert field_of(world.run(Commit("c", b"", sequence, None, final=True), usage)) == "usage"
    assert field_of(world.run(Charge("c", b"", None, already_used=True), usage)) == "usage"


def test_a_reserve_at_a_price_that_overflows_is_refused(world: World) -> None:
    """An estimate too is refused as usage."""
    assert field_of(world.run(Reserve("r", b"", None), tokens(MAX_AMOUNT + 1))) == "usage"


def test_parts_of_a_reservation_never_add_up_to_more_than_the_books_can_hold(world: World) -> None:
    """The largest commit goes through uncollected; one micro-credit more does not, and no cost is posted."""
    sequence = decided(world.run(Reserve("r", b"", 5))).entry.sequence
    largest = tokens(MAX_AMOUNT, MAX_AMOUNT)
    entry = decided(world.run(Commit("c1", b"", sequence, None, final=False), largest)).entry
    assert entry.uncollected_micros == MAX_AMOUNT - 100 * CREDIT
    assert field_of(world.run(Commit("c2", b"", sequence, None, final=True), tokens(1))) == "usage"
    assert field_of(world.run(Commit("c2", b"", sequence, 1, final=True))) == "amount_micros"
    beyond = decided(world.run(Commit("c2", b"", sequence, None, final=False), tokens(0, 1))).entry
    assert beyond.money is not None
    assert beyond.money.dollars.cost == 0
    decided(world.run(Commit("c3", b"", sequence, 0, final=True)))


def test_all_debt_together_stays_within_what_the_books_can_hold() -> None:
    """The price of what is owed already counts: the second charge makes debt up to the bound alone."""
    plan = Plan("p", None, OverCapture.ALLOW_WITH_OVERDRAFT, overdraft_limit_micros=MAX_AMOUNT)
    world = World(plan, credit_price_nanousd=10**15)
    most = MAX_AMOUNT // 10**9
    decided(world.run(Charge("c1", b"", most - 5, already_used=True)))
    entry = decided(world.run(Charge("c2", b"", 10, already_used=True))).entry
    assert (-world.wallet.balances.debt, entry.uncollected_micros) == (most, 5)
    assert -world.wallet.unbilled_nanousd <= MAX_AMOUNT


def test_a_charge_keeps_the_instant_of_use(world: World) -> None:
    """A charge of usage says when the work was done; one of stated credits does not know."""
    when = START - timedelta(days=1)
    usage = tokens(5, states={"run/vm-1": State("60 s")}, occurred_at=when)
    charged = decided(world.run(Charge("c1", b"", None), usage))
    assert (charged.entry.occurred_at, charged.states) == (when, {"run/vm-1": State("60 s")})
    stated = decided(world.run(Charge("c2", b"", 5)))
    assert (stated.entry.occurred_at, stated.states) == (None, {})


@pytest.mark.parametrize("command", [Reserve("r", b"", None), Charge("c", b"", None)])
def test_usage_without_a_price_is_refused_by_its_first_item(world: World, command: Command) -> None:
    """The refusal carries the first item that has no price: its index from 0, kind and name."""
    (line,) = tokens(5).lines
    unpriced = line._replace(treatment=Treatment.UNPRICED, public={"name": "h100"})
    usage = tokens(5)._replace(lines=(line, unpriced, unpriced))
    refusal = refused(world.run(command, usage))
    assert (refusal.reason, refusal.detail) == (
        RefusalReason.UNPRICED_USAGE,
        {"item": "1", "kind": "tokens", "name": "h100"},
    )


DESCRIBED = [
    (
        IssueGrant("g", b"", 0, GrantKind.PAID, 0),
        "amount_micros",
        f"must be 1 to {MAX_AMOUNT} micro-credits, got 0",
    ),
    (IssueGrant("g", b"", 5, GrantKind.PAID, -1), "paid_total_usd", "must be $0 to $4611686018"),
    (IssueGrant("g", b"", 5, GrantKind.PROMO, 1), "paid_total_usd", "must be 0 for a promotional grant"),
    (
        IssueGrant("g", b"", 5, GrantKind.PROMO, 0, scope="words"),
        "scope",
        f"must be one of {SCOPES_ALLOWED}, or empty",
    ),
    (IssueGrant("g", b"", 5, GrantKind.PROMO, 0, priority=2**31), "priority", "must fit 32 bits"),
    (
        IssueGrant("g", b"", 5, GrantKind.PROMO, 0, START, START),
        "expires_at",
        "must be after effective_at",
    ),
    (
        IssueGrant("g", b"", 5, GrantKind.PROMO, 0, START - timedelta(days=2), START),
        "expires_at",
        "must be in the future",
    ),
    (Reserve("r", b"", 0), "amount_micros", f"must be 1 to {MAX_AMOUNT} micro-credits, got 0"),
    (Reserve("r", b"", 5, minimum_micros=0), "minimum_micros", "must be 1 or more, got 0"),
    (Reserve("r", b"", 5, ttl=timedelta(0)), "ttl", "must be 1 s to 86400 s, got 0 s"),
    (Reserve("r", b"", 5, ttl=timedelta(hours=25)), "ttl", "must be 1 s to 86400 s, got 90000 s"),
    (Charge("c", b"", 0), "amount_micros", f"must be 1 to {MAX_AMOUNT} micro-credits, got 0"),
    (
        Commit("c", b"", 3, -1, final=True),
        "amount_micros",
        f"must be 0 to {MAX_AMOUNT} micro-credits, got -1",
    ),
]


@pytest.mark.parametrize(("command", "field", "description"), DESCRIBED)
def test_a_field_that_is_wrong_is_named_with_what_is_allowed(
    world: World, command: Command, field: str, description: str
) -> None:
    """Callers read which field it is, what may stand there, and what stood there."""
    refusal = refused(world.run(command))
    assert refusal.reason is RefusalReason.INVALID_ARGUMENT
    assert refusal.detail == {"field": field, "description": description}


def test_sums_that_overflow_are_named_too(world: World) -> None:
    """All that a customer is granted, what it is worth, and the price of its usage have bounds."""
    too_many = refused(world.run(IssueGrant("g", b"", MAX_AMOUNT, GrantKind.PROMO, 0)))
    assert too_many.detail["description"] == (
        f"all that a customer is ever granted must not exceed {MAX_AMOUNT} micro-credits"
    )
    too_dear = refused(world.run(IssueGrant("g", b"", 5, GrantKind.PAID, MAX_AMOUNT)))
    assert (
        too_dear.detail["description"] == "all grants of a customer must not be worth more than $4611686018"
    )
    price = refused(world.run(Charge("c", b"", None, already_used=True), tokens(MAX_AMOUNT + 1)))
    assert price.detail["description"] == f"the price amounts to more than {MAX_AMOUNT} micro-credits"


def test_a_cost_beyond_the_books_is_stated_and_refuses_nothing(world: World) -> None:
    """Where refusals began would tell what a thing costs. Finance finds the line among the uncosted ones."""
    most = decided(world.run(Charge("c", b"", None, already_used=True), tokens(5, MAX_AMOUNT))).entry
    assert most.money is not None
    assert most.money.dollars.cost == -MAX_AMOUNT
    beyond = decided(world.run(Charge("d", b"", None, already_used=True), tokens(5, MAX_AMOUNT + 1))).entry
    assert (beyond.charged_micros, [line.treatment for line in beyond.lines]) == (5, [Treatment.CHARGED])
    assert beyond.money is not None
    (line,) = beyond.money.lines
    assert beyond.money.dollars.cost == 0
    assert (line.treatment, line.cost_nanousd) == (Treatment.CHARGED, 0)
    assert (line.internal["cost_source"], line.internal["uncosted"]) == ("beyond_the_books", True)


@pytest.mark.parametrize("memo", ["saved_exact_nanousd", "own_key_exact_nanousd"])
def test_a_memo_beyond_the_books_is_not_posted_either(world: World, memo: str) -> None:
    """What was saved and what was paid on own keys are stored in numbers of the same size."""
    usage = tokens(5, 7)
    lines = tuple(line._replace(**{memo: (MAX_AMOUNT + 1, 1)}) for line in usage.lines)
    entry = decided(world.run(Charge("c", b"", None, already_used=True), usage._replace(lines=lines))).entry
    assert entry.money is not None
    assert [(line.saved_nanousd, line.own_key_nanousd) for line in entry.money.lines] == [(0, 0)]


def test_a_refusal_for_want_of_credits_says_what_could_be_had_and_what_is_needed(world: World) -> None:
    """What this very command could have had, in micro-credits."""
    held = decided(world.run(Reserve("r", b"", 30 * CREDIT))).entry.sequence
    for command in (Charge("c", b"", 71 * CREDIT), Reserve("r2", b"", 71 * CREDIT)):
        refusal = refused(world.run(command))
        assert refusal.reason is RefusalReason.INSUFFICIENT_CREDITS
        assert refusal.detail == {
            "available_micros": "70000000",
            "required_micros": "71000000",
            "short_micros": "1000000",
        }
    world.plan = world.plan._replace(over_capture=OverCapture.REJECT)
    refusal = refused(world.run(Commit("k", b"", held, 31 * CREDIT, final=True)))
    assert (refusal.reason, refusal.detail) == (
        RefusalReason.OVER_CAPTURE,
        {"held_micros": "30000000", "required_micros": "31000000"},
    )


def fault_of(world: World, command: Command, **changes: Any) -> str:
    """Give what a fault says."""
    with pytest.raises(BooksError) as caught:
        decide_now(world, command, **changes)
    return str(caught.value)


def test_faults_of_the_caller_say_what_is_wrong(world: World) -> None:
    """A fault names the customer and the instants, or what was not given."""
    charge = Charge("c", b"", 5)
    before = world.wallet.last_instant - timedelta(seconds=1)
    said = "customer 1: 2026-10-31 23:59:59+00:00 is before 2026-11-01 00:00:00+00:00"
    assert fault_of(world, charge, now=before) == said
    assert fault_of(world, charge, terms=None) == "a charge rests on terms: none were given"
    assert fault_of(world, Reserve("r", b"", 5), terms=None) == "a reserve pins terms: none were given"
    usage = "a command states credits, or usage with its price"
    assert fault_of(world, Charge("c", b"", None)) == f"{usage}: neither was given"
    assert fault_of(world, charge, priced=tokens(5)) == f"{usage}: both were given"
    assert fault_of(world, CreateCustomer("x", b"")) == "no such command: CreateCustomer"
    decided(world.run(Reserve("r", b"", 5)))
    due_at = START + world.plan.default_ttl
    said = "customer 1: 2026-11-01 00:05:00+00:00 is due and not written"
    assert fault_of(world, charge, now=due_at) == said


def test_debt_stays_within_what_the_books_can_hold() -> None:
    """However high the limit and the price, neither the debt nor its price overflows."""
    plan = Plan("p", None, OverCapture.ALLOW_WITH_OVERDRAFT, overdraft_limit_micros=2**70)
    world = World(plan, credit_price_nanousd=10**15)
    decided(world.run(Charge("c1", b"", MAX_AMOUNT, already_used=True)))
    assert 0 < -world.wallet.unbilled_nanousd <= MAX_AMOUNT
    assert -world.wallet.balances.debt == MAX_AMOUNT // 10**9
    world = World(plan, credit_price_nanousd=0)
    decided(world.run(Charge("c1", b"", MAX_AMOUNT, already_used=True)))
    decided(world.run(Charge("c2", b"", MAX_AMOUNT, already_used=True)))
    assert (world.wallet.balances.debt, world.wallet.unbilled_nanousd) == (-MAX_AMOUNT, 0)


def test_grants_with_credits_left_are_bounded() -> None:
    """The last that is allowed is issued, one more is refused; once one is used up there is room again."""
    world = World()

    def grant(name: str) -> Decision | Refusal:
        return world.run(IssueGrant(name, b"g", CREDIT, GrantKind.PROMO, 0))

    for n in range(LOTS_MAX):
        assert decided(grant(f"{n}")).entry.kind is EntryKind.GRANT
    assert grant("one more") == Refusal(RefusalReason.TOO_MANY_GRANTS, {"grants_max": str(LOTS_MAX)})
    assert decided(world.run(Charge("use", b"u", CREDIT))).entry.charged_micros == CREDIT
    assert decided(grant("room again")).entry.kind is EntryKind.GRANT
