"""Webhooks: events delivered to endpoints, signed, in order per customer, until they are taken or dead.

Knows the store's outbox and the metrics; not what an event means, and nothing of the journal.
"""
