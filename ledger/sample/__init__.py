"""What is shipped to begin with: sample configuration, records of real work, and schemas of YAML documents.

Knows nothing: it is files, and where they are. Whoever needs them asks here, whichever layer it is of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent

SAMPLE_CONFIG: Final = _HERE / "config"
"""Rate cards, the cost book and plans."""
SAMPLE_RECORDS: Final = _HERE / "records"
"""Files that `acu-ledger replay` takes."""
