"""`make bench`: the figures of the whole path, each beside its ceiling, in one run on one machine.

The client is this process, every server another: `acu-ledger serve` as anyone starts it, on an embedded
PostgreSQL with fsync on, reached through real gRPC channels; uvloop at both ends. Figures that are compared
are taken in turns within the same minutes, and their medians compared: machines drift.
"""
