"""Makes the mirror of the random histories importable, and the model that it stands on."""

import sys
from pathlib import Path

PROPERTY = Path(__file__).parents[2] / "property"

sys.path.insert(0, str(PROPERTY / "books"))
sys.path.insert(0, str(PROPERTY / "histories"))
