"""Items of usage as callers report them, and as the journal stores them.

Knows exact decimals and the standard library alone: a client can install it without what reads cards.
"""
