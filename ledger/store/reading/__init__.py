"""What callers read back of one customer: entries, balances, reports, page by page.

Knows cells' rows and the reader's role: nothing here can select a cost.
"""
