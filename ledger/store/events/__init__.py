"""Events as they are stored: written in the transaction that moves the cursor of the journal; webhooks; who needs a top-up."""
