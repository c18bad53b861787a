-- name: note
-- $1, $2: the bounds of the transactions; $3: no notice is longer. A lot that an entry has made, a grant that was paid
-- for, or one of another expiry. Most entries make none, and are known by their kinds.
INSERT INTO {cell}.expiry_notices (customer, sequence, n, look_at)
SELECT DISTINCT l.customer, l.sequence, l.n, greatest(now(), l.expires_at - $3::interval)
FROM {cell}.entries e
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.lots o
    WHERE o.customer = e.customer AND o.live AND (o.sequence = e.sequence OR e.kind IN ('GRANT', 'GRANT_EXTENDED')
                                                  AND (o.sequence, o.n) = (e.subject, e.subject_n)) OFFSET 0) AS l
WHERE e.xid >= $1::text::xid8 AND e.xid < $2::text::xid8
  AND e.kind NOT IN ({of_no_lot})
  AND l.expires_at IS NOT NULL AND l.status IN ('PENDING_START', 'ACTIVE')
ON CONFLICT (customer, sequence, n) DO UPDATE SET look_at = excluded.look_at

-- name: wake
-- A customer's plan may be another one.
UPDATE {cell}.expiry_notices n SET look_at = now()
FROM (
    SELECT DISTINCT customer FROM {cell}.entries
    WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8 AND kind = 'CUSTOMER_UPDATED'
) e WHERE n.customer = e.customer

-- name: due
-- $1: grants to look at. A grant is looked at when it is to be reported, until then once a day, for its plan may come to
-- say otherwise, and in the end to be forgotten. Whoever looks holds its row until that is written.
WITH due AS MATERIALIZED (
    SELECT customer, sequence, n, reported FROM {cell}.expiry_notices
    WHERE look_at <= now() ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
SELECT d.customer, c.customer_id, d.sequence, d.n, d.reported, l.remaining, l.held, l.expires_at, now() AS clock,
       coalesce(l.live AND l.status IN ('PENDING_START', 'ACTIVE') AND l.expires_at > now(), false) AS stands,
       w.plan, w.plan_overrides
FROM due d
LEFT JOIN {cell}.lots l USING (customer, sequence, n)
JOIN {cell}.wallets w USING (customer)
JOIN ledger.customers c USING (customer)
ORDER BY l.expires_at, d.customer, d.sequence, d.n

-- name: forget
DELETE FROM {cell}.expiry_notices x USING unnest($1::bigint[], $2::bigint[], $3::integer[]) AS g (customer, sequence, n)
WHERE (x.customer, x.sequence, x.n) = (g.customer, g.sequence, g.n)

-- name: move
UPDATE {cell}.expiry_notices x SET reported = g.reported, look_at = g.look_at
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::timestamptz[], $5::timestamptz[])
    AS g (customer, sequence, n, reported, look_at)
WHERE (x.customer, x.sequence, x.n) = (g.customer, g.sequence, g.n)
