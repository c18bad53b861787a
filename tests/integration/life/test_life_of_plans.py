"""The life of plans: published once, in force everywhere at one instant, and taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from life_world import Start, plans_of, write_card, write_costs, write_plans
from structlog.testing import capture_logs

import pricing
from ledger import books
from ledger.followers.overrides_follower import OverridesFollower
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.plans import BUILT_IN
from ledger.publishing.publisher import By, PlansInUseError
from ledger.store.postgres.database import Database
from ledger.store.postgres.migrate import DEFAULT_CELLS
from ledger.store.prices.versions import CONVERGENCE, Kind, Source
from tests.acts import ACT
from tests.customers import create_customer

OPS = By(ACT, Source.API)


async def make_customer(
    database: Database, customer_id: str, plan: str, card: str | None = None, own: str | None = None
) -> None:
    def make(number: int, now: datetime) -> books.Decision:
        return books.create(number, "", plan, card, "UTC", "created", b"", now, plan_overrides=own)

    await create_customer(database.writer, customer_id, DEFAULT_CELLS[0], make, ACT)


async def test_plans_are_in_force_everywhere(start: Start) -> None:
    """Whatever a replica's file says, if it has one: it goes by what is published, from one instant on."""
    first, second = await start(), await start("second")
    assert plans_of(first) == plans_of(second) == BUILT_IN.plans
    write_plans(first, 1, "team: {card: basic}, overdraft: {}, standard: {}, capped: {}")
    await first.look()
    await second.look()
    assert plans_of(first).keys() == plans_of(second).keys() == {"team", "overdraft", "standard", "capped"}
    write_plans(second, 2, "team: {card: basic, max_ttl: 1h}")
    await second.look()
    await first.look()
    changed = first.publishing.prices.published.latest(Kind.PLANS)
    assert changed is not None
    assert changed.effective_from == changed.published_at + CONVERGENCE
    for replica in (first, second):
        limits = [
            plans_of(replica, changed.effective_from + by)["team"].max_ttl
            for by in (timedelta(microseconds=-1), timedelta())
        ]
        assert limits == [timedelta(hours=24), timedelta(hours=1)]
        assert replica.gauge("price_generation") == 4
    assert first.publishing.files.read.older == ("plans",)
    third = await start("third")
    assert plans_of(third, changed.effective_from).keys() == {"team"}
    assert third.publishing.files.read.match


async def test_plans_that_are_wrong_change_nothing(start: Start) -> None:
    """Of a card that is not there, under a published revision, or gone: what was in force stays."""
    first = await start()
    write_plans(first, 1, "team: {card: basic}")
    await first.look()
    write_plans(first, 2, "team: {card: gone}")
    await first.look()
    assert plans_of(first)["team"].card == "basic"
    assert "there is no card 'gone'" in first.publishing.files.read.refused[0]
    write_plans(first, 1, "team: {card: basic, low_balance: '5'}")
    await first.look()
    [problem] = first.publishing.files.read.refused
    assert problem == (
        f"{first.directory}/plans.yaml: plans: revision 1 is published with other content, as version 1"
        " (to publish this one, write revision: 2)"
    )
    (first.directory / "plans.yaml").unlink()
    await first.look()
    assert first.publishing.files.read.match
    assert plans_of(first, first.later(days=1))["team"].low_balance_micros == 0


async def test_plans_may_not_leave_out_customers(start: Start, database: Database) -> None:
    """Those on a plan that would be gone, or whose card, their only one, would be; unless it is forced."""
    first = await start()
    write_plans(first, 1, "a: {card: basic}, b: {card: basic}, c: {card: basic}, d: {}")
    await first.look()
    for number, (plan, card) in enumerate([("a", None), ("a", "basic"), ("b", None), ("b", "basic")]):
        await make_customer(database, f"customer {number}", plan, card)
    text = "revision: 2\nplans: {b: {}, d: {}}\n"
    publisher = first.publishing.publisher
    with pytest.raises(PlansInUseError) as refused:
        await publisher.publish_plans(text, OPS)
    assert (refused.value.plans, refused.value.customers) == (["a", "b"], 3)
    (first.directory / "plans.yaml").write_text(text)
    await first.look()
    [problem] = first.publishing.files.read.refused
    assert problem == (
        f"{first.directory}/plans.yaml: plans: customers are on plans that would be gone, or whose card,"
        " their only one, would be, or that go against what they have their own of: a (2), b (1)"
        " (acu-ledger rates publish --force publishes it all the same)"
    )
    done = await publisher.publish_plans(text, replace(OPS, forced=True))
    assert (done.version.number, done.version.forced) == (2, True)


async def test_plans_may_not_go_against_customers_own_fields(start: Start, database: Database) -> None:
    """What a customer has its own of goes with its plan; where it did not, it is no reason to refuse."""
    first = await start()
    write_plans(first, 1, "a: {over_capture: ALLOW_WITH_OVERDRAFT}, b: {max_ttl: 1h}")
    await first.look()
    await make_customer(database, "owes", "a", own='{"overdraft_limit": "50"}')
    await make_customer(database, "has gone wrong", "b", own='{"default_ttl": "2h"}')
    publisher = first.publishing.publisher
    with pytest.raises(PlansInUseError) as refused:
        await publisher.publish_plans("revision: 2\nplans: {a: {over_capture: CAP}, b: {max_ttl: 1h}}", OPS)
    assert (refused.value.plans, refused.value.customers) == (["a"], 1)
    text = "revision: 2\nplans: {a: {over_capture: ALLOW_WITH_OVERDRAFT, max_ttl: 1h}, b: {max_ttl: 30m}}"
    done = await publisher.publish_plans(text, OPS)
    assert (done.version.number, done.version.forced) == (2, False)


async def test_own_fields_of_a_newer_version_are_reported(database: Database) -> None:
    """With the customers and the fields, once until others come to be among them; the gauge counts all."""
    metrics = OperationsMetrics()
    follower = OverridesFollower(database, DEFAULT_CELLS, metrics)
    await make_customer(database, "readable", "standard", own='{"max_ttl": "1h"}')
    await make_customer(database, "second", "capped", own='{"spend_limit": "5"}')
    await make_customer(database, "first", "standard", own='{"spend_limit": "5"}')
    with capture_logs() as logs:
        await follower.look()
        await follower.look()
    [line] = [each for each in logs if each["event"] == "plan_overrides.unreadable"]
    assert (line["fields"], line["customers"]) == (("spend_limit",), ["first", "second"])
    assert metrics.registry.get_sample_value("acu_ledger_plan_overrides_unreadable") == 2


async def test_plans_are_rolled_back(start: Start) -> None:
    """The content of an older version is the next one, as it was written; a repeat changes nothing."""
    first = await start()
    publisher = first.publishing.publisher
    text = "# ours\nrevision: 4\nplans: {team: {card: basic}} # all\n"
    await publisher.publish_plans(text, OPS)
    await publisher.publish_plans("revision: 6\nplans: {team: {card: basic, max_ttl: 1h}}\n", OPS)
    done = await publisher.roll_back(Kind.PLANS, "", 1, OPS)
    again = await publisher.roll_back(Kind.PLANS, "", 1, OPS)
    assert (done.version.number, done.version.revision, done.version.restores) == (3, 7, 1)
    assert (again.version, again.repeated) == (done.version, True)
    at = done.version.effective_from
    assert plans_of(first, at)["team"].max_ttl == timedelta(hours=24)
    found = first.publishing.prices.published.plans(at)
    assert found is not None
    assert found.content.document == text.replace("revision: 4", "revision: 7")


async def test_a_card_keeps_what_a_plan_falls_back_on(start: Start, tmp_path: Path) -> None:
    """Neither a document nor a file takes it away under the plans published; files may change both."""
    first = await start(extra="fallback: {units: pages}\n")
    write_plans(first, 1, "team: {card: basic, unpriced: FALLBACK}")
    await first.look()
    asks = "card basic names no rule to fall back on, as plan team asks"
    write_card(tmp_path / "text", 2)
    text = (tmp_path / "text" / "cards" / "basic.yaml").read_text()
    with pytest.raises(pricing.ConfigError, match=asks):
        await first.publishing.publisher.publish_card(text, OPS)
    write_card(first.directory, 2)
    (first.directory / "plans.yaml").unlink()
    await first.look()
    assert asks in first.publishing.files.read.refused[0]
    write_plans(first, 2, "team: {card: basic, unpriced: CHARGE_HOLD}")
    await first.look()
    assert first.publishing.files.read.match
    assert first.number(first.later(seconds=3)) == 2


async def test_plans_that_cannot_be_audited_are_not_published(start: Start, database_url: str) -> None:
    """Nobody goes by plans of which there is no row."""
    first = await start()
    owner = await asyncpg.connect(database_url)
    await owner.execute("ALTER TABLE ledger.audit ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    write_plans(first, 1, "team: {card: basic}")
    with pytest.raises(asyncpg.CheckViolationError):
        await first.look()
    assert plans_of(first) == BUILT_IN.plans
    await owner.execute("ALTER TABLE ledger.audit DROP CONSTRAINT no_more")
    await owner.close()
    await first.look()
    assert set(plans_of(first)) == {"team"}


async def test_a_start_publishes_plans_where_there_are_none(start: Start, tmp_path: Path) -> None:
    """Whatever else is wrong with the files: the built-in plans would take its plan from a customer."""
    await start()
    write_costs(tmp_path / "bad")
    write_card(tmp_path / "bad", each="7")
    plans = tmp_path / "bad" / "plans.yaml"
    plans.write_text("plans: {team: {card: gone}}\n")
    with pytest.raises(pricing.ConfigError, match="there is no card 'gone'"):
        await start("bad")
    plans.write_text("plans: {team: {card: basic}}\n")
    bad = await start("bad")
    assert set(plans_of(bad)) == {"team"}
    assert "is published with other content" in bad.publishing.files.read.refused[0]
    plans.write_text("plans: {team: {card: gone}}\n")
    assert set(plans_of(await start("bad"))) == {"team"}
