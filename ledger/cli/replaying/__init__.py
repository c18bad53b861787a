"""Records of real work, by file format, driven through the API as a product's backend would.

Knows the client and the adapters of pricing.
"""
