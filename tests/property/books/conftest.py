"""Makes the helpers of the unit tests importable, and a profile for long runs of random histories.

BOOK_HISTORIES=10000 pytest tests/property/books --hypothesis-profile=thorough
"""

import sys
from pathlib import Path

from hypothesis import settings

sys.path[:0] = [
    str(Path(__file__).parents[2] / "unit" / "books"),
    str(Path(__file__).parents[1] / "pricing"),
]

settings.register_profile(
    "thorough", settings.get_profile("random"), max_examples=1000, stateful_step_count=80, deadline=None
)
