-- fragment: header
kind, name, number, revision, version, effective_from, published_at, published_by,
published_by_key_id, source, restores, forced, generation

-- fragment: versions
(SELECT {header}, document FROM ledger.price_versions
 UNION ALL SELECT {header}, document FROM ledger.plan_versions) AS v

-- fragment: values
({header}, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: lock
SELECT generation FROM ledger.price_generation FOR UPDATE

-- name: look
SELECT g.generation, clock_timestamp() AS now, v.version, v.published_at
FROM ledger.price_generation g LEFT JOIN {versions} ON v.generation = $1

-- name: advance
UPDATE ledger.price_generation SET generation = $1

-- name: latest
SELECT {header} FROM {versions} WHERE kind = $1 AND name = $2 ORDER BY number DESC LIMIT 1

-- name: store_prices
INSERT INTO ledger.price_versions {values}

-- name: store_plans
INSERT INTO ledger.plan_versions {values}

-- name: since
SELECT {header} FROM {versions} WHERE generation > $1 ORDER BY generation

-- name: list
SELECT {header} FROM {versions}
WHERE kind = $1 AND ($2 = '' OR name = $2) AND (name, -number) > ($3, $4)
ORDER BY name, number DESC LIMIT $5

-- name: find
SELECT {header} FROM {versions} WHERE kind = $1 AND name = $2 AND number = $3

-- name: document
SELECT document FROM {versions} WHERE kind = $1 AND name = $2 AND number = $3
