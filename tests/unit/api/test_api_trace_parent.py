"""What a call is part of is read as W3C Trace Context has it; all else is part of nothing."""

from __future__ import annotations

import pytest

from ledger.calls import TraceParent, trace_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
READ = TraceParent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", READ),
        (f" 00-{TRACE}-{SPAN}-01\t", READ),
        (f"00-{TRACE}-{SPAN}-00", READ._replace(is_sampled=False)),
        (f"00-{TRACE}-{SPAN}-ff", READ),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", READ),
        (f"00-{TRACE}-{SPAN}-01-what-comes-later", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_later_versions_of_traceparent_may_say_more(sent, found):
    """Versions to come may say more; ids of nothing but zeros, and other letters, are none."""
    assert trace_parent([("traceparent", sent)]) == found


def test_one_of_them():
    """More than one is none, and so are bytes; other metadata is passed over."""
    good = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert trace_parent([("authorization", "Bearer x"), good]) == READ
    assert trace_parent([good, good]) is None
    assert trace_parent([("traceparent", b"00")]) is None
    assert trace_parent([]) is None
