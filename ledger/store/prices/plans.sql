-- name: latest
SELECT after::text FROM ledger.audit WHERE resource = $1 ORDER BY at DESC, number DESC LIMIT 1
