-- name: find
SELECT customer_id, customer, cell FROM ledger.customers WHERE customer_id = ANY($1::text[])

-- name: ids_of
SELECT customer, customer_id FROM ledger.customers WHERE customer = ANY($1::bigint[])

-- name: enter
-- Of two creations at the same instant the second waits here for the first to commit, and then finds it. In one
-- order, so that two that have several alike do not wait for each other.
INSERT INTO ledger.customers (customer_id, cell)
SELECT x.customer_id, $2 FROM unnest($1::text[]) AS x(customer_id) ORDER BY x.customer_id
ON CONFLICT (customer_id) DO NOTHING RETURNING customer_id, customer, clock_timestamp() AS now

-- name: due
SELECT w.customer, w.next_due_at FROM {cell}.wallets w
WHERE w.next_due_at <= $1 AND NOT EXISTS (
    SELECT FROM {cell}.findings f WHERE f.customer = w.customer AND f.stops AND f.ended_at IS NULL
) ORDER BY w.next_due_at LIMIT $2

-- name: born
-- $1 the wallets, $2 the entries, $3 the acts; what they share from $5 on.
WITH shared AS (SELECT {shared}), born AS (
    INSERT INTO {cell}.wallets ({wallet_columns}, created_at, token)
    SELECT {wallet_values}, {created_at}, $4 FROM {wallet_rows}
), noted AS (
    INSERT INTO ledger.audit ({audit_columns}, resource)
    SELECT {audit_values}, '{customers}' || c.customer_id
    FROM {audit_rows} JOIN ledger.customers c ON c.customer = x.customer
)
INSERT INTO {cell}.entries ({entry_columns}) SELECT {entry_values} FROM {entry_rows}

-- name: comes_to_plan
-- What recurs by new customers' plans; what its rows share from $2 on.
WITH shared AS (SELECT {shared_with_renewals})
INSERT INTO {cell}.renewals ({renewal_columns}) SELECT {renewal_values} FROM {renewal_rows}
