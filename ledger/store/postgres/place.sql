-- name: places
SELECT ledger.place() AS here, (SELECT place FROM ledger.verified) AS verified

-- name: note
INSERT INTO ledger.verified (place) VALUES ($1)
ON CONFLICT (one_row) DO UPDATE SET place = excluded.place, verified_at = excluded.verified_at
