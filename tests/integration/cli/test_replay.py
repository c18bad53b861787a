"""Replays on the real stack: their figures are those of the records and the rates, to the last unit."""

from __future__ import annotations

import csv
import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from command_line import acu_ledger, lines, refused_at_once, replay
from typer.testing import CliRunner

from ledger.cli.main import app
from ledger.client import SyncCredits, convert
from ledger.sample import SAMPLE_RECORDS
from tests.serving import REPOSITORY, Server

KEYS = {
    "records",
    "committed",
    "refused",
    "skipped",
    "credits_micros",
    "revenue_nanousd",
    "cost_nanousd",
    "absorbed_cost_nanousd",
    "margin",
    "seconds",
    "verified",
    "mispriced",
    "findings",
}
BLENDED_USD = {"openai/gpt-5": ("0.619", "10"), "anthropic/claude-sonnet-4-5": ("3.944", "15")}
CARD = """
card: only
credit: credit
credit_price_usd: "0.01"
rules:
  - name: code
    match: {tokens: "acme/*"}
    price: {per_million: {input: "33.3", output: "77.7"}}
"""
COSTS = 'tokens: {models: {acme/code: {per_million: {input: "0.1", output: "0.7"}}}}\n'


def write_config(directory: Path, card: str = CARD) -> Path:
    """A configuration that says as little as it may: one card, no revision, no plans."""
    (directory / "cards").mkdir(parents=True)
    (directory / "costs.yaml").write_text(COSTS)
    (directory / "cards" / "only.yaml").write_text(card)
    return directory


def rows_of(name: str) -> list[dict[str, str]]:
    with (SAMPLE_RECORDS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_agent_sessions(data: Path) -> None:
    """A resolved issue costs 20 credits of $1, a failed one nothing: its cost is absorbed."""
    answer = replay(
        data, "agent_sessions", SAMPLE_RECORDS / "agent_sessions.csv", "--card", "resolved"
    ).json()
    rows = rows_of("agent_sessions.csv")
    costs = {}
    for row in rows:
        blended, listed = BLENDED_USD[row["model"]]
        tokens = int(row["input_tokens"]) * Fraction(blended) + int(row["output_tokens"]) * Fraction(listed)
        usd = tokens / 1_000_000 + Fraction(row["sandbox_seconds"]) * Fraction("0.12") / 3600
        costs[row["session_id"]] = round(usd * 10**9)
    resolved = sum(row["resolved"] == "1" for row in rows)
    revenue_nanousd, cost_nanousd = resolved * 20 * 10**9, sum(costs.values())
    seconds = answer.pop("seconds")
    assert isinstance(seconds, float)
    assert answer == {
        "records": len(rows),
        "committed": len(rows),
        "refused": {},
        "skipped": {},
        "credits_micros": resolved * 20 * 10**6,
        "revenue_nanousd": revenue_nanousd,
        "cost_nanousd": cost_nanousd,
        "absorbed_cost_nanousd": sum(costs[row["session_id"]] for row in rows if row["resolved"] == "0"),
        "margin": (revenue_nanousd - cost_nanousd) / revenue_nanousd,
        "verified": True,
        "mispriced": 0,
        "findings": [],
    }
    assert answer.keys() | {"seconds"} == KEYS


def test_llm_requests(server: Server) -> None:
    """The sum of a customer's requests is rounded, half even; revenue is the credits at the card's price."""
    answer = replay(
        server,
        "llm_requests",
        SAMPLE_RECORDS / "llm_requests.csv",
        *("--card", "code", "--model", "acme/code-13b"),
        *("--customers", 3, "--limit", 700),
    ).json()
    sizes = [
        (int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows_of("llm_requests.csv")[:700]
    ]
    exact = [read * Fraction("33.3") + wrote * Fraction("77.7") for read, wrote in sizes]
    micros = sum(round(sum(exact[n::3])) for n in range(3))
    cost_nanousd = sum(
        round((read * Fraction("0.1") + wrote * Fraction("0.4")) * 1000) for read, wrote in sizes
    )
    assert answer["records"] == answer["committed"] == 700
    assert answer["credits_micros"] == micros
    assert answer["revenue_nanousd"] == micros * 10
    assert answer["cost_nanousd"] == cost_nanousd
    assert answer["absorbed_cost_nanousd"] == 0
    assert answer["verified"] is True


def test_gpu_jobs(server: Server) -> None:
    """Images that succeed are charged by number, jobs of another status are counted by its name."""
    file = SAMPLE_RECORDS / "gpu_jobs.csv"
    answer = replay(server, "gpu_jobs", file, "--card", "images", "--resource", "l40s").json()
    rows = rows_of("gpu_jobs.csv")
    done = [row for row in rows if row["status"] != "PENDING"]
    costs = [round(Fraction(row["gpu_seconds"]) * Fraction("0.99") / 3600 * 10**9) for row in done]
    images = sum(int(Fraction(row["images"])) for row in done if row["status"] == "SUCCEED")
    assert answer["records"] == len(rows)
    assert answer["committed"] == len(done)
    assert answer["skipped"] == {"PENDING": len(rows) - len(done)}
    assert answer["credits_micros"] == images * 10**6
    assert answer["revenue_nanousd"] == images * 10**7
    assert answer["cost_nanousd"] == sum(costs)
    assert answer["absorbed_cost_nanousd"] == sum(
        cost for row, cost in zip(done, costs, strict=True) if row["status"] == "FAILED"
    )


def test_gpu_pods(server: Server) -> None:
    """A pod pays for its share of GPUs while it ran; one that was never scheduled is skipped."""
    options = ("--card", "gpu", "--resource", "l40s")
    answer = replay(server, "gpu_pods", SAMPLE_RECORDS / "gpu_pods.csv", *options).json()
    rows = rows_of("gpu_pods.csv")
    ran = [row for row in rows if row["scheduled_s"]]
    hours = [
        (int(row["deletion_s"]) - int(row["scheduled_s"]))
        * Fraction(int(row["num_gpu"]) * int(row["gpu_milli"]), 1000)
        / 3600
        for row in ran
    ]
    micros = round(sum(hours) * Fraction("4.4") * 10**6)
    assert answer["committed"] == len(ran)
    assert answer["skipped"] == {"not_scheduled": len(rows) - len(ran)}
    assert answer["credits_micros"] == micros
    assert answer["revenue_nanousd"] == micros * 250
    assert answer["cost_nanousd"] == sum(round(hour * Fraction("0.99") * 10**9) for hour in hours)


def test_usage_as_providers_sent_it(server: Server) -> None:
    """The objects of two providers come to the credits of the disjoint counts that are known of them."""
    rows = rows_of("agent_rounds.csv")
    for provider in ("anthropic", "openai"):
        file = SAMPLE_RECORDS / f"{provider}_usage.jsonl"
        answer = replay(server, provider, file, "--card", "usage").json()
        own = [row for row in rows if row["model"].startswith(provider)]
        micros = 0
        for row in own:
            reasoning = int(row["reasoning_tokens_within_output"])
            micros += int(row["input_uncached_tokens"]) * 100 + int(row["cache_read_tokens"]) * 10
            micros += int(row["cache_write_tokens"]) * 125
            micros += (int(row["output_tokens"]) - reasoning) * 1000 + reasoning * 1001
        assert (answer["records"], answer["committed"], answer["findings"]) == (len(own), len(own), [])
        assert (answer["credits_micros"], answer["verified"]) == (micros, True)


def test_a_replay_costs_what_the_client_charges(server: Server) -> None:
    """Record by record: what a program adds as it comes, and what its provider's log amounts to later."""
    for provider in ("anthropic", "openai"):
        file = SAMPLE_RECORDS / f"{provider}_usage.jsonl"
        replay(server, provider, file, "--card", "usage", "--run-id", f"both-{provider}").json()
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        with SyncCredits(server.public) as credits:
            customer_id = f"both-{provider}/customer-1"
            replayed = sorted(charge.charged_micros for charge in credits.list_charges(customer_id))
            work = [convert(**{provider: record}) for record in records]
            charged = sorted(credits.charge(customer_id, each.items).charged_micros for each in work)
        assert charged == replayed
        assert all(charged)


def test_spans_of_a_run_and_what_is_to_be_looked_at(server: Server, tmp_path: Path) -> None:
    """A model's spans are charged once, not again with their agent's; unknown usage is added up by field."""
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 1, "gen_ai.usage.new": 5}
    named = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5.4", "user.id": "ada"}

    def span(span_id: str, parent_id: str, times: int) -> str:
        attributes = {**named, **{key: times * count for key, count in usage.items()}}
        listed = [
            {
                "key": key,
                "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)},
            }
            for key, value in attributes.items()
        ]
        return json.dumps(
            {"traceId": "t", "spanId": span_id, "parentSpanId": parent_id, "attributes": listed}
        )

    file = tmp_path / "spans.jsonl"
    spans = [span("a", "agent", 1), span("b", "agent", 1), span("agent", "", 2), span("a", "agent", 1), "{}"]
    file.write_text("\n".join(spans))
    ran = replay(server, "otel", file, "--card", "usage", "--run-id", "spans")
    answer = ran.json(status=1)
    assert (answer["records"], answer["committed"], answer["credits_micros"]) == (5, 2, 4000)
    assert answer["skipped"] == {"aggregate": 1, "repeated": 1, "broken_row": 1}
    assert f"{file}:5: traceId: is missing" in ran.stderr
    assert answer["findings"] == [
        {
            "kind": "uncounted",
            "path": "attributes.gen_ai.usage.new",
            "count": 2,
            "first_file": str(file),
            "first_line": 1,
            "first": "5, a number that is not counted",
        }
    ]
    customers = acu_ledger("customers", "list", "--target", server.back_office).stdout
    assert "spans/ada" in customers


def test_same_run_again_books_nothing_twice(data: Path) -> None:
    """A run id names the run: its second time gives the same answers, and the books stay as they are."""
    options = ("--card", "resolved", "--run-id", "twice", "--limit", 20, "--customers", 2)
    first, second = (
        replay(data, "agent_sessions", SAMPLE_RECORDS / "agent_sessions.csv", *options).json()
        for _ in range(2)
    )
    for answer in (first, second):
        del answer["seconds"]
    assert first == second
    assert first["committed"] == 20


def test_credits_run_out_and_more_are_issued(server: Server, tmp_path: Path) -> None:
    """Where one grant is too small, more follow and the same request goes through."""
    file = tmp_path / "pods.csv"
    pods = [(f"p{number}", 1, 1000, 0, 3600) for number in range(7)]
    file.write_text(lines(("pod", "num_gpu", "gpu_milli", "scheduled_s", "deletion_s"), *pods))
    answer = replay(server, "gpu_pods", file, "--card", "dear", "--resource", "l40s").json()
    assert (answer["committed"], answer["refused"]) == (7, {})
    assert answer["credits_micros"] == 7 * 6 * 10**6
    assert answer["revenue_nanousd"] == 7 * 6 * 10**16


def test_configuration_with_plans_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Where there is no plan `standard` the customers are on the first by name."""
    config = write_config(tmp_path / "config")
    (config / "plans.yaml").write_text("plans: {team: {card: only}, solo: {over_capture: CAP}}\n")
    file = tmp_path / "requests.csv"
    file.write_text(lines(("ContextTokens", "GeneratedTokens"), (1_000_000, 0)))
    own = tmp_path_factory.mktemp("own")
    answer = replay(own, "llm_requests", file, "--config", config, "--model", "acme/code").json()
    assert (answer["committed"], answer["credits_micros"]) == (1, 33_300_000)


def test_broken_row_is_told_and_the_rest_runs(server: Server, tmp_path: Path) -> None:
    """The message names file and line; the row counts as skipped, and the status is 1."""
    file = tmp_path / "requests.csv"
    file.write_text(lines(("ContextTokens", "GeneratedTokens"), (1000, 10), (1000, "ten"), (2000, 20)))
    ran = replay(server, "llm_requests", file, "--card", "completions", "--model", "acme/code-13b")
    answer = ran.json(status=1)
    assert f"{file}:3: GeneratedTokens: 'ten' is not a number" in ran.stderr
    assert (answer["records"], answer["committed"], answer["skipped"]) == (3, 2, {"broken_row": 1})


def test_unknown_model_is_refused_and_booked_nowhere(server: Server, tmp_path: Path) -> None:
    """What the card has no price for is refused before the work, counted by reason; the status is 1."""
    file = tmp_path / "requests.csv"
    file.write_text(lines(("ContextTokens", "GeneratedTokens"), (1000, 10)))
    answer = replay(server, "llm_requests", file, "--card", "completions", "--model", "who/knows").json(
        status=1
    )
    assert (answer["records"], answer["committed"]) == (1, 0)
    assert answer["refused"] == {"UNPRICED_USAGE": 1}
    assert answer["margin"] is None


def test_a_response_that_came_with_other_usage_is_not_booked(server: Server, tmp_path: Path) -> None:
    """It is reported, and the status says that not all is booked; the same one is skipped in silence."""
    file = tmp_path / "responses.jsonl"
    for second, said, status in ((10, 1, 0), (10, 5, 0), (11, 0, 1)):
        responses = [
            {"id": "r", "model": "gpt-5.4", "usage": {"prompt_tokens": count, "completion_tokens": wrote}}
            for count, wrote in ((10, 1), (second, said))
        ]
        file.write_text("\n".join(map(json.dumps, responses)))
        answer = replay(server, "openai", file, "--card", "usage").json(status=status)
        assert (answer["committed"], answer["verified"]) == (1, True)


def test_file_without_records(server: Server, tmp_path: Path) -> None:
    """No records, no effect, no margin."""
    file = tmp_path / "requests.csv"
    file.write_text("ContextTokens,GeneratedTokens\n")
    answer = replay(server, "llm_requests", file, "--card", "completions", "--model", "acme/code-13b").json()
    assert (answer["records"], answer["credits_micros"], answer["margin"]) == (0, 0, None)


def test_unknown_card_is_a_usage_error(data: Path) -> None:
    """The message lists the cards in force; so it does where none is named and there are several."""
    file = SAMPLE_RECORDS / "agent_sessions.csv"
    unknown = replay(data, "agent_sessions", file, "--card", "nope")
    unnamed = replay(data, "agent_sessions", file)
    for ran in (unknown, unnamed):
        assert (ran.status, ran.stdout) == (2, "")
        assert "the cards in force are: agentforce, agents, completions, copilot-studio, " in ran.stderr


@pytest.mark.parametrize(
    ("header", "options", "says"),
    [
        (
            "ContextTokens,Other",
            ("--model", "m/x"),
            "missing column GeneratedTokens; the file has ContextTokens",
        ),
        ("ContextTokens,GeneratedTokens", (), "give --model"),
        ("ContextTokens,GeneratedTokens", ("--model", "m/x", "--target", "h:1"), "belong together"),
        (
            "ContextTokens,GeneratedTokens",
            ("--model", "m/x", "--run-id", "x" * 61),
            "--run-id: write 1 to 60",
        ),
    ],
)
def test_usage_errors_send_nothing(tmp_path: Path, header: str, options: tuple[str, ...], says: str) -> None:
    """A command that makes no sense ends with status 2 before anything is started."""
    file = tmp_path / "requests.csv"
    file.write_text(f"{header}\n1,2\n")
    data = tmp_path / "none"
    assert says in refused_at_once(
        "replay", "--format", "llm_requests", file, "--json", "--data", data, *options
    )
    assert not data.exists()


def test_help_names_no_directory_of_this_machine() -> None:
    """What stands for an option that is not given is said in words."""
    said = CliRunner().invoke(app, ["replay", "--help"]).stdout
    unwrapped = re.sub(r"[\s│]", "", said)
    assert "[default:(thesample)]" in unwrapped
    assert str(REPOSITORY) not in unwrapped


def test_bad_configuration_is_a_usage_error(tmp_path: Path) -> None:
    """The message has file, line and column of what is wrong."""
    config = write_config(tmp_path / "bad", CARD.replace('"33.3"', "33.3").lstrip())
    file = tmp_path / "requests.csv"
    file.write_text("ContextTokens,GeneratedTokens\n1,2\n")
    ran = replay(tmp_path / "data", "llm_requests", file, "--model", "acme/code", "--config", config)
    assert (ran.status, ran.stdout) == (2, "")
    assert f"{config / 'cards' / 'only.yaml'}:7:34:" in ran.stderr
