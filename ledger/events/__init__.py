"""Events: what of the journal is reported to others, and in which words.

Pure: no I/O, no clock, nothing of the store. An entry carries the balances before and after it, so that what
it is an event of rests on the entry alone: a threshold is crossed once, whoever looks and however often.
"""
