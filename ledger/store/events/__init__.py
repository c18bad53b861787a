"""Events as they are stored, in the transaction that moves the cursor of the journal; webhooks, top-ups.

Knows cells' rows, the audit and the books' plans. Which entry is an event of what `ledger.events` says.
"""
