"""What `make bench` counts and says of it: the parts that need no server."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from tests.benchmarks import counted
from tests.benchmarks.code_lines import code_lines, lines_of_python
from tests.benchmarks.parts import Cost, table
from tests.benchmarks.ratios import WORK, Turns, print_ratios, write_ratios
from tests.benchmarks.report import write_parts
from tests.benchmarks.stacks import OTHER, shares

_MODULE = '''\
"""What it is for.

In two paragraphs.
"""

from __future__ import annotations  # a comment beside code

# a comment alone
LIMIT = 3
"""What it bounds."""
TEXT = """
SELECT 1
"""


def twice(value: int) -> int:
    """A sentence."""
    return (
        2

        * value
    )
'''


def test_lines_of_code_are_those_with_a_token_that_is_no_docstring() -> None:
    """Not blank ones, comments and sentences that stand alone; each line of a text that is a value."""
    assert lines_of_python(_MODULE) == len(["from", "LIMIT", *"SQL", "def", *"(2*)"]) == 10


def test_lines_of_a_checkout_are_those_of_its_rooms(tmp_path: Path) -> None:
    """Also of statements in files of their own; not of migrations, which only grow, nor of other rooms."""
    for name, text in {
        "ledger/books/a.py": "x = 1\n",
        "ledger/clock.py": "x = 1\n",
        "ledger/store/write.sql": "-- why\n\nSELECT 1\nFROM t\n",
        "ledger/store/migrations/0001.sql": "SELECT 1\n",
        "ledger/cli/a.py": "x = 1\n",
        "pricing/a.yaml": "x: 1\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert code_lines(tmp_path) == 4


def test_text_is_counted_in_bytes_wherever_it_is_in_parameters() -> None:
    """Texts of arrays too; numbers are none."""
    assert counted._text_bytes(("é", ["ab", ("c", None)], 7)) == 5


def _turns() -> tuple[Turns, Turns]:
    """Before, and here."""
    return {key: [100.0, 200.0, 900.0] for key in WORK}, {key: [50.0, 80.0, 70.0] for key in WORK}


def test_a_comparison_is_the_ratio_of_medians(tmp_path: Path) -> None:
    """Of what is here over what was before, with each turn beside it."""
    write_ratios("abc", *_turns(), tmp_path / "compare.json")
    written = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    assert written["before"] == "abc"
    assert written["figures"].keys() == WORK.keys()
    assert written["figures"]["pair_cpu_us"] == {
        "before": 200.0,
        "now": 70.0,
        "ratio": 0.35,
        "before_turns": [100.0, 200.0, 900.0],
        "now_turns": [50.0, 80.0, 70.0],
    }


def test_a_comparison_is_printed_figure_by_figure() -> None:
    """Each with its unit and its ratio."""
    console = Console(file=io.StringIO(), width=160)
    print_ratios("abc", *_turns(), console)
    printed = console.file.getvalue()
    assert printed.count("0.35") == len(WORK)
    assert "200 bytes" in printed


def test_a_sample_is_of_the_innermost_part_that_a_frame_tells() -> None:
    """The interpreter and Python's modules work for whoever called them; what waits takes no time."""
    served = "uv_run (core.c:452);Writes.answer (ledger/api/writes.py:108)"
    lines = [
        f"{served};price (pricing/rating/price.py:20);__add__ (fractions.py:3);PyNumber_Add (python3.11) 3",
        f"{served};SerializeToString (google/_upb/_message.abi3.so);malloc (libc.so.6) 4",
        f"{served} 2",
        "uv_run (core.c:464);epoll_pwait (libc.so.6) 100",
        "0x7f (libc.so.6);PyThread_acquire_lock_timed (python3.11);0x7e (libc.so.6) 100",
        "0x7f (libc.so.6) 1",
    ]
    assert shares(lines) == {"protobuf": 0.4, "api": 0.2, "pricing": 0.3, OTHER: 0.1}
    assert shares([]) == {}


def test_a_part_takes_its_share_of_what_a_pair_and_a_call_cost() -> None:
    """In the order of the parts, without those that no load has; at the end what is the service's own."""
    costs = {"batch": Cost(400.0, {"gRPC": 0.25, "books": 0.75}), "unary": Cost(600.0, {"gRPC": 1.0})}
    assert table(costs)[2:] == [
        "| gRPC | 100 µs, 25 % | 600 µs, 100 % |",
        "| books | 300 µs, 75 % | 0 µs, 0 % |",
        "| the service's own code | 300 µs, 75 % | 0 µs, 0 % |",
        "| together | 400 µs | 600 µs |",
    ]


def test_a_table_of_the_page_is_replaced_between_its_marks(tmp_path: Path) -> None:
    """And nothing else of the page."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- parts -->\nold\n<!-- end of parts -->\nafter\n", encoding="utf-8")
    write_parts({"batch": Cost(1.0, {"books": 1.0}), "unary": Cost(2.0, {"books": 1.0})}, 0.0, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- parts -->\n`make bench PROFILE=1`, ")
    assert text.endswith("| together | 1 µs | 2 µs |\n<!-- end of parts -->\nafter\n")
    assert "old" not in text
