-- fragment: chunk
-- $1, $2: the bounds of the transactions.
SELECT * FROM {cell}.entries WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8

-- name: note
-- $3, $4: plans, and below how many credits left a top-up is needed; $5 to $7: customers that have their own fields of
-- a plan, the plan, and below how many it is for them (NULL: never). Usage alone makes a need: nobody is to pay again
-- for credits that expired, or that a chargeback took back. The row of a customer whose need ends at this very instant
-- is waited for, and written anew.
INSERT INTO {cell}.top_up_needs (customer)
SELECT DISTINCT e.customer
FROM ({chunk}) e
LEFT JOIN unnest($3::text[], $4::bigint[]) AS t (plan, below) ON t.plan = e.plan
LEFT JOIN unnest($5::bigint[], $6::text[], $7::bigint[]) AS o (customer, plan, below)
       ON o.customer = e.customer AND o.plan = e.plan
WHERE e.kind IN ('CHARGE', 'COMMIT', 'PERIOD_CLOSED') AND (e.available + e.held < 0 OR e.debt < 0)
  AND e.available_after + e.held_after < CASE WHEN o.customer IS NULL THEN t.below ELSE o.below END
ORDER BY e.customer
ON CONFLICT (customer) DO UPDATE SET look_at = now() WHERE false

-- name: wake
-- Credits have come, or a payment was given up, or the plan is another one. Where nobody waits nothing is read.
UPDATE {cell}.top_up_needs n SET look_at = now()
FROM (
    SELECT DISTINCT e.customer FROM ({chunk}) e
    WHERE EXISTS (SELECT FROM {cell}.top_up_needs)
      AND (e.kind IN ('GRANT', 'GRANT_VOIDED', 'CUSTOMER_UPDATED') OR e.available + e.held > 0)
) e WHERE n.customer = e.customer

-- name: due
SELECT customer FROM {cell}.top_up_needs WHERE look_at <= now() ORDER BY look_at LIMIT $1
