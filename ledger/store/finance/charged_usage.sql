-- fragment: window
WHERE e.kind IN ('COMMIT', 'CHARGE', 'REVERSAL', 'PERIOD_CLOSED')
  AND ($1::timestamptz IS NULL OR e.booked_at >= $1) AND ($2::timestamptz IS NULL OR e.booked_at < $2)
  AND ($3::bigint IS NULL OR e.customer = $3) AND ($4::text IS NULL OR e.card = $4)

-- fragment: card_of_e
-- An entry has the numbers of its versions; whoever prices it anew knows their contents by their hashes.
ledger.price_versions p ON p.kind = 'CARD' AND p.name = e.card AND p.number = e.card_version

-- fragment: costs_of_e
ledger.price_versions b ON b.kind = 'COSTS' AND b.name = '' AND b.number = e.cost_version

-- name: usage
-- What prices a commit are its reservation's labels, not its own. A reversal gives back what refunds have left
-- of its charge; it is reported with them, for they are no price, and so the charge amounts to nothing.
SELECT e.customer, e.sequence, e.kind, e.reservation, e.subject,
       EXISTS (SELECT FROM {cell}.entries r WHERE r.customer = e.customer AND r.kind = 'REVERSAL'
               AND r.subject = coalesce(e.reservation, e.sequence)) AS undone,
       (extract(epoch FROM e.booked_at) * 1000000)::bigint AS booked_at_micros,
       e.plan, w.card AS own_card, w.plan_overrides, e.card, p.version AS card_version, b.version AS cost_version,
       e.credit_price_nanousd, e.multiplier_nanos,
       e.priced + coalesce(g.priced, 0) AS priced,
       coalesce(m.revenue, 0) + coalesce(g.revenue, 0) AS revenue, -coalesce(m.cost, 0) AS cost,
       CASE WHEN e.reservation IS NULL THEN e.labels ELSE r.labels END::text AS labels,
       e.lines::text AS lines, m.lines::text AS money_lines
FROM {cell}.entries e
LEFT JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence AND m.house_sequence = 0
LEFT JOIN {cell}.wallets w ON w.customer = e.customer
LEFT JOIN {cell}.reservations r ON r.customer = e.customer AND r.sequence = e.reservation
LEFT JOIN LATERAL (
    SELECT sum(f.priced)::bigint AS priced, sum(n.revenue)::bigint AS revenue
    FROM (
        SELECT e.subject AS sequence
        UNION ALL
        SELECT c.sequence FROM {cell}.entries c
        WHERE c.customer = e.customer AND c.reservation = e.subject AND c.kind = 'COMMIT'
    ) c
    JOIN {cell}.entries f ON f.customer = e.customer AND f.subject = c.sequence AND f.kind = 'REFUND'
    LEFT JOIN {cell}.money n ON n.customer = f.customer AND n.sequence = f.sequence AND n.house_sequence = 0
) g ON e.kind = 'REVERSAL'
LEFT JOIN {card_of_e}
LEFT JOIN {costs_of_e}
{window}
ORDER BY e.customer, e.sequence

-- name: seen
SELECT DISTINCT l.line ->> 'kind', l.line ->> 'name', l.line ->> 'served_by', l.line #>> '{{usage,tier}}'
FROM {cell}.entries e
JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence AND m.house_sequence = 0
CROSS JOIN LATERAL json_array_elements(m.lines) AS l(line)
{window}

-- name: versions
SELECT DISTINCT p.version, b.version
FROM {cell}.entries e
JOIN {card_of_e}
JOIN {costs_of_e}
{window}

-- name: documents
SELECT version, document FROM ledger.price_versions WHERE version = ANY($1::text[])

-- name: cost_versions
SELECT effective_from, version FROM ledger.price_versions
WHERE kind = 'COSTS' ORDER BY effective_from DESC, number DESC
