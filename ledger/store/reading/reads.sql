-- name: profile
SELECT display_name, plan, card, zone, multiplier_nanos, created_at
FROM {cell}.wallets WHERE customer = $1

-- name: upcoming
SELECT n.recurring, n.next_at FROM {cell}.renewals n
JOIN {cell}.wallets w ON w.customer = n.customer AND w.plan = n.plan
WHERE n.customer = $1 AND n.recurring <> '' AND n.next_at IS NOT NULL

-- name: profiles
SELECT customer, display_name, plan, card, zone, multiplier_nanos, created_at
FROM {cell}.wallets WHERE customer = ANY($1::bigint[])

-- name: customers
SELECT customer, customer_id, cell FROM ledger.customers
WHERE customer_id > $1 ORDER BY customer_id LIMIT $2

-- name: balance
-- One statement, one snapshot. Lots that are neither used up nor expired are few, whatever the history.
WITH live AS MATERIALIZED (
    SELECT kind, status, expires_at, remaining - held AS free, held
    FROM {cell}.lots WHERE customer = $1 AND remaining > 0
)
SELECT now() AS as_of, w.pending, w.available, w.held, w.debt, kinds.by_kind, next.expires_at, next.micros
FROM {cell}.wallets w
CROSS JOIN (
    SELECT coalesce(json_agg(json_build_array(kind, available, held) ORDER BY kind), '[]') AS by_kind
    FROM (
        SELECT kind, coalesce(sum(free) FILTER (WHERE status = 'ACTIVE'), 0)::bigint AS available,
               sum(held)::bigint AS held
        FROM live GROUP BY kind
    ) sums
    WHERE available > 0 OR held > 0
) kinds
LEFT JOIN (
    SELECT expires_at, sum(free)::bigint AS micros
    FROM live WHERE status = 'ACTIVE' AND free > 0 AND expires_at IS NOT NULL
    GROUP BY expires_at ORDER BY expires_at LIMIT 1
) next ON true
WHERE w.customer = $1

-- name: balances
SELECT now() AS as_of, customer, pending, available, held, debt
FROM {cell}.wallets WHERE customer = ANY($1::bigint[])

-- name: spendable
-- What new work of a customer would be judged by: policies, and what is available in lots of each scope.
SELECT now() AS as_of, w.plan, w.card, w.multiplier_nanos, o.plan_overrides, w.pending, w.available, w.held, w.debt, scopes.free,
       {cell}.stopping_finding(w.customer) AS finding
FROM {cell}.wallets w
LEFT JOIN {cell}.own_fields o USING (customer)
CROSS JOIN (
    SELECT coalesce(json_agg(json_build_array(scope, micros)), '[]') AS free
    FROM (
        SELECT scope, sum(remaining - held)::bigint AS micros
        FROM {cell}.lots WHERE customer = $1 AND remaining > 0 AND status = 'ACTIVE'
        GROUP BY scope
    ) sums
) scopes
WHERE w.customer = $1

-- name: budgeted
-- What says which counters of budgets are meant.
SELECT now() AS as_of, w.plan, o.plan_overrides, w.zone
FROM {cell}.wallets w LEFT JOIN {cell}.own_fields o USING (customer) WHERE w.customer = $1

-- name: counts
SELECT key, used FROM {cell}.budget_counts($1, $2::text[])

-- name: balance_at
-- What is due takes effect at its own instant, and is written a moment later.
SELECT w.next_due_at, e.*
FROM {cell}.wallets w
LEFT JOIN LATERAL (
    SELECT pending_after AS pending, available_after AS available, held_after AS held, debt_after AS debt
    FROM {cell}.entries
    WHERE customer = $1 AND sequence <= {after_instant} AND effective_at <= $2
    ORDER BY sequence DESC LIMIT 1
) e ON true
WHERE w.customer = $1

-- name: names
SELECT customer, customer_id FROM ledger.customers WHERE customer = ANY($1::bigint[])

-- fragment: moved
FROM {cell}.entries e
WHERE (e.issued, e.pending, e.available, e.held, e.consumed, e.expired, e.voided, e.refunded, e.debt)
      <> (0, 0, 0, 0, 0, 0, 0, 0, 0)

-- name: reservation
SELECT {reservation_columns} FROM {cell}.reservations r WHERE r.customer = $1 AND r.sequence = $2

-- fragment: reservations
FROM {cell}.reservations e WHERE true

-- fragment: reservations_wanted
{reservations} AND ($4::text IS NULL OR e.state = $4) AND ($5::text IS NULL OR e.labels::jsonb @> $5::jsonb)

-- fragment: charge_columns
-- A reversal names the charge, or the reservation that the charge was a part of.
{entry_columns}, EXISTS (
    SELECT 1 FROM {cell}.entries r
    WHERE r.customer = e.customer AND r.kind = 'REVERSAL' AND r.subject IN (e.sequence, e.reservation)
) AS reversed, (
    SELECT coalesce(-sum(r.consumed), 0)::bigint FROM {cell}.entries r
    WHERE r.customer = e.customer AND r.kind = 'REFUND' AND r.subject = e.sequence
) AS refunded

-- name: charge
SELECT {charge_columns} FROM {cell}.entries e
WHERE e.customer = $1 AND e.sequence = $2 AND e.kind IN ('COMMIT', 'CHARGE')

-- fragment: labelled
($4::text IS NULL OR e.labels::jsonb @> $4::jsonb)

-- fragment: charges_wanted
FROM {cell}.entries e WHERE e.kind IN ('COMMIT', 'CHARGE') AND {labelled}

-- fragment: parts
FROM {cell}.entries e WHERE e.kind = 'COMMIT' AND e.reservation = $5

-- fragment: parts_wanted
{parts} AND {labelled}

-- name: request
SELECT {entry_columns} FROM {cell}.entries e WHERE e.customer = $1 AND e.request_id = $2
