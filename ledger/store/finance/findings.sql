-- name: take_turn
UPDATE {cell}.watch SET holder = $1, leased_until = now() + $2
WHERE holder = $1 OR leased_until < now()
RETURNING passed

-- name: note_progress
-- A round ends where there is no customer left; the next one begins with that.
UPDATE {cell}.watch SET passed = $2, verified = verified + $3, leased_until = now() + $4 WHERE holder = $1

-- name: begin_round
UPDATE {cell}.watch SET
    passed = -1, verified = 0, verified_since = round_began_at, round_began_at = now(),
    customers = (SELECT count(*) FROM ledger.customers c WHERE c.cell = $2)
WHERE holder = $1

-- name: count
SELECT count(*) FROM ledger.customers WHERE cell = $1

-- name: next
-- By the directory: of a customer whose wallet is gone, too.
SELECT c.customer, w.sequence
FROM (SELECT d.customer FROM ledger.customers d
      WHERE d.customer > $1 AND d.cell = $2 ORDER BY d.customer LIMIT $3) c
LEFT JOIN {cell}.wallets w USING (customer) ORDER BY c.customer

-- name: sizes
SELECT x.customer, w.sequence
FROM unnest($1::bigint[]) WITH ORDINALITY AS x(customer, n) LEFT JOIN {cell}.wallets w USING (customer)
ORDER BY n

-- name: horizon
-- Below the oldest open transaction nothing appears any more.
SELECT pg_snapshot_xmin(pg_current_snapshot())

-- name: changed
SELECT e.customer, e.xid, now() - e.booked_at AS age FROM {cell}.entries e
WHERE e.xid >= $1 AND e.xid < ({horizon}) ORDER BY e.xid LIMIT $2

-- name: found
SELECT DISTINCT f.customer, w.sequence FROM {cell}.findings f LEFT JOIN {cell}.wallets w USING (customer)
WHERE f.ended_at IS NULL AND f.customer > $1 ORDER BY f.customer LIMIT $2

-- name: standing
SELECT customer, finding FROM {cell}.findings
WHERE ended_at IS NULL AND customer = ANY($1::bigint[]) AND part = $2

-- name: same
SELECT finding, invariants FROM {cell}.findings
WHERE customer = $1 AND part = $2 AND ended_at IS NULL FOR UPDATE

-- name: end_finding
UPDATE {cell}.findings SET ended_at = clock_timestamp()
WHERE finding = $1 AND ended_at IS NULL AND found_at < $2 RETURNING finding

-- name: find
INSERT INTO {cell}.findings (finding, customer, part, stops, invariants, violations, description)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (customer, part) WHERE ended_at IS NULL DO NOTHING RETURNING finding

-- name: renew_wallet
UPDATE {cell}.wallets SET token = $2 WHERE customer = $1

-- name: list
SELECT f.finding, coalesce(c.customer_id, '') AS customer_id, f.stops, f.invariants, f.violations,
       f.description, f.found_at
FROM {cell}.findings f LEFT JOIN ledger.customers c USING (customer) WHERE f.ended_at IS NULL

-- name: figures
SELECT w.verified, w.customers, w.verified_since, now() AS clock, f.standing, f.stopped
FROM {cell}.watch w, (SELECT count(*) AS standing, count(*) FILTER (WHERE stops) AS stopped
                      FROM {cell}.findings WHERE ended_at IS NULL) f
