-- name: make
-- Three UUIDs have 366 random bits, of which the hash makes 256.
INSERT INTO ledger.signing_keys (day, secret)
SELECT day,
       sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
FROM unnest($1::date[]) AS day
ON CONFLICT (day) DO NOTHING

-- name: find
SELECT day, secret FROM ledger.signing_keys WHERE day >= $1 ORDER BY day

-- name: drop
DELETE FROM ledger.signing_keys WHERE day < $1
