"""Makes the table and the picture of pricing-styles.md from the cards and records that ship: make styles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from ledger.cli.demonstration.selling import read_agent_sessions
from ledger.cli.demonstration.styles_table import STYLES, Row, World, sell, survivals
from ledger.cli.output.amounts import show_whole_dollars
from ledger.sample import SAMPLE_CONFIG
from pricing import load

PAGE = Path(__file__).with_name("pricing-styles.md")
PICTURE = PAGE.with_suffix(".svg")
_BETWEEN = re.compile(r"(?<=<!-- made by make styles -->\n).*?(?=<!-- end -->)", re.DOTALL)
_AT = datetime(2026, 11, 23, tzinfo=UTC)
"""When the sessions are priced: none of these prices moves with time."""

_COLOURS = {
    World.TODAY: "#8a8f98",
    World.CHEAPER: "#2f6f9f",
    World.LEVERS: "#3f9e76",
    World.OWN_KEYS: "#c7823a",
}
_WIDTH = 860
_LEFT = 110
_BAR = 13
_GAP = 16
_TOP = 58
_SCALE = 2200
"""Dollars that the full width stands for."""
_DOLLAR = 10**9


def rows() -> Mapping[str, Row]:
    """Every style in every world."""
    config, sessions = load(SAMPLE_CONFIG), read_agent_sessions()
    return {style: {world: sell(config, style, world, sessions, _AT) for world in World} for style in STYLES}


def table(styles: Mapping[str, Row]) -> str:
    """What customers pay, and what is left, in Markdown."""
    heading = " | ".join(f"{world}: pays | left" for world in World)
    lines = [f"| style | {heading} | survives |", f"|---|{'--:|' * 2 * len(World)}---|"]
    for style, row in styles.items():
        amounts = (
            show_whole_dollars(amount)
            for world in World
            for amount in (row[world].paid_nanousd, row[world].left_nanousd)
        )
        lines.append(f"| `{style}` | {' | '.join(amounts)} | {survivals(row)} |")
    return "\n".join(lines) + "\n"


def picture(styles: Mapping[str, Row]) -> str:
    """What is left, as bars: a group for each style."""
    height = _TOP + len(styles) * (len(World) * _BAR + _GAP)
    body = "\n".join([*_legend(), *_bars(styles)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' height="{height}" font-family="sans-serif" font-size="12" role="img">\n'
        f"<title>What is left of the price of the same agent sessions, by style</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _legend() -> Iterator[str]:
    yield '<text x="8" y="20" font-weight="bold">What is left, in dollars</text>'
    for index, (world, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + index * 130
        yield f'<rect x="{x}" y="32" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="41">{escape(world)}</text>'


def _bars(styles: Mapping[str, Row]) -> Iterator[str]:
    y = _TOP
    for style, row in styles.items():
        middle = y + len(World) * _BAR / 2 + 4
        yield f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(style)}</text>'
        for world, colour in _COLOURS.items():
            left = row[world].left_nanousd
            width = max(left, 0) / _DOLLAR / _SCALE * (_WIDTH - _LEFT - 60)
            yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
            amount = show_whole_dollars(left)
            yield f'<text x="{_LEFT + width + 4:.1f}" y="{y + 10}" font-size="10">{amount}</text>'
            y += _BAR
        y += _GAP


def main() -> None:
    """Rewrites the page's table and the picture."""
    styles = rows()
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_BETWEEN.sub(lambda _: table(styles), page), encoding="utf-8")
    PICTURE.write_text(picture(styles), encoding="utf-8")


if __name__ == "__main__":
    main()
