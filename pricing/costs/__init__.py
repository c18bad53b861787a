"""What usage costs us: the cost book, and the public catalog behind it.

Knows documents and items of usage, and no card.
"""
