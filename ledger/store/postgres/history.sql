-- name: history
SELECT ledger.history() AS history, clock_timestamp() AS now
