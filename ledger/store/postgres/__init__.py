"""PostgreSQL itself: pools and roles, schema and rights, history, backup, the embedded server.

Knows no customer and no entry: what stands in the tables is the business of the other rooms.
"""
