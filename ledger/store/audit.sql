-- name: note
INSERT INTO ledger.audit (key_id, name, method, resource, customer, sequence, request_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
