"""PostgreSQL: schema, migrations, the one batched write, loads and reads."""
