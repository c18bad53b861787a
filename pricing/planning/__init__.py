"""Advice on prices before they are published: doubts, margins to fit, other costs.

Knows all of pricing. No charge depends on it.
"""
