"""Where the service is reached: addresses, and the TLS of what listens there.

Knows settings alone: what is served behind a door is not its business.
"""
