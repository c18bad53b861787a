"""Rate cards: what is written in one, how it is read, and how two revisions differ.

Knows documents, quantities of usage and the cost book. Which price a line has is asked in `rating`.
"""
