-- name: find
SELECT customer_id, customer, cell FROM ledger.customers WHERE customer_id = ANY($1::text[])

-- name: ids_of
SELECT customer, customer_id FROM ledger.customers WHERE customer = ANY($1::bigint[])

-- name: enter
-- Of two creations at the same instant the second waits here for the first to commit, and then finds it.
INSERT INTO ledger.customers (customer_id, cell) VALUES ($1, $2)
ON CONFLICT (customer_id) DO NOTHING RETURNING customer, clock_timestamp() AS now

-- name: due
SELECT w.customer, w.next_due_at FROM {cell}.wallets w
WHERE w.next_due_at <= $1 AND NOT EXISTS (
    SELECT FROM {cell}.findings f WHERE f.customer = w.customer AND f.stops AND f.ended_at IS NULL
) ORDER BY w.next_due_at LIMIT $2

-- name: born
-- One row each, $1 the wallet and $2 the entry; what they share from $4 on.
WITH shared AS (SELECT {shared}), born AS (
    INSERT INTO {cell}.wallets ({wallet_columns}, created_at, token)
    SELECT {wallet_values}, {created_at}, $3 FROM {wallet_rows}
)
INSERT INTO {cell}.entries ({entry_columns}) SELECT {entry_values} FROM {entry_rows}

-- name: comes_to_plan
-- What recurs by a new customer's plan; what its rows share from $2 on.
WITH shared AS (SELECT {shared_with_renewals})
INSERT INTO {cell}.renewals ({renewal_columns}) SELECT {renewal_values} FROM {renewal_rows}
