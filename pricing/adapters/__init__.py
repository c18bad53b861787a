"""From what a provider reports to items of usage, each token counted once.

Providers count differently: OpenAI's input includes what came from a cache, Anthropic's does not; some say
reasoning within output, some beside it. Each module turns one kind of record into items whose quantities are
disjoint, so that nothing is billed twice and nothing is lost:

    openai       responses of chat completions, responses, embeddings, images, realtime; batches
    anthropic    messages, with cache writes by time to live, iterations and server tools
    gemini       `usageMetadata` of `generateContent`
    bedrock      Amazon Bedrock's Converse
    otel         spans with `gen_ai.*` attributes, as OTLP/JSON
    litellm      what LiteLLM logs of a call
    claude_code  lines of its transcripts
    codex        lines of its transcripts, and running totals

`adapt(record)` answers with an `Adapted`, or a `NoUsage` where the record is of a kind that has none, and
raises `AdapterError` where a number cannot be read or contradicts another. The rule for all of them:

- A count is a whole number of 0 to 10**15. A float, a boolean, a text or a negative number is refused; `null`
  is the same as absent. A model and a count of input are required.
- Parts that exceed the whole which includes them (more cached than read) are refused: no reading of them is
  right. Parts that fall short of it, and totals that do not add up, are reported as a `Finding`; the whole of
  each side, input or output, is what is counted, never the total.
- A field that nobody knows is never lost: a number other than 0 is reported as `uncounted`, all else as
  `unknown`, each by its path.

Items carry no time: a caller that knows when the work happened sets `occurred_at`.
"""

from pricing.adapters.common import Adapted, AdapterError, Finding, FindingKind, NoUsage

__all__ = ["Adapted", "AdapterError", "Finding", "FindingKind", "NoUsage"]
