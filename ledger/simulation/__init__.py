"""The journal's usage priced again: another card, other costs, a margin to reach.

Knows the books' rules, prices and what was charged; works in a process of its own, and changes nothing.
"""
