"""Each case of `tables/*.txt` proves the rule that its title states; all invariants hold after each step."""

from pathlib import Path

import pytest
from books_tables import Case, Table, read_cases

TABLES = sorted((Path(__file__).parent / "tables").glob("*.txt"))
CASES = [(path, case) for path in TABLES for case in read_cases(path)]


@pytest.mark.parametrize(("path", "case"), CASES, ids=[f"{path.stem}: {case.title}" for path, case in CASES])
def test_rule(path: Path, case: Case) -> None:
    """A rule of the wallet or of the books, as the title of its case states it."""
    table = Table()
    for number, line in case.steps:
        try:
            table.step(line)
        except AssertionError as error:
            raise AssertionError(f"{path.name}:{number}: {line}\n{error}") from error
