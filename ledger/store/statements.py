"""The SQL of a module, which stands in the `.sql` file beside it, each statement under its name.

`-- name: x` begins a statement, `-- fragment: x` a part of statements; comments that follow at once say what
it is. `{x}` is a slot: for a fragment of the same file, for what the module gives, or else for what
`str.format` gives when the statement is sent (`cell`: the schema of the customer's cell). A brace that is
SQL's own is written twice.
"""

from __future__ import annotations

import re
from importlib.resources import files

_HEADER = re.compile(r"^-- (?:name|fragment): (\w+)\n(?:--.*\n)*", re.MULTILINE)
_SLOT = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


def statements_of(module: str, **slots: object) -> dict[str, str]:
    """Statements and fragments of a module, by name, with these slots and those of fragments filled.

    Raises ValueError where a name stands for two things, or where no text has a slot that is given.
    """
    package, _, name = module.rpartition(".")
    [_, *parts] = _HEADER.split(files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8"))
    names, texts = parts[::2], [text.strip() for text in parts[1::2]]
    if len({*names, *slots}) < len(names) + len(slots):
        raise ValueError(f"{name}.sql: a name stands for two things")
    unused = slots.keys() - {slot for text in texts for slot in _SLOT.findall(text)}
    if unused:
        raise ValueError(f"{name}.sql has no slot for {', '.join(sorted(unused))}")
    fragments = dict(zip(names, texts, strict=True))
    return {each: fill(text, **fragments | slots) for each, text in fragments.items()}


def fill(text: str, **slots: object) -> str:
    """The text with these slots filled, and the slots in what fills them; others stay as they are."""
    return _SLOT.sub(lambda slot: fill(str(slots[slot[1]]), **slots) if slot[1] in slots else slot[0], text)
