-- name: lock
-- No row: nothing is needed, or another process is at it.
SELECT failed_attempts, not_before FROM {cell}.top_up_needs WHERE customer = $1 FOR UPDATE SKIP LOCKED

-- name: lock_need
SELECT failed_attempts, not_before FROM {cell}.top_up_needs WHERE customer = $1 FOR UPDATE

-- name: wallet
SELECT c.customer_id, w.plan, w.plan_overrides, w.zone, w.available + w.held AS remaining, -w.debt AS debt, now() AS clock
FROM {cell}.wallets w JOIN ledger.customers c USING (customer) WHERE w.customer = $1

-- fragment: stored
number, state, failure, attempt, amount AS amount_micros, price_nanousd, expires_at, requested_at, answer_by,
request_id, grant_sequence, ended_at

-- name: recent
SELECT {stored} FROM {cell}.top_ups WHERE customer = $1 AND requested_at > now() - $2::interval
ORDER BY number DESC

-- name: listed
SELECT {stored} FROM {cell}.top_ups WHERE customer = $1 AND number < $2 ORDER BY number DESC LIMIT $3

-- name: need
SELECT failed_attempts, not_before FROM {cell}.top_up_needs WHERE customer = $1

-- name: payment
-- $2: the command that states the grant.
SELECT e.sequence, l.status, EXISTS (
    SELECT FROM {cell}.entries p
    WHERE p.customer = $1 AND p.kind = 'GRANT' AND p.sequence > e.sequence AND p.subject = e.sequence
) AS is_paid
FROM {cell}.entries e
JOIN {cell}.lots l ON l.customer = e.customer AND l.sequence = e.sequence AND l.n = 0
WHERE e.customer = $1 AND e.request_id = $2

-- name: enter
INSERT INTO {cell}.top_ups
    (customer, number, state, failure, attempt, amount, price_nanousd, expires_at, answer_by, ended_at)
SELECT $1, coalesce((SELECT max(number) FROM {cell}.top_ups WHERE customer = $1), 0) + 1, $2::text, $3, $4, $5,
       $6, $7, $8, CASE $2::text WHEN 'FAILED' THEN now() END
RETURNING {stored}

-- name: announced
UPDATE {cell}.top_ups SET grant_sequence = $3 WHERE customer = $1 AND number = $2

-- name: giving_up
UPDATE {cell}.top_ups SET failure = $3 WHERE customer = $1 AND number = $2

-- name: ended
UPDATE {cell}.top_ups SET state = $3, failure = $4, ended_at = now() WHERE customer = $1 AND number = $2

-- name: look_at
UPDATE {cell}.top_up_needs SET look_at = $2 WHERE customer = $1

-- name: put_off
UPDATE {cell}.top_up_needs SET look_at = greatest(look_at, now() + $2::interval) WHERE customer = $1

-- name: attempts
UPDATE {cell}.top_up_needs SET failed_attempts = $2, not_before = $3, look_at = now() WHERE customer = $1

-- name: recovered
DELETE FROM {cell}.top_up_needs WHERE customer = $1
