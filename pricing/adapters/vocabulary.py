"""What providers and the tools around them call the same thing: one table for every format.

A record names a count by one of these; by several only where it says one thing several times. So a name that
a new release or another tool uses is added here, once, and every adapter reads it.
"""

from __future__ import annotations

CACHE_READ = (
    "cached_tokens",
    "cached_input_tokens",
    "cache_read_input_tokens",
    "cache_read_tokens",
    "input_cached_tokens",
    "prompt_cache_hit_tokens",
    "cached_prompt_text_tokens",
    "cachedInputTokens",
    "cacheReadInputTokens",
    "cacheReadTokens",
)
"""Input that came from a cache: OpenAI, Codex, Anthropic, pydantic-ai, OpenAI's usage API, DeepSeek, xAI, the
AI SDK, Bedrock."""
CACHE_WRITE = (
    "cache_write_tokens",
    "cache_creation_tokens",
    "cache_creation_input_tokens",
    "cache_write_input_tokens",
    "cacheWriteInputTokens",
    "cacheWriteTokens",
)
"""Input that was written to a cache."""
REASONING = ("reasoning_tokens", "reasoning_output_tokens", "thinking_tokens", "reasoningTokens")
"""Output that was thought and not said."""
NOT_CACHED = ("prompt_cache_miss_tokens", "noCacheTokens")
"""Input less what came from a cache: said beside it, and so no quantity."""
MONEY = (
    "cost",
    "cost_details",
    "cost_in_usd_ticks",
    "input_cost",
    "is_byok",
    "output_cost",
    "total_cost",
)
"""What a router, or a tool that watches, thinks that it cost."""
SECONDS = ("completion_time", "prompt_time", "queue_time", "total_time")
"""How long parts of a call took, as Groq says it."""

STANDARD_TIERS = frozenset(
    {"auto", "default", "on_demand", "provisioned_throughput", "standard", "standard_only", "unspecified"}
)
"""Tiers that are the usual one, or that leave it to the provider."""

_PROVIDERS = {
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "gcp.gen_ai": "google",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "text-completion-openai": "openai",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "togetherai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
_FAMILIES = (("azure", "azure"), ("vertex", "google"), ("google", "google"), ("amazon", "aws"))
"""How the names of all that is sold by one begin: `azure-openai`, `google-vertex`, `vertex_ai_beta`."""
_APIS = frozenset(
    {
        "chat",
        "completion",
        "completions",
        "embedding",
        "embeddings",
        "generative-ai",
        "image",
        "images",
        "messages",
        "model",
        "openai",
        "responses",
        "speech",
        "transcription",
    }
)
"""What the AI SDK adds to a provider's name: the kind of call."""
_MAKERS = (("claude", "anthropic"), ("gemini", "google"), ("grok", "x-ai"), ("sonar", "perplexity"))
"""How names of models begin that nobody but their maker sells under a bare name."""


def provider_id(name: str) -> str:
    """A provider's name as the cost book and the cards have it."""
    name = name.lower()
    stem, _, kind = name.rpartition(".")
    if name in _PROVIDERS:
        return _PROVIDERS[name]
    for start, provider in _FAMILIES:
        if name.startswith(start):
            return provider
    return provider_id(stem) if stem and kind in _APIS else name


def model_of(provider: str, name: str) -> str:
    """`provider/name`; a name that has its provider already stays as it is."""
    return name if name.startswith(f"{provider}/") else f"{provider}/{name}"


def asked_of(default: str, name: str) -> str:
    """The model that was asked for: its own provider's, else its maker's, else the one of the format."""
    if "/" in name:
        return name
    return f"{next((maker for start, maker in _MAKERS if name.startswith(start)), default)}/{name}"


def served_for(asked: str, name: str) -> str:
    """The model that a response names: a bare name is one of the provider that was asked.

    So is one with fewer parts than what was asked for: those who sell others' models answer with the others'
    names.
    """
    if "/" in name and name.count("/") >= asked.count("/"):
        return name
    return model_of(asked.partition("/")[0], name)


def tier_of(*said: str | None) -> str:
    """The tier of service by the first that says one, what was served before what was asked for."""
    tier = next((name.lower() for name in said if name), "")
    return "" if tier in STANDARD_TIERS else tier
