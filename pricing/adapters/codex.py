"""Token counts of Codex: lines of its transcripts, or objects with their `usage` and running `total`.

A transcript says the model in lines of `turn_context`, and after each call a `token_count` with the usage of
the last call and the running total of the session. It may say the same again, as when limits change: so the
totals decide. An unchanged total is no call; where a total went up by more than the last call used, what
the calls between used is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pricing.adapters import openai
from pricing.adapters.common import Adapted, AdapterError, Fields, Finding, FindingKind, NoUsage, names_in
from pricing.adapters.vocabulary import model_of, provider_id

_COUNTS = names_in(
    """
    input_tokens cached_input_tokens cache_write_input_tokens output_tokens reasoning_output_tokens
    total_tokens
    """
)

_Counts = dict[str, int]


class Transcript:
    """Reads the lines of one transcript, in its order: what a line says depends on those before it."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._provider = "openai"
        self._session: str | None = None
        self._last: _Counts | None = None
        self._seen: set[tuple[int, ...]] = {()}

    def adapt(self, record: object) -> Adapted | NoUsage:
        """Adapts one line. Raises AdapterError."""
        line = Fields(record, "", [])
        if not line.has("payload"):
            return self.adapt_response(record)
        kind, payload = line.label("type"), line.peek("payload")
        payload = payload if isinstance(payload, Mapping) else {}
        if kind == "session_meta":
            self._open(payload)
        elif kind == "turn_context":
            self._model = Fields(payload, "payload", []).text("model") or self._model
        info = payload.get("info")
        if payload.get("type") != "token_count" or not isinstance(info, Mapping):
            return NoUsage("no_usage")
        return self._count(Fields(info, "payload.info", []))

    def adapt_response(self, record: object) -> Adapted | NoUsage:
        """Adapts an object in a form of OpenAI; where it has a running `total`, that decides."""
        if not isinstance(record, Mapping) or not isinstance(record.get("total"), Mapping):
            return openai.adapt(record)
        fields = Fields(record, "", [])
        usage, findings = self._used(fields, "usage", "total")
        if usage is None:
            return NoUsage("repeated")
        adapted = openai.adapt({**record, "usage": {**_plain(record.get("usage")), **usage}})
        return replace(adapted, findings=(*findings, *adapted.findings))

    def _open(self, payload: Mapping[str, object]) -> None:
        meta = Fields(payload, "payload", [])
        provider = meta.text("model_provider")
        self._session = self._session or meta.label("id")
        self._provider = provider_id(provider) if provider else self._provider

    def _count(self, info: Fields) -> Adapted | NoUsage:
        total = info.peek("total_token_usage")
        if not isinstance(total, Mapping):
            return NoUsage("no_usage")
        usage, findings = self._used(info, "last_token_usage", "total_token_usage")
        if usage is None:
            return NoUsage("repeated")
        if self._model is None:
            raise AdapterError("payload.model", "is missing", "a line of turn_context before")
        adapted = openai.adapt({"model": model_of(self._provider, self._model), "usage": usage})
        if isinstance(adapted, NoUsage):
            return adapted
        record_id = None if self._session is None else f"{self._session}/{total.get('total_tokens')}"
        return replace(
            adapted, findings=(*findings, *adapted.findings), record_id=record_id, session=self._session
        )

    def _used(self, fields: Fields, last: str, running: str) -> tuple[_Counts | None, tuple[Finding, ...]]:
        """What a call used, by the totals; None where they are unchanged. Raises AdapterError."""
        total = _counts(fields.inside(running))
        usage = _counts(fields.inside(last)) if fields.has(last) else None
        before, self._last = self._last, total
        start = _less(total, usage) if usage is not None else None
        known = start is not None and (_key(start) in self._seen)
        self._seen.add(_key(total))
        if before is not None and _key(before) == _key(total):
            return None, ()
        step = _less(total, before or {})
        if usage is not None and (known or before is None or step is None or step == usage):
            return usage, ()
        if step is None:
            return total, ()
        text = "it went up by more than the last call used: all of it is counted, as one request"
        return step, (Finding(FindingKind.ASSUMED, fields.at(running), text),)


def _counts(fields: Fields) -> _Counts:
    found = {name: fields.count(name) for name in _COUNTS}
    return {name: count for name, count in found.items() if count is not None}


def _less(total: _Counts, part: _Counts) -> _Counts | None:
    """A total less a part of it; None where it is less than that."""
    found = {name: count - part.get(name, 0) for name, count in total.items()}
    return found if all(count >= 0 for count in found.values()) else None


def _key(counts: _Counts) -> tuple[int, ...]:
    """Counts as something to compare: all 0 is nothing yet."""
    found = tuple(counts.get(name, 0) for name in _COUNTS)
    return found if any(found) else ()


def _plain(usage: object) -> Mapping[str, object]:
    return usage if isinstance(usage, Mapping) else {}
