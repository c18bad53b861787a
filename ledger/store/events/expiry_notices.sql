-- name: note
-- $1, $2: the bounds of the transactions; $3: no notice is longer. A lot that an entry has made, a grant that was paid
-- for, or one of another expiry. Most entries make none, and are known by their kinds.
INSERT INTO {cell}.expiry_notices (customer, sequence, n, look_at)
SELECT DISTINCT l.customer, l.sequence, l.n, greatest(now(), l.expires_at - $3::interval)
FROM {cell}.entries e
JOIN {cell}.lots l
  ON l.customer = e.customer AND (l.sequence = e.sequence OR e.kind IN ('GRANT', 'GRANT_EXTENDED')
                                  AND (l.sequence, l.n) = (e.subject, e.subject_n))
WHERE e.xid >= $1::text::xid8 AND e.xid < $2::text::xid8
  AND e.kind NOT IN ({of_no_lot})
  AND l.live AND l.expires_at IS NOT NULL AND l.status IN ('PENDING_START', 'ACTIVE')
ON CONFLICT (customer, sequence, n) DO UPDATE SET look_at = excluded.look_at

-- name: wake
-- A customer's plan may be another one.
UPDATE {cell}.expiry_notices n SET look_at = now()
FROM (
    SELECT DISTINCT customer FROM {cell}.entries
    WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8 AND kind = 'CUSTOMER_UPDATED'
) e WHERE n.customer = e.customer

-- name: due
-- $1, $2: plans, and how long before an expiry it is reported; $3: grants to look at; $4: no notice is longer. A grant is
-- looked at when it is to be reported, until then once a day, for its plan may come to say otherwise, and in the end to
-- be forgotten.
WITH due AS MATERIALIZED (
    SELECT customer, sequence, n, reported FROM {cell}.expiry_notices
    WHERE look_at <= now() ORDER BY look_at LIMIT $3 FOR UPDATE SKIP LOCKED
), seen AS MATERIALIZED (
    SELECT d.*, l.expires_at, l.remaining, l.held, l.expires_at - t.notice AS report_at,
           coalesce(l.live AND l.status IN ('PENDING_START', 'ACTIVE') AND l.expires_at > now(), false) AS stands
    FROM due d
    LEFT JOIN {cell}.lots l USING (customer, sequence, n)
    LEFT JOIN {cell}.wallets w USING (customer)
    LEFT JOIN unnest($1::text[], $2::interval[]) AS t (plan, notice) ON t.plan = w.plan
), forgotten AS (
    DELETE FROM {cell}.expiry_notices x USING seen s
    WHERE NOT s.stands AND (x.customer, x.sequence, x.n) = (s.customer, s.sequence, s.n)
), moved AS (
    UPDATE {cell}.expiry_notices x
    SET reported = CASE WHEN s.report_at <= now() THEN s.expires_at ELSE x.reported END,
        look_at = CASE WHEN s.report_at <= now() THEN s.expires_at
                       ELSE least(coalesce(s.report_at, s.expires_at),
                                  greatest(s.expires_at - $4::interval, now() + interval '1 day')) END
    FROM seen s
    WHERE s.stands AND (x.customer, x.sequence, x.n) = (s.customer, s.sequence, s.n)
)
SELECT s.customer, c.customer_id, s.sequence, s.n, s.remaining, s.held, s.expires_at, now() AS clock,
       coalesce(s.stands AND s.report_at <= now() AND s.reported IS DISTINCT FROM s.expires_at, false) AS is_new
FROM seen s JOIN ledger.customers c USING (customer)
ORDER BY s.expires_at, s.customer, s.sequence, s.n
