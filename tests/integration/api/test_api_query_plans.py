"""Reads go by key or index, whatever the size of the tables."""

from __future__ import annotations

import re

from ledger.store.reading import reads

STATEMENTS = {
    name.removeprefix("_").lower(): text
    for name, text in vars(reads).items()
    if isinstance(text, str) and "SELECT" in text and name not in ("_CHARGE_COLUMNS", "__doc__")
}

BEHIND = {
    "counts": "SELECT key, state FROM {cell}.states WHERE customer = $1 AND key = ANY($2::text[])"
    " AND starts_with(key, 'budget:')",
}
"""What a function reads, whose own plan nobody sees."""


async def test_reads_go_by_index(database):
    """No read scans a table, no list sorts more than its page: a plan for any arguments walks an index."""
    async with database.reader.acquire() as reader, database.writer.acquire() as behind:
        for connection in (reader, behind):
            await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        for name, template in STATEMENTS.items():
            connection = behind if name in BEHIND else reader
            text = BEHIND.get(name, template).format(cell="cell_00")
            await connection.execute(f"PREPARE {name} AS {text}")
            nulls = ", ".join(["NULL"] * max(map(int, re.findall(r"\$(\d)", text))))
            rows = await connection.fetch(f"EXPLAIN EXECUTE {name}({nulls})")
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan" not in plan, plan
            assert "Index" in plan, plan
            # A page's own rows may be put in order; what a customer has is grouped of the few live lots.
            groups = name in ("balance", "spendable")
            assert set(re.findall(r"Sort Key: (.*)", plan)) <= {"p.n"} or groups, plan
    assert len(STATEMENTS) == 19
