"""Where the service is reached: addresses, and the TLS of what listens there."""
