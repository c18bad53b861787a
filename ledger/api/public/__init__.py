"""The public door: credits for a product's backend, the wallet for its customer.

Knows the engine and the reader's part of the store: no cost, no money, and nothing of the back office.
"""
