"""Who may come in: keys and customers' tokens, whom they stand for, and what those may do.

Knows the store's keys and nothing of what a call does; the doors ask it who calls.
"""
