-- fragment: stored
endpoint_id, url, description, types, customers, created_at, previous_until, request_id, fingerprint, rotated_by,
last_failure, last_failed_at, deleted_at

-- name: exclude_others
-- Whoever adds one waits for whoever does: they are counted.
LOCK TABLE ledger.webhook_endpoints IN SHARE ROW EXCLUSIVE MODE

-- name: count
SELECT count(*) FROM ledger.webhook_endpoints WHERE deleted_at IS NULL

-- name: of_request
SELECT {stored} FROM ledger.webhook_endpoints WHERE request_id = $1

-- name: add
INSERT INTO ledger.webhook_endpoints (url, description, types, customers, request_id, fingerprint, passed)
SELECT $1, $2, $3, $4, $5, $6, events FROM ledger.event_log
RETURNING {stored}, secret

-- name: find
SELECT {stored} FROM ledger.webhook_endpoints WHERE endpoint_id = $1 FOR UPDATE

-- name: change
UPDATE ledger.webhook_endpoints SET url = $2, description = $3, types = $4, customers = $5
WHERE endpoint_id = $1 RETURNING {stored}

-- name: rotate
UPDATE ledger.webhook_endpoints
SET previous_secret = secret, previous_until = clock_timestamp() + $3::interval, rotated_by = $2,
    secret = sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
WHERE endpoint_id = $1 RETURNING {stored}, secret

-- name: empty_queue
DELETE FROM ledger.webhook_queue WHERE endpoint_id = $1

-- name: remove
UPDATE ledger.webhook_endpoints SET deleted_at = clock_timestamp(), secret = NULL, previous_secret = NULL
WHERE endpoint_id = $1

-- name: queue
SELECT count(*) FILTER (WHERE NOT is_dead) AS waiting, count(*) FILTER (WHERE is_dead) AS dead
FROM ledger.webhook_queue WHERE endpoint_id = $1

-- name: listed
SELECT {stored},
       (SELECT count(*) FROM ledger.webhook_queue q WHERE q.endpoint_id = w.endpoint_id AND NOT q.is_dead) AS waiting,
       (SELECT count(*) FROM ledger.webhook_queue q WHERE q.endpoint_id = w.endpoint_id AND q.is_dead) AS dead
FROM ledger.webhook_endpoints w WHERE deleted_at IS NULL ORDER BY created_at, endpoint_id

-- fragment: wanted
-- Of the endpoint w: an event e that it is for. What is the house's has to be asked for by name.
(cardinality(w.types) = 0 AND e.customer > 0 OR e.type = ANY(w.types))
AND (cardinality(w.customers) = 0 OR e.customer_id = ANY(w.customers))

-- name: revive
-- Dead letters are tried again from the beginning, in their order.
UPDATE ledger.webhook_queue SET is_dead = false, attempts = 0, due_at = now()
WHERE endpoint_id = $1 AND is_dead

-- name: replay
-- The endpoint's cursor goes back to the first event since an instant, so that all from there on is handed over
-- anew, as room comes; what stands in the queue from there on is due at once. Says how many events are theirs.
WITH first AS MATERIALIZED (
    SELECT min(number) AS number FROM ledger.events WHERE written_at >= $2
), back AS (
    UPDATE ledger.webhook_endpoints w SET passed = least(w.passed, f.number - 1) FROM first f
    WHERE w.endpoint_id = $1 AND f.number IS NOT NULL
), due AS (
    UPDATE ledger.webhook_queue q SET is_dead = false, attempts = 0, due_at = now() FROM first f
    WHERE q.endpoint_id = $1 AND q.number >= f.number
)
SELECT count(*) FROM ledger.webhook_endpoints w, first f, ledger.events e
WHERE w.endpoint_id = $1 AND e.number BETWEEN f.number AND w.passed AND {wanted}

-- name: with_work
-- Endpoints that nobody else is at, for which something is due or new.
SELECT w.endpoint_id FROM ledger.webhook_endpoints w
WHERE w.deleted_at IS NULL AND (w.leased_until < now() OR w.holder = $1)
  AND (w.passed < (SELECT events FROM ledger.event_log)
       OR EXISTS (SELECT FROM ledger.webhook_queue q
                  WHERE q.endpoint_id = w.endpoint_id AND NOT q.is_dead AND q.due_at <= now()))

-- name: lease
UPDATE ledger.webhook_endpoints SET holder = $2, leased_until = now() + $3::interval
WHERE endpoint_id = $1 AND deleted_at IS NULL AND (leased_until < now() OR holder = $2)
RETURNING url, secret, CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret

-- name: enqueue
-- $2: events looked at; $3: the most that may wait, of which a customer whose events are refused takes $4 at most.
-- What does not fit stays in the outbox. $5: once so many of such a customer wait, and one was tried $6 times, its
-- next ones are dead letters.
WITH w AS MATERIALIZED (
    SELECT * FROM ledger.webhook_endpoints WHERE endpoint_id = $1 AND deleted_at IS NULL FOR SHARE
), waiting AS MATERIALIZED (
    SELECT customer, count(*) AS events, max(attempts) AS attempts
    FROM ledger.webhook_queue WHERE endpoint_id = $1 AND NOT is_dead GROUP BY customer
), room AS MATERIALIZED (
    SELECT coalesce(sum(CASE WHEN attempts > 0 THEN least(events, $4) ELSE events END), 0) < $3 AS there_is
    FROM waiting
), next AS MATERIALIZED (
    SELECT e.number, e.customer, {wanted} AS fits
    FROM w JOIN room r ON r.there_is
    JOIN LATERAL (SELECT * FROM ledger.events WHERE number > w.passed ORDER BY number LIMIT $2) e ON true
), added AS (
    INSERT INTO ledger.webhook_queue (endpoint_id, number, customer, is_dead)
    SELECT $1, n.number, n.customer, coalesce(x.events >= $5 AND x.attempts >= $6, false)
    FROM next n LEFT JOIN waiting x USING (customer) WHERE n.fits
    ON CONFLICT DO NOTHING RETURNING is_dead
)
UPDATE ledger.webhook_endpoints SET passed = (SELECT max(number) FROM next)
WHERE endpoint_id = $1 AND EXISTS (SELECT FROM next)
RETURNING (SELECT count(*) FROM added WHERE is_dead) AS dead

-- name: due
-- In the customers' order, and nothing of a customer whose earlier event is to be tried again later.
SELECT q.number, q.customer, q.attempts, e.event_id, e.customer_id, e.customer_number, e.type, e.at,
       e.data::text AS data
FROM ledger.webhook_queue q JOIN ledger.events e USING (number)
WHERE q.endpoint_id = $1 AND NOT q.is_dead AND NOT EXISTS (
    SELECT FROM ledger.webhook_queue b
    WHERE b.endpoint_id = $1 AND NOT b.is_dead AND b.customer = q.customer AND b.due_at > now())
ORDER BY q.number LIMIT $2

-- name: lock
-- The endpoint comes before its queue, whoever locks both.
SELECT FROM ledger.webhook_endpoints WHERE endpoint_id = $1 FOR UPDATE

-- name: delivered
DELETE FROM ledger.webhook_queue WHERE endpoint_id = $1 AND number = ANY($2::bigint[])

-- name: failed
UPDATE ledger.webhook_queue q
SET attempts = q.attempts + 1, due_at = now() + coalesce(f.pause, interval '0'), is_dead = f.pause IS NULL
FROM unnest($2::bigint[], $3::interval[]) AS f (number, pause)
WHERE q.endpoint_id = $1 AND q.number = f.number

-- name: note_failure
UPDATE ledger.webhook_endpoints SET last_failure = $2, last_failed_at = now() WHERE endpoint_id = $1
