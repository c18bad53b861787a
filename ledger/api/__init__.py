"""The gRPC services: from messages to commands, and from entries to answers.

Knows who calls, and every part that does what is asked for. The two doors, `public` and `back_office`, do not
know each other.
"""
