"""A cell's customers: rows out by one batched statement, rows in by loads.

Knows the books' values and the columns; the one place that writes wallets, entries, lots and holds.
"""
