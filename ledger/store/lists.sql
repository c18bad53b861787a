-- fragment: sized_page
-- Three columns follow those of the row, which `page_of` takes off again.
SELECT * FROM (
    SELECT *, count(*) OVER () AS looked_at,
           sum(bytes) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM (SELECT {columns}, {bytes} AS bytes {of} ORDER BY {order} LIMIT {limit} + 1) found
) page
WHERE bytes_before < {page_bytes_max} ORDER BY {order}

-- fragment: page
-- Rows `e` with a sequence below $2, $3 at most, of the customer $1.
WITH RECURSIVE looked AS MATERIALIZED ({floor}), page (sequence, n, bytes) AS (
    SELECT $2::bigint, 0, 0::bigint
    UNION ALL
    SELECT next.sequence, p.n + 1, p.bytes + next.bytes
    FROM page p CROSS JOIN LATERAL (
        SELECT e.sequence, {bytes} AS bytes {of}
        AND e.customer = $1 AND e.sequence < p.sequence AND e.sequence >= (SELECT floor FROM looked)
        ORDER BY e.sequence DESC LIMIT 1
    ) next
    WHERE p.n < $3 AND p.bytes < {lines_bytes_max}
)
SELECT found.*, l.floor, p.n, p.bytes
FROM looked l LEFT JOIN page p ON p.n > 0
LEFT JOIN LATERAL (
    SELECT {columns} {of} AND e.customer = $1 AND e.sequence = p.sequence
) found ON true
ORDER BY p.n

-- fragment: by_sequence
SELECT greatest(least($2, w.sequence + 1) - {looked_at_max}, 1) AS floor
FROM {cell}.wallets w WHERE w.customer = $1

-- fragment: by_count
SELECT CASE WHEN {where} THEN coalesce((
    SELECT e.sequence {of} AND e.customer = $1 AND e.sequence < $2
    ORDER BY e.sequence DESC OFFSET {looked_at_max} - 1 LIMIT 1), 1) ELSE 1 END AS floor
