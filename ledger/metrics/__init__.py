"""The two metrics ports: operations, without a dollar, and finance.

Knows names of series and numbers: whoever counts imports it, and it imports nobody.
"""
