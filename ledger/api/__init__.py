"""The gRPC services: from messages to commands, and from entries to answers."""
