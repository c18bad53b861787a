"""The commands, a module each: options in, a call or a run, an answer out.

Knows the client, and what the rooms beside it replay, sell and print.
"""
