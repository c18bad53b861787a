-- name: is_foreign
-- What a snapshot shows has ids below its end, and the cursor stands at its end at most.
SELECT coalesce(t.cursor > s.ends OR t.mark >= s.ends OR
                (SELECT e.xid FROM {cell}.entries e ORDER BY e.xid DESC LIMIT 1) >= s.ends, false)
FROM {cell}.tailer t, (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS ends) s

-- fragment: cursors
-- Of the two that follow the journal: how far both are, and how far the first of them is.
(SELECT least(t.cursor, f.cursor) AS both, greatest(t.cursor, f.cursor) AS first
 FROM {cell}.tailer t, {cell}.event_cursor f)

-- fragment: here
pg_current_xact_id()

-- fragment: just_before
-- An id between the others: of no matter whose it was.
(pg_current_xact_id()::text::bigint - 1)::text::xid8

-- name: renumber
-- What both have met stays below their cursors (3: the first id of any cluster), what only one has met comes
-- between them, and the rest with this transaction.
UPDATE {cell}.{table} e
SET xid = CASE WHEN e.xid < c.both THEN '3'::xid8 WHEN e.xid < c.first THEN {just_before} ELSE {here} END
FROM {cursors} c WHERE e.xid >= c.both OR e.xid >= {just_before}

-- name: start_here
-- All expressions of both statements are of the cursors as they were.
WITH c AS MATERIALIZED {cursors}, events AS (
    UPDATE {cell}.event_cursor f SET cursor = CASE WHEN f.cursor < c.first THEN {just_before} ELSE {here} END FROM c
)
UPDATE {cell}.tailer t
SET cursor = CASE WHEN t.cursor < c.first THEN {just_before} ELSE {here} END, mark = NULL, marked_at = NULL
FROM c
