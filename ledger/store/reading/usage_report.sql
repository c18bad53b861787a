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

-- name: last_before
SELECT e.sequence FROM {cell}.entries e
WHERE e.customer = $1 AND e.sequence BETWEEN $2 AND $3 AND e.effective_at < $4
ORDER BY e.sequence DESC LIMIT 1

-- name: sums
-- A reversal takes its items and quantities away, a refund takes credits alone: the work was done. What an
-- entry prices beyond its lines (credits stated, a surplus given back) stands as kind ''. Days are reported by
-- how many of the instants at which they begin have come.
WITH booked AS MATERIALIZED (
    SELECT width_bucket(e.effective_at, $5::timestamptz[]) AS day,
           ARRAY(SELECT coalesce(e.labels ->> k.key, '')
                 FROM unnest($6::text[]) WITH ORDINALITY AS k(key, n) ORDER BY k.n) AS labels,
           CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign, e.priced, e.lines
    {counted} AND e.sequence BETWEEN $3 AND $4
), used AS MATERIALIZED (
    SELECT b.day, b.labels, l.line ->> 'kind' AS kind,
           coalesce(l.line #>> '{{measured,unit}}', '') AS unit, b.sign,
           (l.line ->> 'credits_micros')::numeric AS credits, l.line
    FROM booked b, jsonb_array_elements(b.lines::jsonb) AS l(line)
), credited AS (
    SELECT day, labels, kind, unit, sign, credits, line FROM used
    UNION ALL
    SELECT day, labels, '', '', 0, -credits, NULL FROM used
    UNION ALL
    SELECT day, labels, '', '', 0, priced, NULL FROM booked
), sums AS (
    SELECT day, labels, kind, unit, sum(sign)::bigint AS items, sum(credits) AS credits,
           sum(sign * (line #>> '{{measured,quantity}}')::numeric) AS measured
    FROM credited GROUP BY day, labels, kind, unit
), quantities AS (
    SELECT day, labels, kind, unit, json_object_agg(name, quantity::text) AS quantities
    FROM (SELECT u.day, u.labels, u.kind, u.unit, q.name, sum(u.sign * q.quantity::numeric) AS quantity
          FROM used u, jsonb_each_text(u.line -> 'quantities') AS q(name, quantity)
          GROUP BY u.day, u.labels, u.kind, u.unit, q.name) named
    WHERE quantity <> 0 GROUP BY day, labels, kind, unit
)
SELECT s.day, s.labels, s.kind, s.unit, s.items, s.credits, coalesce(s.measured, 0) AS measured,
       coalesce(q.quantities, '{{}}') AS quantities
FROM sums s LEFT JOIN quantities q USING (day, labels, kind, unit)
WHERE (s.items <> 0 OR s.credits <> 0 OR q.quantities IS NOT NULL)
  AND ($7::int IS NULL OR (s.day, s.labels, s.kind, s.unit) > ($7, $8::text[], $9::text, $10::text))
ORDER BY s.day, s.labels, s.kind, s.unit LIMIT $11
