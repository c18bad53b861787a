-- name: note
-- An act that makes no entry of the journal.
INSERT INTO ledger.audit (key_id, name, method, resource, request_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7)
