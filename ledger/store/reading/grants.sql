-- fragment: columns
{lot_columns}, g.external_reference, g.note, coalesce(g.ended, 0) AS ended, coalesce(g.refunded, 0) AS refunded,
coalesce(g.rolled_over, 0) AS rolled_over, g.recurring

-- fragment: record
LEFT JOIN {cell}.grants g ON g.customer = l.customer AND g.sequence = l.sequence AND g.n = l.n

-- fragment: expiring
l.live AND l.status IN ('PENDING_START', 'ACTIVE') AND l.expires_at

-- name: of_customer
-- $1 customer; $2 and $3 the lot before which the page begins; $4 how many; NULL for any: $5 reference, $6 instant.
SELECT {columns} FROM {cell}.lots l {record}
WHERE l.customer = $1 AND (l.sequence, l.n) < ($2::bigint, $3::bigint)
  AND ($5::text IS NULL OR g.external_reference = $5)
  AND ($6::timestamptz IS NULL OR ({expiring} < $6))
ORDER BY l.sequence DESC, l.n DESC LIMIT $4

-- name: of_reference
-- $1 reference; $2, $3 and $4 the lot before which the page begins; $5 how many; $6 instant, NULL for any.
SELECT {columns} FROM {cell}.grants g
JOIN {cell}.lots l ON l.customer = g.customer AND l.sequence = g.sequence AND l.n = g.n
WHERE g.external_reference = $1 AND (g.customer, g.sequence, g.n) < ($2::bigint, $3::bigint, $4::bigint)
  AND ($6::timestamptz IS NULL OR ({expiring} < $6))
ORDER BY g.customer DESC, g.sequence DESC, g.n DESC LIMIT $5

-- name: expiring_before
-- $1 instant; $2, $3, $4 and $5 where the page before has ended; $6 how many.
SELECT {columns} FROM {cell}.lots l {record}
WHERE {expiring} < $1
  AND (l.expires_at, l.customer, l.sequence, l.n) > ($2::timestamptz, $3::bigint, $4::bigint, $5::bigint)
ORDER BY l.expires_at, l.customer, l.sequence, l.n LIMIT $6
