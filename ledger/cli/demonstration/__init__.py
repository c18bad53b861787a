"""What `acu-ledger demo` shows: agent work sold through the API, and the same work in every style.

Knows the client, replaying and output; sees the ledger as every client does.
"""
