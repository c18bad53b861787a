"""The life of a card: published once, in force everywhere at one instant, and taken back."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from life_world import Replica, Start, plans_of, write_card, write_costs, write_plans

import pricing
from ledger.clock import boot_seconds
from ledger.publishing.publisher import By
from ledger.store.postgres.database import Database
from ledger.store.prices.versions import (
    CONVERGENCE,
    Kind,
    RevisionRefusedError,
    Source,
    UnknownVersionError,
    list_versions,
)
from tests.acts import ACT

OPS = By(ACT, Source.API)
END = 2**31 - 1


async def versions(database: Database) -> list[tuple[int, int, str]]:
    """Of the card: number, revision, source."""
    found = await list_versions(database.finance, Kind.CARD, "basic", ("", END), 100)
    return [(version.number, version.revision, version.source) for version in found]


def text_of(tmp_path: Path, revision: int, each: str = "1", extra: str = "", unit: str = "page") -> str:
    write_card(tmp_path / "text", revision, each, extra, unit)
    return (tmp_path / "text" / "cards" / "basic.yaml").read_text()


async def test_replicas_that_start_at_once_make_one_version(start: Start, database: Database) -> None:
    """The same files, published by several at the same instant, are published once."""
    await start()
    for name in ("second", "third", "fourth"):
        await asyncio.gather(start(name, revision=2, each="2"), start(f"{name} twin", revision=2, each="2"))
    assert await versions(database) == [(2, 2, "FILE"), (1, 1, "FILE")]


async def test_one_file_on_two_replicas_at_once(start: Start, database: Database) -> None:
    """Both see the file change; one version comes of it, and both price by it."""
    replicas = [await start("first"), await start("second")]
    for replica in replicas:
        write_card(replica.directory, 2, "2")
    await asyncio.gather(*(replica.publishing.files.take() for replica in replicas))
    assert await versions(database) == [(2, 2, "FILE"), (1, 1, "FILE")]
    assert [replica.number(replica.later(seconds=3)) for replica in replicas] == [2, 2]
    assert all(replica.publishing.files.read.match for replica in replicas)


async def test_what_is_published_is_in_force_everywhere(start: Start, tmp_path: Path) -> None:
    """Whatever a replica's files say it prices by what is published, from one instant on."""
    first, second = await start("first"), await start("second")
    done = await first.publishing.publisher.publish_card(text_of(tmp_path, 2, "2"), OPS)
    assert done.version.effective_from == done.version.published_at + CONVERGENCE
    await second.look()
    instant = done.version.effective_from
    for replica in (first, second):
        assert replica.each(instant - timedelta(microseconds=1)) == "1"
        assert replica.each(instant) == "2"
        assert replica.gauge("price_generation") in (2, 3)
    assert second.gauge("price_generation") == 3
    assert second.gauge("price_files_match") == 0
    assert second.publishing.files.read.older == ("card basic",)
    assert second.publishing.files.read.refused == ()


async def test_a_future_price_takes_effect_at_its_instant(start: Start) -> None:
    """On every replica, also on one that starts between, and over a version that is published later."""
    first, second = await start("first"), await start("second")
    write_card(first.directory, 2, "2", "effective_from: 2126-12-01T00:00:00Z\n")
    await first.look()
    await second.look()
    third = await start("third")
    write_card(third.directory, 3, "3")
    await third.look()
    await first.look()
    await second.look()
    december = datetime(2126, 12, 1, tzinfo=UTC)
    for replica in (first, second, third):
        assert replica.each(replica.clock.now()) == "1"
        assert replica.each(december - timedelta(microseconds=1)) == "3"
        assert replica.each(december) == "2"


async def test_a_first_version_may_reach_back(start: Start) -> None:
    """A later one may not: it says what it wants, and takes effect when everybody knows of it."""
    first = await start(extra="effective_from: 2020-01-01T00:00:00Z\n")
    past = datetime(2020, 1, 1, tzinfo=UTC)
    assert first.each(past) == "1"
    assert first.publishing.prices.published.card("basic", past - timedelta(seconds=1)) is None
    write_card(first.directory, 2, "2", "effective_from: 2021-01-01T00:00:00Z\n")
    await first.look()
    assert first.each(first.clock.now()) == "1"
    assert first.each(first.later(seconds=3)) == "2"


async def test_an_old_file_does_no_harm(start: Start, database: Database) -> None:
    """A replica with a lower revision prices like the others; it says so, and that is all."""
    await start("first", revision=5, each="5")
    old = await start("old", revision=4, each="4")
    assert old.each(old.clock.now()) == "5"
    assert await versions(database) == [(1, 5, "FILE")]
    assert (old.gauge("price_files_refused"), old.gauge("price_files_match")) == (0, 0)


async def test_one_revision_with_two_contents_is_refused(start: Start, database: Database) -> None:
    """From a file it is reported and changes nothing; over the API it is an error; so is a lower one."""
    await start("first")
    other = await start("other", each="7")
    assert other.each(other.later(seconds=3)) == "1"
    [problem] = other.publishing.files.read.refused
    assert problem == (
        f"{other.directory}/cards/basic.yaml: card basic: revision 1 is published with other content,"
        " as version 1"
        " (to publish this one, write revision: 2)"
    )
    assert other.gauge("price_files_refused") == 1
    text = (other.directory / "cards" / "basic.yaml").read_text()
    with pytest.raises(RevisionRefusedError) as refused:
        await other.publishing.publisher.publish_card(text, OPS)
    assert refused.value.is_taken
    assert await versions(database) == [(1, 1, "FILE")]


async def test_publishing_the_latest_again_has_no_effect(start: Start, tmp_path: Path) -> None:
    """A comment makes no other content; and an answer that was lost can be had again."""
    first = await start()
    text = text_of(tmp_path, 2, "2")
    done = await first.publishing.publisher.publish_card(text, OPS)
    again = await first.publishing.publisher.publish_card("# again\n" + text, OPS)
    assert (done.repeated, again.repeated) == (False, True)
    assert again.version == done.version


async def test_a_bad_file_changes_nothing(start: Start) -> None:
    """What was in force stays; what is wrong is reported with its place, until the file is right again."""
    first = await start()
    write_card(first.directory, 2, "-2")
    await first.look()
    [problem] = first.publishing.files.read.refused
    assert "basic.yaml:7:55: the rate -2 is negative" in problem
    assert (first.gauge("price_files_refused"), first.gauge("price_files_match")) == (1, 0)
    assert first.each(first.later(seconds=3)) == "1"
    write_card(first.directory, 2, "2")
    await first.look()
    assert (first.gauge("price_files_refused"), first.gauge("price_files_match")) == (0, 1)
    assert first.each(first.later(seconds=3)) == "2"


async def test_files_are_taken_all_or_none(start: Start, database: Database) -> None:
    """A mistake in one keeps the others back, whichever it is: of the plans, of a revision, of a margin."""
    first = await start()
    write_card(first.directory, 2, "2")
    (first.directory / "plans.yaml").write_text("plans: {team: {card: gone}}\n")
    await first.look()
    assert "there is no card 'gone'" in first.publishing.files.read.refused[0]
    assert await versions(database) == [(1, 1, "FILE")]
    (first.directory / "plans.yaml").write_text("plans: {team: {card: basic}}\n")
    write_costs(first.directory, 1, "  image: {each: '1'}\n")
    await first.look()
    [problem] = first.publishing.files.read.refused
    assert problem.startswith(
        f"{first.directory}/costs.yaml: cost book: revision 1 is published with other content"
    )
    assert await versions(database) == [(1, 1, "FILE")]
    assert "team" not in plans_of(first)
    write_costs(first.directory, 2, "  image: {each: '1'}\n")
    await first.look()
    assert first.publishing.files.read.match
    assert await versions(database) == [(2, 2, "FILE"), (1, 1, "FILE")]
    assert "team" in plans_of(first)


async def test_a_plan_may_name_a_card_that_comes_with_it(start: Start) -> None:
    """What one reading of the files publishes is known to its plans."""
    first = await start()
    write_card(first.directory, 1)
    text = (first.directory / "cards" / "basic.yaml").read_text()
    (first.directory / "cards" / "more.yaml").write_text(text.replace("card: basic", "card: more"))
    (first.directory / "plans.yaml").write_text("plans: {team: {card: more}}\n")
    await first.look()
    assert plans_of(first)["team"].card == "more"


async def test_a_start_with_bad_files(start: Start, tmp_path: Path) -> None:
    """Where something is published it is priced by; where nothing is there is nothing to start with."""
    (tmp_path / "bad" / "cards").mkdir(parents=True)
    (tmp_path / "bad" / "costs.yaml").write_text("units: 1\n")
    with pytest.raises(pricing.ConfigError, match=r"holds no rate card.*\n.*costs.yaml:1:8"):
        await start("bad")
    write_costs(tmp_path / "plans")
    write_card(tmp_path / "plans")
    (tmp_path / "plans" / "plans.yaml").write_text("plans: {a: {card: basic}, b: {card: gone}}\n")
    with pytest.raises(pricing.ConfigError, match=r"plans.yaml:1:37: .* 'gone' \(name one of basic\)$"):
        await start("plans")
    await start("first")
    bad = await start("bad")
    assert bad.each(bad.clock.now()) == "1"
    assert bad.gauge("price_files_refused") == 2


async def audited(database: Database) -> list[tuple[str, Any, Any]]:
    """What was done, in order: the resource, before and after."""
    rows = await database.finance.fetch("SELECT * FROM ledger.audit ORDER BY number")
    assert {(row["key_id"], row["name"], row["method"]) for row in rows} <= {
        ("", f"files of {socket.gethostname()}", "files")
    }
    return [(row["resource"], row["before"], row["after"]) for row in rows]


async def test_what_is_taken_from_files_is_audited(start: Start, database: Database) -> None:
    """Versions of cards, of the cost book and of plans, by whoever publishes them."""
    first = await start()
    begun = await audited(database)
    assert [resource for resource, _, _ in begun] == ["costs", "rateCards/basic"]
    assert all(before is None for _, before, _ in begun)
    second = await start("second")
    await second.look()
    assert await audited(database) == begun

    for replica in (first, second):
        write_plans(replica, 1, "team: {card: basic, max_ttl: 1h}")
        await replica.look()
    [*_, changed] = after = await audited(database)
    assert after[:-1] == begun
    assert changed[:2] == ("plans", None)
    assert (changed[2]["number"], changed[2]["revision"], changed[2]["source"]) == (1, 1, "FILE")

    write_card(first.directory, 2, "2")
    write_plans(first, 2, "team: {card: gone}")
    await first.look()
    assert await audited(database) == after


async def test_a_plan_falls_back_on_what_is_published_not_on_an_older_file(start: Start) -> None:
    """A file of a lower revision is left alone: that it names a fallback is of no use to a plan."""
    first = await start()
    write_card(first.directory, 2)
    await first.look()
    write_card(first.directory, 1)
    card = first.directory / "cards" / "basic.yaml"
    card.write_text(card.read_text() + "fallback: {units: pages}\n")
    write_plans(first, 1, "team: {card: basic, unpriced: FALLBACK}")
    await first.look()
    (problem,) = first.publishing.files.read.refused
    assert "the card 'basic' names no rule to fall back on" in problem
    assert "team" not in plans_of(first)


async def test_a_card_and_the_cost_book_hold_together(start: Start, tmp_path: Path) -> None:
    """A card cannot price what the book lacks, the book not drop what a card prices; files may do both."""
    first = await start()
    publisher = first.publishing.publisher
    with pytest.raises(pricing.ConfigError, match="knows no unit 'image'"):
        await publisher.publish_card(text_of(tmp_path, 2, unit="image"), OPS)
    with pytest.raises(pricing.ConfigError, match=r"card basic, revision 1:.* knows no unit 'page'"):
        await publisher.publish_costs("revision: 2\nunits: {image: {each: '1'}}", OPS)
    (first.directory / "costs.yaml").write_text("revision: 2\nunits: {image: {each: '1'}}")
    write_card(first.directory, 2, unit="image")
    await first.look()
    assert first.publishing.files.read.match
    published = first.publishing.prices.published
    latest = [published.latest(Kind.COSTS), published.latest(Kind.CARD, "basic")]
    assert [version and version.number for version in latest] == [2, 2]


async def test_a_catalog_that_has_changed(start: Start) -> None:
    """Another release of the catalog changes no price by itself: the file's revision has to say so."""
    first = await start()
    text = "revision: 2\ntokens: {catalog: genai-prices}\nunits: {page: {each: 1}}"
    costs = pricing.read_costs_text(text)
    newer = pricing.CostBook.from_document(costs.document.replace('"input":"3"', '"input":"4"'))
    cards = {"basic": pricing.RateCard.from_document((first.directory / "cards" / "basic.yaml").read_text())}
    files = {"": "costs.yaml", "basic": "cards/basic.yaml"}
    await first.publishing.publisher.publish_files(pricing.Config(costs, cards, files, text), None, ACT)
    read = await first.publishing.publisher.publish_files(
        pricing.Config(newer, cards, files, text), None, ACT
    )
    [problem] = read.refused
    assert problem == (
        "costs.yaml: cost book: revision 2 is published with other prices of the catalog,"
        " as version 2 (to publish this one, write revision: 3)"
    )


async def test_a_rollback_is_the_next_version_everywhere(
    start: Start, database: Database, tmp_path: Path
) -> None:
    """The older content is the next version, everywhere; a repeat has no second effect."""
    first, second = await start("first"), await start("second")
    await first.publishing.publisher.publish_card(text_of(tmp_path, 7, "7"), OPS)
    done = await first.publishing.publisher.roll_back(Kind.CARD, "basic", 1, OPS)
    again = await second.publishing.publisher.roll_back(Kind.CARD, "basic", 1, OPS)
    assert (again.version, again.repeated) == (done.version, True)
    assert await versions(database) == [(3, 8, "ROLLBACK"), (2, 7, "API"), (1, 1, "FILE")]
    await second.look()
    assert second.each(done.version.effective_from) == "1"
    card = second.publishing.prices.published.latest_cards()["basic"].content
    assert card.document == (first.directory / "cards" / "basic.yaml").read_text().replace(
        "revision: 1", "revision: 8"
    )
    with pytest.raises(UnknownVersionError):
        await first.publishing.publisher.roll_back(Kind.CARD, "basic", 9, OPS)


async def test_rollback_of_the_cost_book(start: Start) -> None:
    """With the prices that it had; not where a card has come to rest on what it lacks."""
    first = await start()
    write_costs(first.directory, 2, "  image: {each: '1'}\n")
    await first.look()
    publisher = first.publishing.publisher
    done = await publisher.roll_back(Kind.COSTS, "", 1, OPS)
    at = done.version.effective_from
    published = first.publishing.prices.published
    assert "image" not in published.costs(at).content.units
    assert "image" in published.costs(at - timedelta(microseconds=1)).content.units
    await publisher.roll_back(Kind.COSTS, "", 2, OPS)
    write_card(first.directory, 2, unit="image")
    await first.publishing.files.take()
    with pytest.raises(pricing.ConfigError, match="knows no unit 'image'"):
        await publisher.roll_back(Kind.COSTS, "", 1, OPS)


def swap(link: Path, target: str) -> None:
    """As Kubernetes does: a new link is renamed over the old one."""
    fresh = link.with_name("..data_tmp")
    fresh.symlink_to(target)
    fresh.rename(link)


async def test_a_config_map_is_swapped(start: Start, tmp_path: Path) -> None:
    """Files are links into a directory that is itself behind a link: the swap of that one is seen."""
    mount = tmp_path / "mount"
    for name, each in (("..1", "1"), ("..2", "2")):
        write_costs(mount / name)
        write_card(mount / name, int(each), each)
    (mount / "..data").symlink_to("..1")
    for name in ("costs.yaml", "cards"):
        (mount / name).symlink_to(Path("..data", name))
    replica = await start("mount")
    swap(mount / "..data", "..2")
    await replica.look()
    assert replica.each(replica.later(seconds=3)) == "2"
    assert replica.publishing.files.read.match


async def test_the_directory_itself_is_a_link(start: Start, tmp_path: Path) -> None:
    """A deployment that swaps the whole directory is seen too."""
    write_costs(tmp_path / "v1")
    write_card(tmp_path / "v1")
    write_costs(tmp_path / "v2")
    write_card(tmp_path / "v2", 2, "2")
    link = tmp_path / "current"
    link.symlink_to("v1")
    replica = await start("current")
    swap(link, "v2")
    await replica.look()
    assert replica.each(replica.later(seconds=3)) == "2"


async def test_a_file_is_read_when_it_is_still(start: Start) -> None:
    """One that was changed since the last look may be half written; who asks for it gets it read at once."""
    first = await start()
    await first.publishing.step()
    write_card(first.directory, 2, "2")
    await first.publishing.step()
    assert first.number(first.later(seconds=3)) == 1
    await first.publishing.step()
    assert first.number(first.later(seconds=3)) == 2
    write_card(first.directory, 3, "3")
    first.publishing.reread.set()
    await first.publishing.step()
    assert first.number(first.later(seconds=6)) == 3


async def test_a_version_that_cannot_be_read(start: Start, database: Database) -> None:
    """A program that is older than a scheme keeps to what it can read, and its generation stays behind."""
    first: Replica = await start()
    await database.writer.execute(
        "INSERT INTO ledger.price_versions SELECT kind, name, 2, 2, 'from tomorrow', now(), now(), 'ops', '',"
        " 'API', NULL, false, 3, 'card: from tomorrow' FROM ledger.price_versions WHERE kind = 'CARD'"
    )
    await database.writer.execute("UPDATE ledger.price_generation SET generation = 3")
    await first.publishing.step()
    for replica in (first, await start("second")):
        published = replica.publishing.prices.published
        assert published.is_current(boot_seconds())
        assert (published.generation, replica.each(replica.later(days=1))) == (2, "1")
        assert published.unreadable[0].startswith("card basic, version 2: ")
