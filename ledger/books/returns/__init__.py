"""Credits that come back: a charge refunded in part, or reversed as if it had not been.

Knows the books' values and postings alone, as all of the books.
"""
