-- Events are derived from the journal, as rollups are; the cursor moves in the transaction that writes them.
CREATE TABLE event_cursor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The events of every transaction below this one are written, of none above it.
    cursor xid8 NOT NULL
);
-- What was booked before there were events is news to nobody. A restored journal may have ids of another cluster.
INSERT INTO event_cursor (cursor)
SELECT greatest(pg_snapshot_xmin(pg_current_snapshot()),
                ((SELECT e.xid FROM entries e ORDER BY e.xid DESC LIMIT 1)::text::bigint + 1)::text::xid8);
