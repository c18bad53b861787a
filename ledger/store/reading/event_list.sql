-- fragment: stored
number, customer_id, customer_number, event_id, type, at, data::text AS data

-- name: of_customer
SELECT {stored} FROM ledger.events
WHERE customer = $1 AND customer_number > $2 AND (cardinality($4::text[]) = 0 OR type = ANY($4))
ORDER BY customer_number LIMIT $3

-- name: of_all
SELECT {stored} FROM ledger.events
WHERE number > $1 AND (cardinality($3::text[]) = 0 OR type = ANY($3))
ORDER BY number LIMIT $2
