"""Rates over the API: checked, compared, published, listed, shown and taken back."""

from __future__ import annotations

from itertools import count
from threading import current_thread, main_thread

import grpc
import pytest
from api_world import refusal, searches, usage

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.prices.plans import PlanBook
from ledger.store.prices.versions import CONVERGENCE

_numbers = count(1)
pytestmark = pytest.mark.asyncio(loop_scope="session")


def card_text(name: str, revision: int = 1, per: str = "2", unit: str = "web_search") -> str:
    return (
        f'card: {name}\nrevision: {revision}\ncredit: C\ncredit_price_usd: "1"\nrules:\n'
        f"  - {{name: search, match: {{units: {unit}}}, price: {{each: '{per}'}}}}\n"
    )


@pytest.fixture
def name() -> str:
    """A card of the test's own: what is published stays."""
    return f"card-{next(_numbers)}"


async def publish(rates, text, **fields) -> pb.PublishRateCardResponse:
    request = pb.PublishRateCardRequest(document=text, **fields)
    return await rates.PublishRateCard(request)


async def listed(rates, name) -> list[pb.PriceVersion]:
    """All versions of a card, a page each."""
    request = pb.ListRateCardVersionsRequest(name=name, page_size=1)
    found = []
    while True:
        page = await rates.ListRateCardVersions(request)
        found += page.versions
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_the_life_of_a_card(rates, name):
    """Each version is numbered, says who, when and from where, and can be had again for ever."""
    texts = [card_text(name, 1, "2"), card_text(name, 5, "3")]
    first, second = [await publish(rates, text) for text in texts]
    assert (first.version.number, first.version.in_force, first.version.published_by) == (1, True, "loopback")
    assert first.version.source == pb.PRICE_SOURCE_API
    assert (
        second.version.effective_from.ToDatetime() - second.version.published_at.ToDatetime() == CONVERGENCE
    )
    assert (await publish(rates, texts[1])).replayed
    back = await rates.RollbackRateCard(pb.RollbackRateCardRequest(name=name, number=1))
    version = back.version
    assert (version.number, version.revision, version.restores, version.published_by) == (3, 6, 1, "loopback")
    assert version.source == pb.PRICE_SOURCE_ROLLBACK
    versions = await listed(rates, name)
    assert [(each.number, each.in_force) for each in versions] == [(3, False), (2, False), (1, True)]
    assert len({each.version for each in versions}) == 3
    for number, text in enumerate([*texts, card_text(name, 6, "2")], 1):
        answer = await rates.GetRateCard(pb.GetRateCardRequest(name=name, number=number))
        assert (answer.document, answer.version.number, answer.rate_card.number) == (text, number, number)
    in_force = await rates.GetRateCard(pb.GetRateCardRequest(name=name))
    assert in_force.version.number == 1


async def test_a_rollback_says_what_is_to_come(rates, name):
    """A version that is published for later takes effect all the same, and is reported."""
    await publish(rates, card_text(name))
    later = card_text(name, 2, "9").replace("credit: C", "effective_from: 2126-01-01T00:00:00Z\ncredit: C")
    await publish(rates, later)
    await publish(rates, card_text(name, 3, "3"))
    back = await rates.RollbackRateCard(pb.RollbackRateCardRequest(name=name, number=1))
    assert [each.number for each in back.to_come] == [2]


async def test_a_document_differs_from_what_is_published(rates, name):
    """A document against what is published, and a version against the one before or another."""
    nothing = await rates.DiffRates(pb.DiffRatesRequest(rate_card=card_text(name)))
    assert (nothing.name, nothing.HasField("before")) == (name, False)
    for revision, each in enumerate(("2", "3", "4"), 1):
        await publish(rates, card_text(name, revision, each))
    asked = [
        pb.DiffRatesRequest(rate_card=card_text(name, 9, "5")),
        pb.DiffRatesRequest(rate_card=card_text(name, 9, "5"), with_number=1),
        pb.DiffRatesRequest(rate_card_number=pb.RateCardNumber(name=name, number=2)),
        pb.DiffRatesRequest(rate_card_number=pb.RateCardNumber(name=name, number=1), with_number=3),
    ]
    reported = []
    for request in asked:
        answer = await rates.DiffRates(request)
        [one] = answer.differences
        assert (one.kind, one.rule, list(one.path)) == (pb.DIFFERENCE_KIND_VALUE, "search", ["price", "each"])
        reported.append((answer.before.number, one.before, one.after, one.change_percent))
    assert reported == [
        (3, "4", "5", "+25"),
        (1, "2", "5", "+150"),
        (1, "2", "3", "+50"),
        (3, "4", "2", "-50"),
    ]


async def test_the_cost_book(rates):
    """The same life; what it states is shown, and the catalog's prices are not."""
    before = (await rates.GetCosts(pb.GetCostsRequest())).version
    document = (await rates.GetCosts(pb.GetCostsRequest(number=before.number))).document
    stated = f'revision: {before.revision + 1}\nunits: {{fax: {{each: "1"}}, web_search: {{each: "1"}}}}\n'
    diff = await rates.DiffRates(pb.DiffRatesRequest(costs=stated))
    assert ["units", "fax", "each"] in [list(one.path) for one in diff.differences]
    refused = await refusal(rates.PublishCosts(pb.PublishCostsRequest(document=stated)))
    assert refused.fields.keys() == {"document"}, "cards price what it lacks"
    again = await rates.PublishCosts(pb.PublishCostsRequest(document=document))
    assert (again.replayed, again.version) == (True, before)
    back = await rates.RollbackCosts(pb.RollbackCostsRequest(number=before.number))
    assert (back.replayed, back.version.number) == (True, before.number)
    versions = (await rates.ListCostVersions(pb.ListCostVersionsRequest())).versions
    assert [each.number for each in versions] == [before.number]


async def test_the_plans(shop, rates):
    """The same life: compared plan by plan, numbered, shown as written, and never without their customers."""
    await shop.new_customer("of the plans", "strict")
    before = await rates.GetPlans(pb.GetPlansRequest())
    assert (before.version.number, before.version.in_force) == (1, True)
    extra = (
        '{"card": "metered", "expiring_notice": "1d", "grants": {"gift": {"amount": "1", "every": "day"}}}'
    )
    text = f"revision: 4 # ours\n{before.document}  extra: {extra}\n"
    diff = await rates.DiffRates(pb.DiffRatesRequest(plans=text))
    [one] = diff.differences
    assert (diff.before.number, one.kind, one.rule) == (1, pb.DIFFERENCE_KIND_RULE_ADDED, "extra")
    assert one.after == extra
    done = await rates.PublishPlans(pb.PublishPlansRequest(document=text))
    assert (done.version.number, done.version.revision, done.version.in_force) == (2, 4, False)
    said = "its credits are reported to expire as soon as they are granted"
    assert ("document", said) in [(each.document, each.message) for each in done.warnings]
    assert (await rates.PublishPlans(pb.PublishPlansRequest(document=text))).replayed

    without = text.replace("revision: 4", "revision: 5").replace("  strict:", "  lenient:")
    refused = await refusal(rates.PublishPlans(pb.PublishPlansRequest(document=without)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PLANS_IN_USE")
    assert refused.metadata == {"plans": "strict", "customers": "1"}
    checked = await rates.CheckRates(
        pb.CheckRatesRequest(plans=pb.RateDocument(name="plans.yaml", text=without))
    )
    [problem] = checked.problems
    assert (problem.document, problem.message.partition(": ")[2]) == ("plans.yaml", "strict (1)")
    wrong = await refusal(rates.PublishPlans(pb.PublishPlansRequest(document="plans: {a: {card: no}}")))
    assert wrong.fields["document"].startswith("<plans>:1:19: there is no card 'no'")
    low = await refusal(rates.PublishPlans(pb.PublishPlansRequest(document=before.document)))
    assert low.reason == "RATE_REVISION_PASSED"
    assert "(revision: 1, " in low.message

    back = await rates.RollbackPlans(pb.RollbackPlansRequest(number=1))
    assert (back.version.number, back.version.revision, back.version.restores) == (3, 5, 1)
    undone = await rates.DiffRates(pb.DiffRatesRequest(plans_number=3))
    assert [each.kind for each in undone.differences] == [pb.DIFFERENCE_KIND_RULE_REMOVED]
    shown = await rates.GetPlans(pb.GetPlansRequest(number=2))
    assert (shown.document, shown.version.number) == (text, 2)
    request, numbers = pb.ListPlanVersionsRequest(page_size=2), []
    while not numbers or request.page_token:
        page = await rates.ListPlanVersions(request)
        numbers += [each.number for each in page.versions]
        request.page_token = page.next_page_token
    assert numbers == [3, 2, 1]


async def test_what_is_doubtful_in_plans_holds_up_no_call(rates, monkeypatch):
    """It is found in the reader's thread: each name of each plan is looked for among its card's rules."""
    doubts, threads = PlanBook.doubts, []

    def watched(*given):
        threads.append(current_thread())
        return doubts(*given)

    monkeypatch.setattr(PlanBook, "doubts", watched)
    newest = (await rates.ListPlanVersions(pb.ListPlanVersionsRequest(page_size=1))).versions[0]
    text = (await rates.GetPlans(pb.GetPlansRequest(number=newest.number))).document
    await rates.CheckRates(pb.CheckRatesRequest(plans=pb.RateDocument(name="plans.yaml", text=text)))
    assert (await rates.PublishPlans(pb.PublishPlansRequest(document=text))).replayed
    assert len(threads) == 2
    assert main_thread() not in threads


async def test_a_check_finds_all_that_is_wrong(rates, name):
    """All that is wrong with all documents, each with its place; nothing is published."""
    request = pb.CheckRatesRequest(
        rate_cards=[
            pb.RateDocument(name="a.yaml", text=card_text(name)),
            pb.RateDocument(name="b.yaml", text=card_text(name, unit="fax")),
            pb.RateDocument(text="card: -"),
            pb.RateDocument(name="c.yaml", text=card_text(name, 2)),
        ]
    )
    problems = (await rates.CheckRates(request)).problems
    assert {problem.document for problem in problems} == {"b.yaml", "rate_cards[2]", "c.yaml"}
    assert "the cost book knows no unit 'fax'" in problems[0].message
    assert problems[0].line == 6
    assert problems[-1].message == f"two cards are named {name!r}"
    request.costs.text = 'units: {fax: {each: "1"}}'
    problems = (await rates.CheckRates(request)).problems
    assert problems[0].document == "a.yaml"
    request.costs.text = "units: 1"
    assert (await rates.CheckRates(request)).problems[0].document == "costs"
    assert await listed(rates, name) == []


async def test_check_warns(rates, name):
    """What is likely a mistake is a warning with its place, of cards and of a cost book: no problem."""
    text = card_text(name, per="0.001")
    costs = 'units: {web_search: {each: "0.01"}}\nunknown_cost: {each: {input: "3"}}'
    request = pb.CheckRatesRequest(
        rate_cards=[pb.RateDocument(name="a.yaml", text=text)],
        costs=pb.RateDocument(name="costs.yaml", text=f"revision: 1000\n{costs}"),
    )
    found = await rates.CheckRates(request)
    assert not found.problems
    assert [(warning.document, warning.line) for warning in found.warnings] == [
        ("a.yaml", 6),
        ("costs.yaml", 3),
    ]
    assert found.warnings[0].message.startswith("sells a million units of web_search at $1000, under a cost")


async def test_check_knows_what_is_published(rates, name):
    """A revision that is taken by other content, or passed, is a problem; the same content again is none."""
    await publish(rates, card_text(name, 2))

    async def checked(text):
        request = pb.CheckRatesRequest(rate_cards=[pb.RateDocument(name="a.yaml", text=text)])
        return [problem.message for problem in (await rates.CheckRates(request)).problems]

    assert await checked(card_text(name, 2)) == []
    assert await checked(card_text(name, 3, "7")) == []
    [taken] = await checked(card_text(name, 2, "7"))
    assert taken.startswith("revision 2 is published with other content, as version 1")
    assert await checked(card_text(name, 1)) == ["revision 1 is below 2, which is published"]


async def test_publishing_warns(rates, name):
    """The answer has the warnings of what was published, and a repeat has them too."""
    for replayed in (False, True):
        answer = await publish(rates, card_text(name, 1, "0.001"))
        assert (answer.replayed, [warning.line for warning in answer.warnings]) == (replayed, [6])


async def test_what_is_refused_is_not_published(rates, name):
    """Each says what is wrong and what is allowed, and publishes nothing."""
    await publish(rates, card_text(name, 3))
    taken = await refusal(publish(rates, card_text(name, 3, "7")))
    assert (taken.code, taken.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RATE_REVISION_TAKEN")
    assert taken.metadata == {"name": name, "revision": "3", "latest_revision": "3", "latest_number": "1"}
    passed = await refusal(publish(rates, card_text(name, 2)))
    assert (passed.code, passed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RATE_REVISION_PASSED")
    invalid = await refusal(publish(rates, card_text(name, 4, "-1")))
    assert invalid.fields["document"].startswith("<rate card>:6:62: the rate -1 is negative")
    for call in (
        rates.GetRateCard(pb.GetRateCardRequest(name=name, number=9)),
        rates.GetCosts(pb.GetCostsRequest(number=99)),
        rates.GetPlans(pb.GetPlansRequest(number=99)),
        rates.RollbackPlans(pb.RollbackPlansRequest(number=99)),
        rates.DiffRates(pb.DiffRatesRequest(plans_number=99)),
        rates.DiffRates(pb.DiffRatesRequest(rate_card=card_text(name), with_number=9)),
        rates.RollbackRateCard(pb.RollbackRateCardRequest(name=name, number=9)),
        rates.RollbackCosts(pb.RollbackCostsRequest(number=99)),
    ):
        assert (await refusal(call)).reason == "RATE_VERSION_NOT_FOUND"
    nothing = await refusal(rates.DiffRates(pb.DiffRatesRequest()))
    assert nothing.fields.keys() == {"changed"}
    assert [each.number for each in await listed(rates, name)] == [1]


async def test_a_margin_below_the_floor(shop, rates, name):
    """Simulated on the usage that the ledger holds: refused, unless it is forced, which is recorded."""
    text = card_text(name, 1, "2").replace("rules:", 'margin_floor: "30%"\nrules:')
    await publish(rates, text)
    await shop.new_customer(f"customer of {name}")
    await shop.update(rate_card=name)
    await shop.charge(usage=usage(searches("10")))
    low = text.replace("revision: 1", "revision: 2").replace("each: '2'", "each: '0.0015'")
    refused = await refusal(publish(rates, low))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MARGIN_BELOW_FLOOR")
    assert refused.metadata == {"name": name, "margin_percent": "17.68", "floor_percent": "30.00"}
    forced = await publish(rates, low, force=True)
    assert (forced.version.number, forced.version.forced) == (2, True)
    high = text.replace("revision: 1", "revision: 3").replace("each: '2'", "each: '0.002'")
    assert not (await publish(rates, high, force=True)).version.forced
