"""Keys of callers, and the keys that sign customers' tokens: hashes and secrets, by the writer's role.

Knows the audit. What a key may do is judged in `ledger.access`.
"""
