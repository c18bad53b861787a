"""What a command prints: tables, JSON, amounts, and the picture of a simulation.

Knows the answers' messages alone: nothing here calls a server.
"""
