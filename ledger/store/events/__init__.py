"""Events as they are stored, in the transaction that moves the cursor of the journal; webhooks, top-ups."""
