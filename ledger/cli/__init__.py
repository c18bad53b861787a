"""The command line, `acu-ledger`: serve, drive and read the ledger. It speaks gRPC like any other client.

Knows the app, to run it, and the API's messages; never the engine, the store or the books.
"""

import os

# gRPC reads both once, when it is imported.
# The embedded database's tools are run by fork and exec; gRPC would say on stderr, each time, that it does
# nothing about that.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# It would write a line for each handshake that fails, whoever knocks, beside what is said of it here.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
