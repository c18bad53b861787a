-- name: span
-- The entries of some days: from the first that is not before them to the last that is before their end.
SELECT coalesce((
    SELECT min(e.sequence) FROM {cell}.entries e
    WHERE e.customer = $1 AND e.sequence BETWEEN {before_first} AND {after_first} AND e.effective_at >= $2
), 4611686018427387904) AS first, coalesce((
    SELECT max(e.sequence) FROM {cell}.entries e
    WHERE e.customer = $1 AND e.sequence BETWEEN {before_end} AND {after_end} AND e.effective_at < $3
), 0) AS through

-- fragment: counted
-- Entries that priced something, or took back what others did.
FROM {cell}.entries e
WHERE e.customer = $1 AND (e.priced <> 0 OR e.lines IS NOT NULL)
  AND ($2::text IS NULL OR e.labels::jsonb @> $2::jsonb)

-- name: part
WITH RECURSIVE walk (last, entries, bytes) AS (
    SELECT $3::bigint - 1, 0::numeric, 0::numeric
    UNION ALL
    SELECT least(w.last + {stride}, $4), w.entries + here.entries, w.bytes + here.bytes
    FROM walk w CROSS JOIN LATERAL (
        SELECT count(*) AS entries, coalesce(sum({lines_bytes}), 0) AS bytes {counted}
        AND e.sequence > w.last AND e.sequence <= least(w.last + {stride}, $4)
    ) here
    WHERE w.last < $4 AND w.last < $3 + {looked_at_max}
      AND w.entries < {added_up_max} AND w.bytes < {added_up_bytes_max}
), part AS (SELECT max(last) AS last FROM walk)
SELECT part.last, first.effective_at AS first_at, next.effective_at AS next_at
FROM part
LEFT JOIN {cell}.entries first ON first.customer = $1 AND first.sequence = $3
LEFT JOIN {cell}.entries next ON next.customer = $1 AND next.sequence = part.last + 1

-- fragment: added_up
-- A reversal takes its items and quantities away, a refund takes credits alone: the work was done. What an
-- entry prices beyond its lines (credits stated, a surplus given back) stands on a line of empty texts.
WITH booked AS MATERIALIZED (
    SELECT {entry_key} AS entry_key,
           ARRAY(SELECT coalesce(e.labels ->> k.key, '')
                 FROM unnest($5::text[]) WITH ORDINALITY AS k(key, n) ORDER BY k.n) AS labels,
           CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign,
           e.priced, e.uncollected, e.lines
    {counted} AND e.sequence BETWEEN $3 AND $4
), used AS MATERIALIZED (
    SELECT b.entry_key, b.labels, {line_key} AS line_key, b.sign,
           (l.line ->> 'credits_micros')::numeric AS credits, l.line
    FROM booked b, jsonb_array_elements(b.lines::jsonb) AS l(line)
), credited AS (
    SELECT entry_key, labels, line_key, sign, credits, line FROM used
    UNION ALL
    SELECT entry_key, labels, {no_line}, 0, -credits, NULL FROM used
    UNION ALL
    SELECT entry_key, labels, {no_line}, 0, priced, NULL FROM booked
), sums AS (
    SELECT entry_key, labels, line_key, sum(sign)::bigint AS items, sum(credits) AS credits,
           coalesce(sum(sign * (line #>> '{{measured,quantity}}')::numeric), 0) AS measured
    FROM credited GROUP BY entry_key, labels, line_key
), quantities AS (
    SELECT entry_key, labels, line_key, json_object_agg(name, quantity::text) AS quantities
    FROM (SELECT u.entry_key, u.labels, u.line_key, q.name, sum(u.sign * q.quantity::numeric) AS quantity
          FROM used u, jsonb_each_text(u.line -> 'quantities') AS q(name, quantity)
          GROUP BY u.entry_key, u.labels, u.line_key, q.name) named
    WHERE quantity <> 0 GROUP BY entry_key, labels, line_key
), added_up AS (
    SELECT s.*, coalesce(q.quantities, '{{}}') AS quantities
    FROM sums s LEFT JOIN quantities q USING (entry_key, labels, line_key)
    WHERE s.items <> 0 OR s.credits <> 0 OR q.quantities IS NOT NULL
)
