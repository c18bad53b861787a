"""The text of a document under another revision."""

from __future__ import annotations

import re

from pricing.documents.yaml_reader import Place, read_plain

_KEY = "revision"
_INTEGER = re.compile(r"[^\s,}#]+")


def revised_text(text: str, revision: int) -> str:
    """What a document says, comments and all, but for its revision."""
    document = read_plain(text)
    stated = document.values.get((_KEY,))
    if stated is not None:
        at = _offset(text, stated)
        return text[:at] + _INTEGER.sub(str(revision), text[at:], count=1)
    first = min(document.keys[key] for key in document.keys if len(key) == 1)
    at, root = _offset(text, first), _offset(text, document.values[()])
    end = ", " if text[root] == "{" else "\n" + " " * (first[1] - 1)
    return f"{text[:at]}{_KEY}: {revision}{end}{text[at:]}"


def _offset(text: str, place: Place) -> int:
    line, column = place
    return sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column - 1
