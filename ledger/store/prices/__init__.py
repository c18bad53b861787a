"""Versions of cards, of the cost book and of the plans, and how many customers are on a plan.

Knows the audit. Documents are texts here: the store does not price.
"""
