"""The command line, `acu-ledger`: serve, drive and read the ledger. It speaks gRPC like any other client."""
