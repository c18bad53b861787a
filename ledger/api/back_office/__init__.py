"""The back office's door: customers, prices, keys and the audit for ops; dollars for finance.

Knows the engine, prices, publishing, simulation and the store; the public door is none of its imports.
"""
