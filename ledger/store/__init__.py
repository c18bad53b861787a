"""PostgreSQL: schema, migrations, the one batched write, loads and reads.

Knows the books' values. Documents of prices and of usage are texts here: the store does not price.
"""
