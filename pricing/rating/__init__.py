"""Usage to credits and cost: the terms compiled of a card and a cost book, and what they answer.

Knows cards, costs and usage. What it remembers between two prices is passed in and handed back.
"""
