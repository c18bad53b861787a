-- name: size
SELECT (SELECT count(*) FROM {cell}.entries) AS entries, (SELECT count(*) FROM {cell}.wallets) AS customers

-- name: violations
SELECT coalesce(c.customer_id, '#' || b.customer, '') AS customer_id, b.description
FROM ({breaks}) b LEFT JOIN ledger.customers c ON c.customer = b.customer
ORDER BY b.customer, b.description LIMIT $1

-- name: breaks_of_customers
SELECT customer, '{invariant}' AS invariant, count(*) AS times, min(description) AS description
FROM ({breaks}) b GROUP BY customer
