"""One cell: its customers in memory, the open batch, and who loads, writes and locks.

Knows the store, the books and prices; not who calls, and not how a command came to it.
"""
