"""Faults injected into running servers, and an exact comparison of the books with what their clients know.

`make faults` runs it; it is no part of `make test`.
"""

import os

# Servers are started by fork and exec; gRPC would say each time that it does nothing about that. It reads
# this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
