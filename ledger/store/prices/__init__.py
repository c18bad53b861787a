"""Versions of cards and of the cost book, and the plans that servers have taken.

Knows the audit. Documents are texts here: the store does not price.
"""
