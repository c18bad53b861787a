"""acu-ledger: sells abstract compute credits for agent work, on double-entry books."""
