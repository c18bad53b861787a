"""Decides commands in memory on arrival, and commits them in groups.

Knows the store, the books and prices; not who calls, and not how an answer is written.
"""
