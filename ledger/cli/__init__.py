"""The command line, `acu-ledger`: serve, drive and read the ledger. It speaks gRPC like any other client."""

import os

# The embedded database's tools are run by fork and exec; gRPC would say on stderr, each time, that it does
# nothing about that. It reads this once, when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
