-- name: customer
SELECT zone, next_due_at, now() AS as_of FROM {cell}.wallets WHERE customer = $1

-- name: balances
-- After two entries of a customer.
SELECT e.sequence, e.issued_after AS issued, e.pending_after AS pending, e.available_after AS available,
       e.held_after AS held, e.consumed_after AS consumed, e.expired_after AS expired,
       e.voided_after AS voided, e.refunded_after AS refunded, e.debt_after AS debt
FROM {cell}.entries e WHERE e.customer = $1 AND e.sequence IN ($2, $3)

-- name: rolled_over
-- What moved on to lots that entries $2 to $3 made.
SELECT coalesce(sum(l.amount), 0)::bigint FROM {cell}.lots l
JOIN {cell}.entries e ON e.customer = l.customer AND e.sequence = l.sequence
WHERE l.customer = $1 AND l.sequence BETWEEN $2 AND $3 AND e.kind = 'ROLLOVER'

-- name: lines
-- What was not collected is taken off again; grants stand beside what was used.
{added_up}, not_collected AS (
    SELECT labels, -sum(uncollected) AS credits FROM booked GROUP BY labels HAVING sum(uncollected) <> 0
), granted AS (
    SELECT coalesce(l.kind, '') AS kind, -sum(e.issued) AS credits
    FROM {cell}.entries e LEFT JOIN {cell}.lots l
      ON l.customer = e.customer AND l.sequence = e.subject AND l.n = e.subject_n
    WHERE e.customer = $1 AND e.issued <> 0 AND e.sequence BETWEEN $3 AND $4 GROUP BY l.kind
)
SELECT entry_key AS type, labels, line_key, items, credits, measured, quantities FROM added_up
UNION ALL
SELECT 'NOT_COLLECTED', labels, ARRAY['', '', '', ''], 0, credits, 0, '{{}}'::json FROM not_collected
UNION ALL
SELECT 'GRANT', array_fill(''::text, ARRAY[cardinality($5)]), ARRAY[kind, '', '', ''], 0, credits, 0, '{{}}'::json
FROM granted
ORDER BY type, labels, line_key OFFSET $6 LIMIT $7
