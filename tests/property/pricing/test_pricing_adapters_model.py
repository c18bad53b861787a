"""Records of every provider, made from a truth that is known: what the adapters read is that truth again.

The records are written here, from disjoint counts, in the ways of the providers' documents; the adapters read
them. So a token that is counted twice, or lost, shows. Nothing here is shared with what is tested.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import Tokens
from pricing.adapters import Adapted, AdapterError, FindingKind, NoUsage, anthropic, litellm, openai, otel

counts = st.one_of(st.integers(0, 3), st.integers(0, 10**6))
INPUT = ("input", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image")
OUTPUT = ("output", "reasoning", "output_audio", "output_image")
ADAPTERS = (openai.adapt, anthropic.adapt, litellm.adapt)


def truths(*without: str) -> st.SearchStrategy[dict[str, int]]:
    """Disjoint counts; those that a provider does not tell apart are 0."""
    return st.fixed_dictionaries({key: st.just(0) if key in without else counts for key in (*INPUT, *OUTPUT)})


def read(adapted: object) -> dict[str, int]:
    """The quantities of all items of tokens, added up."""
    assert isinstance(adapted, Adapted), adapted
    items = [item for item in adapted.items if isinstance(item, Tokens)]
    return {key: sum(item.quantities.get(key, 0) for item in items) for key in (*INPUT, *OUTPUT)}


def sums(truth: dict[str, int]) -> tuple[int, int]:
    return sum(truth[key] for key in INPUT), sum(truth[key] for key in OUTPUT)


# --- records -----------------------------------------------------------------------------------------------

openai_truths = truths("cache_write_1h")
openai_forms = st.sampled_from(["chat", "responses", "realtime", "codex"])


def openai_record(truth: dict[str, int], form: str, cached_audio: int, cached_image: int) -> dict[str, Any]:
    """Input and output with all that they include; of the cached tokens, some were audio or images."""
    given_all, answered_all = sums(truth)
    cached_audio = min(cached_audio, truth["cache_read"])
    cached_image = min(cached_image, truth["cache_read"] - cached_audio)
    held = {
        "cached_tokens": truth["cache_read"],
        "cache_write_tokens": truth["cache_write"],
        "audio_tokens": truth["input_audio"] + cached_audio,
        "image_tokens": truth["input_image"] + cached_image,
        "cached_tokens_details": {"audio_tokens": cached_audio, "image_tokens": cached_image},
    }
    said = {
        "reasoning_tokens": truth["reasoning"],
        "audio_tokens": truth["output_audio"],
        "image_tokens": truth["output_image"],
    }
    total = {"total_tokens": given_all + answered_all}
    usage: dict[str, Any]
    if form == "codex":
        usage = {
            "input_tokens": given_all,
            "cached_input_tokens": truth["cache_read"],
            "cache_write_input_tokens": truth["cache_write"],
            "output_tokens": answered_all,
            "reasoning_output_tokens": truth["reasoning"],
            "input_tokens_details": {key: held[key] for key in held if key != "cached_tokens"},
            "output_tokens_details": {key: said[key] for key in said if key != "reasoning_tokens"},
        }
    else:
        given_name, answered_name, suffix = {
            "chat": ("prompt_tokens", "completion_tokens", "tokens_details"),
            "responses": ("input_tokens", "output_tokens", "tokens_details"),
            "realtime": ("input_tokens", "output_tokens", "token_details"),
        }[form]
        usage = {
            given_name: given_all,
            answered_name: answered_all,
            f"{given_name.removesuffix('tokens')}{suffix}": held,
            f"{answered_name.removesuffix('tokens')}{suffix}": said,
        }
    return {"id": "r1", "model": "gpt-5.4", "usage": usage | total}


def anthropic_usage(truth: dict[str, int], *, split: bool = True) -> dict[str, Any]:
    """Input without the caches; output with thinking."""
    usage: dict[str, Any] = {
        "input_tokens": truth["input"],
        "cache_read_input_tokens": truth["cache_read"],
        "cache_creation_input_tokens": truth["cache_write"] + truth["cache_write_1h"],
        "output_tokens": truth["output"] + truth["reasoning"],
        "output_tokens_details": {"thinking_tokens": truth["reasoning"]},
    }
    if split:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": truth["cache_write"],
            "ephemeral_1h_input_tokens": truth["cache_write_1h"],
        }
    return usage


anthropic_truths = truths("input_audio", "input_image", "output_audio", "output_image")


def anthropic_record(truth: dict[str, int]) -> dict[str, Any]:
    return {"id": "m1", "type": "message", "model": "claude-opus-4-8", "usage": anthropic_usage(truth)}


def litellm_record(truth: dict[str, int]) -> dict[str, Any]:
    """Input with the caches, whoever the provider is."""
    given_all, answered_all = sums(truth)
    own = {
        "prompt_tokens": given_all,
        "completion_tokens": answered_all,
        "total_tokens": given_all + answered_all,
    }
    details = {
        "cached_tokens": truth["cache_read"],
        "cache_creation_tokens": truth["cache_write"] + truth["cache_write_1h"],
        "cache_creation_token_details": {
            "ephemeral_5m_input_tokens": truth["cache_write"],
            "ephemeral_1h_input_tokens": truth["cache_write_1h"],
        },
        "audio_tokens": truth["input_audio"],
        "image_tokens": truth["input_image"],
        "text_tokens": None,
        "cached_tokens_details": {},
    }
    said = {
        "reasoning_tokens": truth["reasoning"],
        "audio_tokens": truth["output_audio"],
        "image_tokens": truth["output_image"],
    }
    usage = {
        **own,
        "prompt_tokens_details": details,
        "completion_tokens_details": said,
        "cache_read_input_tokens": truth["cache_read"],
        "cache_creation_input_tokens": truth["cache_write"] + truth["cache_write_1h"],
    }
    return {
        "id": "l1",
        "model": "claude-opus-4-8",
        "custom_llm_provider": "anthropic",
        "call_type": "acompletion",
        "metadata": {"usage_object": usage},
        **own,
    }


otel_truths = truths("cache_write_1h")
NAMES = (
    {
        "given": "input_tokens",
        "answered": "output_tokens",
        "read": "cache_read.input_tokens",
        "written": "cache_write.input_tokens",
    },
    {
        "given": "prompt_tokens",
        "answered": "completion_tokens",
        "read": "cache_read_input_tokens",
        "written": "cache_creation.input_tokens",
    },
)


def span(span_id: str, parent_id: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """A span as OTLP/JSON has it; whole numbers are texts."""
    values = {
        key: {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
        for key, value in attributes.items()
    }
    listed = [{"key": key, "value": value} for key, value in values.items()]
    return {"traceId": "t", "spanId": span_id, "parentSpanId": parent_id, "attributes": listed}


def otel_attributes(truth: dict[str, int], names: dict[str, str], operation: str = "chat") -> dict[str, Any]:
    """Input and output with all that they include."""
    given_all, answered_all = sums(truth)
    usage = {
        names["given"]: given_all,
        names["answered"]: answered_all,
        names["read"]: truth["cache_read"],
        names["written"]: truth["cache_write"],
        "audio.input_tokens": truth["input_audio"],
        "image.input_tokens": truth["input_image"],
        "audio.cache_read.input_tokens": 0,
        "image.cache_read.input_tokens": 0,
        "reasoning.output_tokens": truth["reasoning"],
        "audio.output_tokens": truth["output_audio"],
        "image.output_tokens": truth["output_image"],
    }
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-opus-4-8",
        **{f"gen_ai.usage.{key}": count for key, count in usage.items()},
    }


def all_spans(*records: dict[str, Any]) -> list[Adapted | NoUsage]:
    tree, found = otel.Tree(), []
    for one in (one for record in records for one in otel.spans(record)):
        if isinstance(one, AdapterError):
            raise one
        tree.add(one)
        found.append(one)
    tree.close()
    return [otel.adapt(one, tree) for one in found]


# --- no token is counted twice, none is lost ---------------------------------------------------------------


@given(openai_truths, openai_forms, counts, counts)
def test_openai(truth, form, cached_audio, cached_image):
    """Parts are taken out of what includes them, in all forms; cached is cached, whatever it holds."""
    adapted = openai.adapt(openai_record(truth, form, cached_audio, cached_image))
    assert read(adapted) == truth
    assert not adapted.findings


@given(openai_truths, counts)
def test_openai_without_details_of_what_was_cached(truth, hidden):
    """Where nobody says which cached tokens were audio, the sums still hold, and the guess is reported."""
    record = openai_record(truth, "chat", hidden, hidden)
    held = record["usage"]["prompt_tokens_details"]
    del held["cached_tokens_details"]
    adapted = openai.adapt(record)
    quantities = read(adapted)
    assert sums(quantities) == sums(truth)
    assert quantities["cache_read"] == truth["cache_read"]
    plain = sums(truth)[0] - truth["cache_read"] - truth["cache_write"]
    exceeds = held["audio_tokens"] + held["image_tokens"] > plain
    assert {finding.kind for finding in adapted.findings} == ({FindingKind.ASSUMED} if exceeds else set())


@given(truths("cache_write_1h", "input_audio", "input_image", "output_audio", "output_image"))
def test_reasoning_beside_the_output(truth):
    """A total that includes reasoning beside the output says so, and nothing is lost."""
    record = openai_record(truth, "chat", 0, 0)
    record["usage"]["completion_tokens"] -= truth["reasoning"]
    adapted = openai.adapt(record)
    assert read(adapted) == truth
    assert len(adapted.findings) == (truth["reasoning"] > 0)


@given(anthropic_truths)
def test_anthropic(truth):
    """Input is without the caches, which are added up from what is written to each."""
    adapted = anthropic.adapt(anthropic_record(truth))
    assert read(adapted) == truth
    assert not adapted.findings


def added(truths: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(truth[key] for truth in truths) for key in (*INPUT, *OUTPUT)}


@given(
    st.lists(anthropic_truths, min_size=1, max_size=3),
    st.lists(anthropic_truths, max_size=2),
    st.lists(anthropic_truths, max_size=2),
)
def test_anthropic_iterations(own, compactions, advice):
    """The message's own samplings are its usage; a compaction and an advisor come on top, once."""
    usage = anthropic_usage(added(own))
    usage["iterations"] = [
        *({"type": "compaction", **anthropic_usage(truth)} for truth in compactions),
        *({"type": "message", "model": "claude-opus-4-8", **anthropic_usage(truth)} for truth in own),
        *({"type": "advisor_message", "model": "claude-x", **anthropic_usage(truth)} for truth in advice),
    ]
    adapted = anthropic.adapt({"model": "claude-opus-4-8", "usage": usage})
    assert not adapted.findings
    assert read(adapted) == added([*own, *compactions, *advice])
    assert read(Adapted(adapted.items[:1])) == added([*own, *compactions])
    assert [item.requests for item in adapted.items] == [len(own) + len(compactions), *(1 for _ in advice)]
    assert {item.model for item in adapted.items[1:]} <= {"anthropic/claude-x"}


@given(truths())
def test_litellm(truth):
    """The caches are within the input whoever the provider is."""
    adapted = litellm.adapt(litellm_record(truth))
    assert read(adapted) == truth
    assert {finding.path for finding in adapted.findings} == (set() if any(sums(truth)) else {"call_type"})


@given(otel_truths, st.sampled_from(NAMES))
def test_otel(truth, names):
    """The names of all versions of the conventions are read."""
    (adapted,) = all_spans(span("a", "", otel_attributes(truth, names)))
    assert read(adapted) == truth
    assert not adapted.findings


@given(
    truths("input_audio", "input_image", "cache_write_1h", "output_audio", "output_image"),
    st.sampled_from(NAMES),
)
def test_otel_input_without_the_caches(truth, names):
    """Input that is less than what was cached was counted without it."""
    attributes = otel_attributes(truth, names)
    attributes[f"gen_ai.usage.{names['given']}"] = truth["input"]
    (adapted,) = all_spans(span("a", "", attributes))
    if truth["input"] < truth["cache_read"] + truth["cache_write"]:
        assert read(adapted) == truth
        assert [finding.kind for finding in adapted.findings] == [FindingKind.ASSUMED]


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    """Calls of models, each under agents, tools and frameworks whose usage is the sum of what is within.

    The spans come in any order.
    """
    records: list[dict[str, Any]] = []
    calls: list[dict[str, int]] = []

    def grow(parent: str, depth: int) -> list[dict[str, int]]:
        own = f"s{len(records)}"
        records.append({})
        place = len(records) - 1
        if depth == 0 or draw(st.booleans()):
            truth = draw(otel_truths)
            calls.append(truth)
            records[place] = span(own, parent, otel_attributes(truth, draw(st.sampled_from(NAMES))))
            return [truth]
        within = [truth for _ in range(draw(st.integers(1, 3))) for truth in grow(own, depth - 1)]
        operation = draw(st.sampled_from(["invoke_agent", "invoke_workflow", "execute_tool", "other"]))
        attributes: dict[str, Any] = {"gen_ai.operation.name": operation}
        if draw(st.booleans()):
            attributes = otel_attributes(added(within), draw(st.sampled_from(NAMES)), operation)
        records[place] = span(own, parent, attributes)
        return within

    grow("", 3)
    return draw(st.permutations(records)), calls


@given(trees())
def test_otel_spans_within_spans(made):
    """However agents, tools and frameworks report again what their calls used, each call counts once."""
    records, calls = made
    adapted = all_spans(*records)
    counted = [one for one in adapted if isinstance(one, Adapted)]
    assert len(counted) == len(calls)
    assert added([read(one) for one in counted]) == added(calls)
    assert not any(one.findings for one in adapted)


# --- what is wrong is reported -----------------------------------------------------------------------------

paths = st.lists(st.sampled_from(["x", "tokens", "new_details"]), min_size=1, max_size=3)
record_makers = st.one_of(
    st.builds(
        lambda truth, form: (openai.adapt, openai_record(truth, form, 0, 0)), openai_truths, openai_forms
    ),
    st.builds(lambda truth: (anthropic.adapt, anthropic_record(truth)), anthropic_truths),
    st.builds(lambda truth: (litellm.adapt, litellm_record(truth)), truths()),
)


def usage_of(record: dict[str, Any]) -> dict[str, Any]:
    return record["usage"] if "usage" in record else record["metadata"]["usage_object"]


def objects(value: dict[str, Any]) -> list[dict[str, Any]]:
    """An object and all within it."""
    return [value, *(one for inner in value.values() if isinstance(inner, dict) for one in objects(inner))]


@given(record_makers, paths, st.one_of(counts, st.floats(0, 10), st.text(max_size=5)), st.data())
def test_unknown_fields_are_told(made, path, value, data):
    """A field that nobody knows, anywhere in the usage: a number as uncounted, all else as unknown."""
    adapt, record = made
    before = adapt(record)
    place = data.draw(st.sampled_from(objects(usage_of(record))))
    unknown: Any = value
    for name in reversed(path):
        unknown = {f"unknown_{name}": unknown}
    place.update(unknown)
    after = adapt(record)
    (finding,) = set(after.findings) - set(before.findings)
    assert finding.path.endswith(".".join(f"unknown_{name}" for name in path))
    numeric = not isinstance(value, str) and value != 0
    assert finding.kind == (FindingKind.UNCOUNTED if numeric else FindingKind.UNKNOWN)
    assert after.items == before.items


@given(
    record_makers,
    st.one_of(st.integers(max_value=-1), st.floats(), st.booleans(), st.text(), st.integers(10**15 + 1)),
    st.data(),
)
def test_counts_that_are_none_are_refused(made, value, data):
    """A count that is negative, a float, a boolean, a text or too large is refused by its path."""
    adapt, record = made
    place = data.draw(st.sampled_from([one for one in objects(usage_of(record)) if one]))
    names = [name for name in place if isinstance(place[name], int) and "5m" not in name]
    if not names or (adapt is litellm.adapt and "5m" in str(names)):
        return
    name = data.draw(st.sampled_from(names))
    place[name] = value
    with pytest.raises(AdapterError, match=name):
        adapt(record)


@given(openai_truths, openai_forms, st.integers(1, 100))
def test_more_within_than_the_whole(truth, form, more):
    """Parts that exceed what includes them are refused."""
    record = openai_record(truth, form, 0, 0)
    usage = record["usage"]
    name = "prompt_tokens" if form == "chat" else "input_tokens"
    usage[name] = max(0, truth["cache_read"] + truth["cache_write"] - more)
    usage["total_tokens"] = usage[name] + sums(truth)[1]
    if truth["cache_read"] + truth["cache_write"] > usage[name]:
        with pytest.raises(AdapterError, match=f"{name}: is {usage[name]}, and includes"):
            openai.adapt(record)


@given(record_makers, st.integers(1, 100))
def test_totals_that_do_not_add_up_are_told(made, more):
    """A wrong total changes nothing that is counted."""
    adapt, record = made
    usage = usage_of(record)
    if "total_tokens" not in usage:
        return
    before = adapt(record)
    usage["total_tokens"] += more + sum(count for count in objects(usage)[-1].values() if count)
    after = adapt(record)
    assert after.items == before.items
    assert [finding.kind for finding in set(after.findings) - set(before.findings)] == [FindingKind.MISMATCH]


NAMES_OF_FIELDS = re.findall(
    r"\w+",
    """
    usage model response metadata id type message result body output input_tokens prompt_tokens output_tokens
    iterations usage_object request resourceSpans scopeSpans spans attributes traceId spanId key value
    """,
)
NAMES_OF_FIELDS = re.findall(
    r"\w+",
    """
    usage model response metadata id type message result body output input_tokens prompt_tokens output_tokens
    iterations usage_object request resourceSpans scopeSpans spans attributes traceId spanId key value
    """,
)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES_OF_FIELDS), inner, max_size=5),
    ),
    max_leaves=20,
)


@given(plain)
def test_no_record_breaks_an_adapter(record):
    """Whatever a line holds, it is read, or refused with a path and what is allowed."""
    for adapt in (*ADAPTERS, all_spans):
        refusal = str(AdapterError("", "", ""))
        try:
            adapt(record)
        except AdapterError as refused:
            refusal = str(refused)
        assert "(allowed: " in refusal
