"""What the adapters share: reading a record field by field, and splitting a whole into disjoint parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pricing.exact import BILLION
from pricing.usage.items import Tokens, Units

COUNT_MAX = 10**15
_DEPTH_MAX = 20
"""Of what is looked for in a field that nobody knows."""

USERS = ("customer_id", "customer", "end_user", "user_id", "user", "safety_identifier")
SESSIONS = ("session_id", "session", "conversation_id")
AGENTS = ("agent", "agent_name")
"""What records and their metadata call whose work it was."""


class FindingKind(StrEnum):
    """What is to be looked at in a record that could be read."""

    UNCOUNTED = "uncounted"
    """A number, or work that a provider bills for, that became no quantity."""
    UNKNOWN = "unknown"
    """A field that is no number and that nobody knows."""
    MISMATCH = "mismatch"
    """Numbers that do not add up."""
    ASSUMED = "assumed"
    """The record can be read in more than one way; which one was taken."""

    @property
    def mispriced(self) -> bool:
        """Whether the price may be wrong: something that is billed was not counted, or numbers disagree."""
        return self in {FindingKind.UNCOUNTED, FindingKind.MISMATCH}


class Finding(NamedTuple):
    """One thing to look at: where, and in words what."""

    kind: FindingKind
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, slots=True)
class Adapted:
    """The usage of one record."""

    items: tuple[Tokens | Units, ...]
    findings: tuple[Finding, ...] = ()
    record_id: str | None = None
    """The provider's own id of the response: the same response logged twice has the same one."""
    user: str | None = None
    """Whom the record names as the user or customer."""
    session: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class NoUsage:
    """A record that is right and has no usage: an error, a chunk of a stream that is not the last."""

    reason: str
    findings: tuple[Finding, ...] = ()


class AdapterError(ValueError):
    """A record that cannot be counted: where, what is wrong, and what is allowed."""

    def __init__(self, path: str, problem: str, allowed: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem} (allowed: {allowed})")


class Fields:
    """One object of a record; remembers what nobody has read of it.

    A field is read once by its name, as what it must be. `passed` names fields that are no usage.
    """

    def __init__(self, value: object, path: str, findings: list[Finding]) -> None:
        if not isinstance(value, Mapping):
            raise AdapterError(path or "the record", f"is {_shown(value)}", "an object")
        self.path = path
        self._findings = findings
        self._unread: dict[str, Any] = {str(name): inner for name, inner in value.items()}
        self._inner: list[Fields] = []

    def has(self, name: str) -> bool:
        """Whether a field that is not yet read says anything."""
        return self._unread.get(name) is not None

    def names(self) -> tuple[str, ...]:
        """The fields that are not yet read."""
        return tuple(self._unread)

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def passed(self, *names: str) -> None:
        """Marks fields as known, and no usage."""
        for name in names:
            self._unread.pop(name, None)

    def peek(self, name: str) -> Any:
        """The value of a field, which stays unread."""
        return self._unread.get(name)

    def value(self, name: str) -> Any:
        """Any value; None where there is none."""
        return self._unread.pop(name, None)

    def count(self, name: str) -> int | None:
        """A count; None where the record says none."""
        value = self.value(name)
        return None if value is None else whole(value, self.at(name))

    def text(self, name: str) -> str | None:
        """A text; None where there is none, or an empty one."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise AdapterError(self.at(name), f"is {_shown(value)}", "a text")
        return value or None

    def texts(self, *names: str) -> str | None:
        """The first text that is there, of several fields."""
        found = [self.text(name) for name in names]
        return next((text for text in found if text is not None), None)

    def label(self, *names: str) -> str | None:
        """The first of several fields that is a text or a whole number, as text; none is ever wrong."""
        found = [self.value(name) for name in names]
        labels = (
            str(value) for value in found if isinstance(value, str | int) and not isinstance(value, bool)
        )
        return next((label for label in labels if label), None)

    def inside(self, name: str) -> Fields:
        """An object within this one; an empty one where there is none."""
        value = self.value(name)
        return self._keep(Fields({} if value is None else value, self.at(name), self._findings))

    def each(self, name: str) -> Iterator[Fields]:
        """The objects of a list; none where there is no list."""
        value = self.value(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise AdapterError(self.at(name), f"is {_shown(value)}", "a list of objects")
        for index, inner in enumerate(value):
            yield self._keep(Fields(inner, f"{self.at(name)}[{index}]", self._findings))

    def pass_all(self) -> None:
        """Marks all that is left as known, and no usage."""
        self._unread.clear()
        self._inner.clear()

    def find(self, kind: FindingKind, name: str, text: str) -> None:
        """Notes something to look at."""
        self._findings.append(Finding(kind, self.at(name), text))

    def tell_unread(self) -> None:
        """Notes every field that nobody has read, here and within what was opened."""
        for name, value in self._unread.items():
            self._findings.extend(_leaves(value, self.at(name), _DEPTH_MAX))
        self._unread.clear()
        for inner in self._inner:
            inner.tell_unread()

    def _keep(self, inner: Fields) -> Fields:
        self._inner.append(inner)
        return inner


def whole(value: object, path: str) -> int:
    """A count as it must be; raises AdapterError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise AdapterError(path, f"is {_shown(value)}", "a whole number of 0 to 10**15")
    return value


def agreed(*places: tuple[Fields, str]) -> int | None:
    """A count that a record may say in several places: the first that says more than 0.

    It is reported if another differs. A place that says 0 is often one that a tool fills in for all.
    """
    found = [(fields, name, count) for fields, name in places if (count := fields.count(name)) is not None]
    if not found:
        return None
    fields, first, count = next((one for one in found if one[2]), found[0])
    for other_fields, name, other in found:
        if other != count:
            text = f"{other}, where {fields.at(first)}, which is counted, says {count}"
            other_fields.find(FindingKind.MISMATCH, name, text)
    return count


def count_of(*places: tuple[Fields, tuple[str, ...]]) -> int:
    """A count by any of its names, in any of several objects; 0 where none says it."""
    return agreed(*((fields, name) for fields, names in places for name in names)) or 0


def required(fields: Fields, *names: str) -> int:
    """A count that must be there, by one of its names."""
    count = agreed(*((fields, name) for name in names))
    if count is None:
        raise AdapterError(fields.at(names[0]), "is missing", "a whole number of 0 to 10**15")
    return count


def rest(count: int, path: str, parts: Mapping[str, int]) -> int:
    """What is left of a whole that includes its parts; raises AdapterError where they exceed it."""
    within = sum(parts.values())
    if within > count:
        named = " + ".join(f"{name} {part}" for name, part in parts.items() if part)
        raise AdapterError(path, f"is {count}, and includes {named}", f"{within} or more")
    return count - within


def writes(
    fields: Fields, name: str, written: int | None, short: int | None, hour: int | None
) -> dict[str, int]:
    """Writes to a cache by time to live, of all that were written and of those that are reported by it.

    Those that are not reported live like the reported ones, where these are of one life; else 5 minutes.
    """
    by_life = (short or 0) + (hour or 0)
    whole = by_life if written is None else written
    parts = {"ephemeral_5m_input_tokens": short or 0, "ephemeral_1h_input_tokens": hour or 0}
    unsaid = rest(whole, fields.at(name), parts)
    lasting = bool(hour) and not short
    if unsaid and (short, hour) != (None, None):
        one_life = bool(hour) != bool(short)
        kind = FindingKind.ASSUMED if one_life else FindingKind.MISMATCH
        life = "an hour" if lasting else "5 minutes"
        text = f"{by_life} of {whole} tokens written have a time to live; the others count as for {life}"
        fields.find(kind, name, text)
    in_hour = (hour or 0) + (unsaid if lasting else 0)
    return {"cache_write": whole - in_hour, "cache_write_1h": in_hour}


class TokenSide(NamedTuple):
    """The counts of input within one whole, each a part of it; None where the record does not say."""

    whole: int
    path: str
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio: int = 0
    image: int = 0
    cached_audio: int | None = None
    cached_image: int | None = None


def split_input(side: TokenSide, findings: list[Finding]) -> dict[str, int]:
    """Disjoint quantities of an input that includes all of its parts.

    A cached token counts as cached, whatever it holds. Which of the cached tokens were audio or images is
    taken from the record; where it does not say, as few as the numbers allow, audio first, which is reported.
    """
    cached = {
        "cache_read": side.cache_read,
        "cache_write": side.cache_write,
        "cache_write_1h": side.cache_write_1h,
    }
    held = {"audio": side.audio, "image": side.image}
    rest(side.whole, side.path, cached)
    rest(side.whole, side.path, held)
    plain = {
        "audio": _uncached(side.audio, side.cached_audio, side, "audio"),
        "image": _uncached(side.image, side.cached_image, side, "images"),
    }
    both = sum(cached.values()) + sum(plain.values()) - side.whole
    for what, known in (("audio", side.cached_audio), ("image", side.cached_image)):
        taken = 0 if known is not None else max(0, min(both, plain[what]))
        if taken:
            plain[what] -= taken
            both -= taken
            text = f"{taken} of the cached tokens are taken for {what}: the parts exceed the whole otherwise"
            findings.append(Finding(FindingKind.ASSUMED, side.path, text))
    parts = {**cached, "input_audio": plain["audio"], "input_image": plain["image"]}
    return {"input": rest(side.whole, side.path, parts), **parts}


def _uncached(count: int, cached: int | None, side: TokenSide, what: str) -> int:
    if cached is None:
        return count
    if cached > min(count, side.cache_read):
        problem = f"includes {cached} cached tokens of {what}, of {count} in all and {side.cache_read} cached"
        raise AdapterError(side.path, problem, f"at most {min(count, side.cache_read)}")
    return count - cached


def split_output(
    count: int, path: str, *, reasoning: int = 0, audio: int = 0, image: int = 0
) -> dict[str, int]:
    """Disjoint quantities of an output that includes its parts."""
    parts = {"reasoning": reasoning, "output_audio": audio, "output_image": image}
    return {"output": rest(count, path, parts), **parts}


def check_total(fields: Fields, name: str, total: int | None, expected: int) -> None:
    """Tells a total that is not the sum of input and output."""
    if total is not None and total != expected:
        fields.find(FindingKind.MISMATCH, name, f"{total}, where input and output add up to {expected}")


def tokens(
    model: str,
    quantities: Mapping[str, int],
    *,
    served_by: str | None = None,
    service_tier: str = "",
    requests: int = 1,
) -> Tokens:
    """An item of tokens; quantities of 0 are left out, but for input and output."""
    used = {key: count for key, count in quantities.items() if count or key in {"input", "output"}}
    return Tokens(
        model,
        used,
        served_by=served_by if served_by != model else None,
        service_tier=service_tier,
        requests=requests,
    )


def units(meter: str, count: int) -> Units:
    """A number of whole units."""
    return Units(meter, count * BILLION)


def server_tools(tools: Fields) -> dict[str, int]:
    """What a provider's own tools are billed by: `web_search_requests` are units of `web_search`."""
    suffix = "_requests"
    names = sorted(name for name in tools.names() if name.endswith(suffix))
    return {name.removesuffix(suffix): tools.count(name) or 0 for name in names}


class Who(NamedTuple):
    """Whose work it was, as far as a record says."""

    user: str | None = None
    session: str | None = None
    agent: str | None = None


def who(*sources: Fields) -> Who:
    """Whom several objects name, the first of them first; customers go before users."""
    users = [source.label(*USERS) for source in sources]
    sessions = [source.label(*SESSIONS) for source in sources]
    agents = [source.label(*AGENTS) for source in sources]
    return Who(*(next((name for name in names if name), None) for names in (users, sessions, agents)))


def names_in(text: str) -> tuple[str, ...]:
    """Names that are parted by blanks."""
    return tuple(text.split())


def add(quantities: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several, key by key."""
    total: dict[str, int] = {}
    for one in quantities:
        for key, count in one.items():
            total[key] = total.get(key, 0) + count
    return total


def _leaves(value: Any, path: str, depth: int) -> Iterator[Finding]:
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}", depth - 1)
    elif isinstance(value, list) and depth:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]", depth - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value:
        yield Finding(FindingKind.UNCOUNTED, path, f"{_shown(value)}, a number that is not counted")
    elif value is not None:
        yield Finding(FindingKind.UNKNOWN, path, "a field that is not known")


def _shown(value: object) -> str:
    """A value as JSON would have it, short."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:40] + "…"
