"""What LiteLLM logs of a call: a `StandardLoggingPayload`, or a row of its spend logs.

Its counts are OpenAI's whoever the provider is: `prompt_tokens` include what was read from and written to the
cache. The record's own counts are the whole; the parts are in the usage object that goes with it
(`metadata.usage_object`, `response.usage` or `usage`), and without one all input counts as uncached, which is
reported.

What was asked for is the model of the proxy's list (`model_group`): `litellm/NAME`, unless it is the model
that served. An answer from LiteLLM's own cache (`cache_hit`) is served by `cache`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pricing.adapters.common import (
    Adapted,
    AdapterError,
    Fields,
    Finding,
    FindingKind,
    NoUsage,
    names_in,
    tokens,
    units,
    who,
)
from pricing.adapters.openai import OpenAIUsage, read_usage
from pricing.adapters.vocabulary import model_of, provider_id, tier_of
from pricing.usage.items import CACHE

_CONTENT = names_in(
    """
    agent_id api_base api_key autorouter_baseline_observation autorouter_model autorouter_savings
    autorouter_savings_estimate cache_key call_type classifier_input completion_start_time
    completionStartTime cost_breakdown cost_finalized created_at custom_llm_provider duration_ms
    endTime error_information error_str guardrail_information hidden_params litellm_call_id
    mcp_namespaced_tool_name messages metadata model_id model_map_information model_parameters
    organization_id originating_request_masked proxy_server_request request_duration_ms
    request_model_access_groups request_tags requester_ip_address response response_cost
    response_cost_failure_debug_info response_time saved_cache_cost spend
    standard_built_in_tools_params startTime status_fields stream team_id trace_id updated_at
    user_agent vector_store_request_metadata zero_cost_diagnostic
    """
)
"""Fields of a record that are not usage; `spend` and `response_cost` are what LiteLLM says that it cost."""


def named(model: str) -> str:
    """A model as LiteLLM names it, `gemini/gemini-2.5-pro`, by its provider's name in the catalog."""
    prefix, slash, name = model.partition("/")
    return model_of(provider_id(prefix), name) if slash else model


def adapt(record: object) -> Adapted | NoUsage:
    """Adapts one record. Raises AdapterError."""
    findings: list[Finding] = []
    fields = Fields(record, "", findings)
    metadata, response = fields.inside("metadata"), _response(fields)
    counts = {name: fields.count(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if fields.label("status") == "failure" and not any(counts.values()):
        return NoUsage("failure")
    reported = _reported(metadata, fields, response)
    asked, served = _models(fields)
    tier = _tier(fields, response, reported)
    usage = _read(fields, counts, reported, findings, served)
    hit = str(fields.value("cache_hit")).lower() == "true"
    call_type = fields.label("call_type")
    if not usage.all_input + usage.all_output:
        fields.find(FindingKind.UNCOUNTED, "call_type", f"{call_type}: what it is billed by is no tokens")
    whose = who(fields, metadata)
    adapted = Adapted(
        (
            tokens(asked, usage.quantities, served_by=CACHE if hit else served, service_tier=tier),
            *(units(meter, count) for meter, count in sorted(usage.tools.items()) if count),
        ),
        record_id=fields.texts("id", "request_id"),
        user=whose.user or metadata.label("user_api_key_end_user_id", "user_api_key_user_id"),
        session=whose.session or fields.label("trace_id"),
        agent=whose.agent,
    )
    fields.passed(*_CONTENT)
    if reported:
        reported.tell_unread()
    for known in (metadata, response):
        known.pass_all()
    fields.tell_unread()
    return replace(adapted, findings=tuple(findings))


def _response(fields: Fields) -> Fields:
    """The answer that was logged, if it is an object."""
    if not isinstance(fields.peek("response"), Mapping):
        fields.passed("response")
    return fields.inside("response")


def _reported(*places: Fields) -> Fields | None:
    """The usage object that goes with a record."""
    for place in places:
        for name in ("usage_object", "usage"):
            if place.has(name):
                return place.inside(name)
    return None


def _read(
    fields: Fields,
    counts: Mapping[str, int | None],
    reported: Fields | None,
    findings: list[Finding],
    model: str,
) -> OpenAIUsage:
    if reported is None:
        text = "no usage object goes with it: all of it is counted as uncached text"
        fields.find(FindingKind.ASSUMED, "prompt_tokens", text)
        return read_usage(Fields(counts, fields.path, findings), findings, model=model)
    usage = read_usage(reported, findings, model=model)
    for name, said in (("prompt_tokens", usage.all_input), ("completion_tokens", usage.all_output)):
        if counts[name] not in {None, said}:
            text = f"{counts[name]}, where {reported.at(name)}, which is counted, says {said}"
            fields.find(FindingKind.MISMATCH, name, text)
    return usage


def _tier(fields: Fields, response: Fields, reported: Fields | None) -> str:
    """The tier that served, by the answer or its usage, else the one that was asked for."""
    parameters = fields.peek("model_parameters")
    asked = parameters.get("service_tier") if isinstance(parameters, Mapping) else None
    speed = reported.label("speed") if reported else None
    said = reported.label("service_tier") if reported else None
    served = (speed if speed != "standard" else None, response.label("service_tier"), said)
    tier = tier_of(*served, asked if isinstance(asked, str) else None)
    if tier and not any(served):
        text = f"the answer names no tier: {tier!r} was asked for, and is taken"
        fields.find(FindingKind.ASSUMED, "model_parameters", text)
    return tier


def _models(fields: Fields) -> tuple[str, str]:
    """The model asked for and the one that served."""
    model, group = fields.text("model"), fields.text("model_group")
    if model is None:
        raise AdapterError(fields.at("model"), "is missing", "the name of a model")
    provider = fields.text("custom_llm_provider")
    if provider is None and "/" not in model:
        allowed = "the name of a provider, or a model as provider/name"
        raise AdapterError(fields.at("custom_llm_provider"), "is missing", allowed)
    prefix = provider or model.partition("/")[0]
    name = model.removeprefix(f"{prefix}/")
    served = named(f"{prefix}/{name}")
    same = group in {None, name, model, f"{prefix}/{name}", served}
    return (served if same else f"litellm/{group}"), served
