"""New versions of prices: taken or refused, of files that are followed or of a document that was sent.

Knows prices and the store. What a card earns it asks of a callable: simulation is none of its imports.
"""
