"""A simulation as a picture: how bills change, and what is left before and after. Plain SVG.

A library for charts would be the largest dependency of the project, for a dozen rectangles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple
from xml.sax.saxutils import escape

from ledger.finance.v1 import simulation_pb2 as pb

_WIDTH, _HEIGHT = 960, 420
_TOP, _BOTTOM = 84, 330
_INK, _FAINT = "#1f2933", "#9aa5b1"
_LESS, _SAME, _MORE = "#2b8a6b", "#9aa5b1", "#c2571a"
_BEFORE, _AFTER = "#9aa5b1", "#2f5d9b"


class Bar(NamedTuple):
    """A bar with what stands below it and above it; `share` of the height, negative downwards."""

    label: str
    share: Decimal
    text: str
    colour: str


def draw(answer: pb.SimulateRatesResponse, title: str) -> str:
    """The picture of an answer, as the text of an SVG file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="{_INK}"',
        f'  width="{_WIDTH}" height="{_HEIGHT}" font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(24, 32, title, size=18, anchor="start"),
        *_panel(24, 610, "Customers by the change of their bill", _changes(answer)),
        *_panel(660, 276, "Margin before and after", _margins(answer)),
        _text(24, _HEIGHT - 14, _footer(answer), size=12, anchor="start", colour=_FAINT),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def bounds(bucket: pb.ChangeBucket) -> str:
    """What a bucket of the histogram holds, in words."""
    if bucket.was_free:
        return "was free"
    if not bucket.HasField("from_percent"):
        return f"under {bucket.to_percent}%"
    if not bucket.HasField("to_percent"):
        return f"{bucket.from_percent}% on"
    return f"{bucket.from_percent} to {bucket.to_percent}%"


def work_in_words(answer: pb.SimulateRatesResponse) -> str:
    """How many charges of how many customers."""
    charges = f"{answer.charges:,} charge{'s' * (answer.charges != 1)}"
    return f"{charges} of {answer.customers:,} customer{'s' * (answer.customers != 1)}"


def _changes(answer: pb.SimulateRatesResponse) -> list[Bar]:
    most = max((bucket.customers for bucket in answer.histogram), default=0) or 1
    return [
        Bar(
            bounds(bucket),
            Decimal(bucket.customers) / most,
            f"{bucket.customers:,}" if bucket.customers else "",
            _colour(bucket),
        )
        for bucket in answer.histogram
    ]


def _colour(bucket: pb.ChangeBucket) -> str:
    if bucket.HasField("to_percent") and bucket.to_percent <= 0:
        return _LESS
    return _SAME if bucket.HasField("from_percent") and bucket.from_percent < 0 else _MORE


def _margins(answer: pb.SimulateRatesResponse) -> list[Bar]:
    found = []
    for name, field in (("list", "list_margin_ratio"), ("lots", "lots_margin_ratio")):
        for side, figures, colour in (("before", answer.before, _BEFORE), ("after", answer.after, _AFTER)):
            ratio = Decimal(getattr(figures, field) or "0")
            text = f"{ratio:.1%}" if getattr(figures, field) else "-"
            found.append(Bar(f"{name}, {side}", max(min(ratio, Decimal(1)), Decimal(-1)), text, colour))
    return found


def _panel(left: int, width: int, title: str, bars: Sequence[Bar]) -> Iterator[str]:
    """Bars side by side; the axis stands higher where one of them goes below it."""
    yield _text(left, 64, title, size=14, anchor="start")
    below = max((-bar.share for bar in bars), default=Decimal(0))
    height = _BOTTOM - _TOP
    # A share of 1 reaches the top from wherever the axis stands.
    unit = height / (1 + float(max(below, Decimal(0))))
    axis = _TOP + unit
    step = width / max(len(bars), 1)
    for n, bar in enumerate(bars):
        x, tall = left + n * step, abs(float(bar.share)) * unit
        y = axis - tall if bar.share >= 0 else axis
        yield (
            f'<rect x="{x + step * 0.12:.1f}" y="{y:.1f}" width="{step * 0.76:.1f}" height="{tall:.1f}" '
            f'fill="{bar.colour}"/>'
        )
        middle = x + step / 2
        yield _text(middle, y - 5 if bar.share >= 0 else y + tall + 14, bar.text, size=12)
        yield from _below(middle, bar.label.split(" "))
    yield f'<path d="M{left} {axis:.1f}h{width}" stroke="{_INK}" stroke-width="1"/>'


def _below(x: float, words: Iterable[str]) -> Iterator[str]:
    for n, word in enumerate(words):
        yield _text(x, _BOTTOM + 32 + 14 * n, word, size=11)


def _footer(answer: pb.SimulateRatesResponse) -> str:
    whose = f"charged by {answer.rate_card}" if answer.rate_card else "of any card"
    return (
        f"{work_in_words(answer)}, {whose}; bills at the list price. "
        "list: margin at the list price; lots: at the value of the lots drawn."
    )


def _text(x: float, y: float, words: str, *, size: int, anchor: str = "middle", colour: str = _INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
