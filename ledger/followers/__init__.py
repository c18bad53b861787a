"""What follows the journal beside all calls: finance's rollups, events, top-ups, the watch over the books.

Knows the store and the metrics. No call waits for it.
"""
