"""What the books are made of: lots, reservations, wallets, entries, and what becomes of a command.

A customer is one aggregate: its wallet, lots and reservations change only together with an entry, and
entries are numbered without gaps. Everything here is a frozen value, a named tuple because those are the
cheapest to make. The rules that make one from another stand in the modules of the books beside this package;
it knows none of them, and no other part of the service. Instants are timezone-aware UTC datetimes.
"""
