-- name: is_foreign
-- What a snapshot shows has ids below its end, and the cursor stands at its end at most.
SELECT coalesce(t.cursor > s.ends OR t.mark >= s.ends OR
                (SELECT e.xid FROM {cell}.entries e ORDER BY e.xid DESC LIMIT 1) >= s.ends, false)
FROM {cell}.tailer t, (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS ends) s

-- name: renumber
-- What was in the rollups stays below the cursor (3: the first id of any cluster), the rest comes with this
-- transaction.
UPDATE {cell}.{table} e SET xid = CASE WHEN e.xid < t.cursor THEN '3'::xid8 ELSE pg_current_xact_id() END
FROM {cell}.tailer t WHERE e.xid >= t.cursor OR e.xid >= pg_current_xact_id()

-- name: start_here
UPDATE {cell}.tailer SET cursor = pg_current_xact_id(), mark = NULL, marked_at = NULL
