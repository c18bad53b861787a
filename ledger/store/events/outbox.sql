-- name: chunk
-- $1: entries to look at. Where the step begins and ends: all below the oldest transaction that is still open are seen
-- by whoever looks later. The bounds are found as `step` of the rollups finds its own. With them come the chunk's
-- customers that have their own fields of their plans; one row without any. No row: another replica is at it.
WITH here AS MATERIALIZED (
    SELECT cursor, pg_snapshot_xmin(pg_current_snapshot()) AS oldest_open
    FROM {cell}.event_cursor FOR UPDATE SKIP LOCKED
), reach AS MATERIALIZED (
    SELECT h.*, (SELECT e.xid FROM {cell}.entries e
                 WHERE e.xid >= h.cursor AND e.xid < h.oldest_open
                 ORDER BY e.xid OFFSET $1 - 1 LIMIT 1) AS full_at
    FROM here h
), bounds AS MATERIALIZED (
    SELECT r.cursor, r.oldest_open, greatest(r.cursor, coalesce(
               (SELECT e.xid FROM {cell}.entries e
                WHERE e.xid > r.full_at AND e.xid < r.oldest_open ORDER BY e.xid LIMIT 1),
               r.oldest_open)) AS upto
    FROM reach r
), met AS MATERIALIZED (
    -- By itself: joined with the few who have fields of their own, all of their journals would be read.
    SELECT DISTINCT e.customer, e.plan
    FROM bounds b JOIN {cell}.entries e ON e.xid >= b.cursor AND e.xid < b.upto
)
SELECT b.cursor::text, b.upto::text, b.upto < b.oldest_open AS behind, o.customer, o.plan, o.plan_overrides
FROM bounds b LEFT JOIN (
    SELECT m.customer, m.plan, w.plan_overrides
    FROM met m JOIN {cell}.wallets w ON w.customer = m.customer AND w.plan_overrides IS NOT NULL
) o ON true

-- fragment: left_after
(e.available_after + e.held_after)

-- fragment: left_before
({left_after} - e.available - e.held)

-- name: facts
-- $1, $2: the bounds of the transactions; $3, $4: plans, and the thresholds of their balances; $5 to $7: customers that
-- have their own fields of a plan, the plan, and their thresholds. Of the entries only those come that are an event: of a
-- flood of commits that is none.
WITH chunk AS MATERIALIZED (
    SELECT e.*, coalesce(o.threshold, t.threshold, 0) AS threshold, d.crossings
    FROM {cell}.entries e
    LEFT JOIN {cell}.budgeted d
           ON d.customer = e.customer AND d.sequence = e.sequence AND d.crossings IS NOT NULL
    LEFT JOIN unnest($3::text[], $4::bigint[]) AS t (plan, threshold) ON t.plan = e.plan
    LEFT JOIN unnest($5::bigint[], $6::text[], $7::bigint[]) AS o (customer, plan, threshold)
           ON o.customer = e.customer AND o.plan = e.plan
    WHERE e.xid >= $1::text::xid8 AND e.xid < $2::text::xid8
), found AS MATERIALIZED (
    SELECT e.* FROM chunk e
    WHERE e.kind IN ('GRANT', 'GRANT_EXPIRED', 'GRANT_VOIDED', 'GRANT_REFUNDED', 'RESERVATION_EXPIRED')
       OR e.kind = 'COMMIT' AND (e.late OR e.uncollected > 0 OR e.available < 0 OR e.debt < 0)
       OR ({left_before} > 0) <> ({left_after} > 0)
       OR ({left_before} >= e.threshold) <> ({left_after} >= e.threshold)
       OR e.crossings IS NOT NULL
)
SELECT (SELECT count(*) FROM chunk) AS looked_at,
       EXISTS (SELECT FROM chunk WHERE kind NOT IN ({of_no_lot})) AS has_lots,
       (SELECT min(booked_at) FROM chunk) AS oldest_booked_at, now() AS clock,
       e.customer, c.customer_id, e.sequence, e.kind, e.effective_at, e.issued, e.pending, e.available, e.held,
       e.consumed, e.expired, e.voided, e.refunded, e.debt, e.issued_after, e.pending_after, e.available_after,
       e.held_after, e.consumed_after, e.expired_after, e.voided_after, e.refunded_after, e.debt_after,
       e.threshold, e.reservation, e.reservation_charged, e.reservation_expires_at, e.priced, e.uncollected,
       e.late, e.subject, e.subject_n, e.crossings, l.kind AS lot_kind, l.amount AS lot_amount,
       l.effective_at AS lot_effective_at, l.expires_at AS lot_expires_at, l.priority AS lot_priority,
       coalesce(l.scope, '') AS lot_scope, g.recurring
FROM (SELECT) one
LEFT JOIN found e ON true
LEFT JOIN ledger.customers c ON c.customer = e.customer
LEFT JOIN {cell}.lots l
       ON e.kind = 'GRANT' AND l.customer = e.customer AND l.sequence = e.subject AND l.n = e.subject_n
LEFT JOIN {cell}.grants g ON g.customer = l.customer AND g.sequence = l.sequence AND g.n = l.n
-- A customer's entries in their order, and what others did meanwhile about when they did it.
ORDER BY e.booked_at, e.customer, e.sequence

-- name: move
UPDATE {cell}.event_cursor SET cursor = $1::text::xid8

-- name: lock
-- Before the statement that writes: it has to see what the one before it wrote.
SELECT price_generation FROM ledger.event_log FOR UPDATE

-- name: write
WITH log AS (
    UPDATE ledger.event_log SET events = events + cardinality($1::bigint[]) RETURNING events
), given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
        WITH ORDINALITY AS g (customer, customer_id, type, at, data, place)
), before AS (
    SELECT g.customer, coalesce((
        SELECT e.customer_number FROM ledger.events e
        WHERE e.customer = g.customer ORDER BY e.customer_number DESC LIMIT 1), 0) AS events
    FROM (SELECT DISTINCT customer FROM given) g
)
INSERT INTO ledger.events (number, customer, customer_id, customer_number, type, at, data)
SELECT log.events - cardinality($1::bigint[]) + g.place, g.customer, g.customer_id,
       before.events + row_number() OVER (PARTITION BY g.customer ORDER BY g.place), g.type, g.at, g.data::json
FROM log, given g JOIN before USING (customer)

-- name: published
-- Since a generation. Neither what a document says nor who published it.
SELECT generation, name, number, revision, effective_from, published_at FROM ledger.price_versions
WHERE kind = 'CARD' AND generation > $1 ORDER BY generation

-- name: breaches
-- The house's events are few: cards that are published, and one of a card and a day.
SELECT data ->> 'day' AS day, data ->> 'rate_card' AS card FROM ledger.events
WHERE customer = 0 AND type = 'margin.floor_breached' AND data ->> 'day' = ANY($1::text[])

-- name: generation_reported
UPDATE ledger.event_log SET price_generation = $1

-- name: newest_generation
SELECT generation FROM ledger.price_generation
