-- name: counters
-- What another process is at is left to it.
WITH swept AS MATERIALIZED (
    SELECT s.customer, s.key FROM {cell}.states s
    WHERE (starts_with(s.key, '{counter_prefix}') OR starts_with(s.key, '{values_prefix}'))
      AND s.closes_at <= now() - interval '{stored_seconds} seconds'
    ORDER BY s.closes_at LIMIT $1 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {cell}.states s USING swept x WHERE s.customer = x.customer AND s.key = x.key RETURNING 1
)
SELECT count(*) FROM gone
