-- fragment: stored
id, hash, name, scopes, customers, created_by, created_by_key_id, created_at, expires_at, revoked_at,
revoked_by, revoked_by_key_id, replaced_by, last_used_on, request_id, fingerprint, number, generation

-- name: lock
SELECT generation FROM ledger.key_generation FOR UPDATE

-- name: generation
SELECT generation FROM ledger.key_generation

-- name: advance
UPDATE ledger.key_generation SET generation = $1

-- name: store
INSERT INTO ledger.keys ({stored})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)

-- name: of_request
SELECT {stored} FROM ledger.keys WHERE request_id = $1

-- name: find
SELECT {stored} FROM ledger.keys WHERE id = $1

-- name: since
SELECT {stored} FROM ledger.keys WHERE generation > $1 ORDER BY generation

-- name: revoke
UPDATE ledger.keys
SET revoked_at = clock_timestamp(), revoked_by = $2, revoked_by_key_id = $3, generation = $4
WHERE id = $1 RETURNING {stored}

-- name: replace
UPDATE ledger.keys SET replaced_by = $2, expires_at = least(expires_at, $3), generation = $4
WHERE id = $1 RETURNING {stored}

-- name: used
UPDATE ledger.keys SET last_used_on = $2
WHERE id = ANY($1::text[]) AND (last_used_on IS NULL OR last_used_on < $2)

-- name: unknown_customer
SELECT asked FROM unnest($1::text[]) WITH ORDINALITY a(asked, n)
WHERE NOT EXISTS (SELECT FROM ledger.customers WHERE customer_id = asked) ORDER BY n LIMIT 1
