-- name: last_before
SELECT e.sequence FROM {cell}.entries e
WHERE e.customer = $1 AND e.sequence BETWEEN $2 AND $3 AND e.effective_at < $4
ORDER BY e.sequence DESC LIMIT 1

-- name: sums
-- What an entry prices beyond its lines stands as kind ''. Days are reported by how many of the instants at
-- which they begin have come.
{added_up}
SELECT entry_key AS day, labels, line_key[1] AS kind, line_key[2] AS unit, items, credits, measured, quantities
FROM added_up
WHERE $7::int IS NULL OR (entry_key, labels, line_key) > ($7, $8::text[], ARRAY[$9::text, $10::text])
ORDER BY entry_key, labels, line_key LIMIT $11
