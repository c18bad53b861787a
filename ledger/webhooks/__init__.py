"""Webhooks: events delivered to endpoints, signed, in order per customer, until they are taken or dead."""
