"""Dollars: rollups, charged usage, and the invariants that verify the books.

Knows cells' columns and rows. What is read here no public role may select.
"""
