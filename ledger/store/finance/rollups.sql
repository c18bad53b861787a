-- name: step
-- What the entries of a group book beyond their lines (a commit stated in credits, the revenue of a grant
-- that paid debt) stands as kind '': the lines add up to the journal. The lines of reversals and refunds are
-- negative; those of a reversal count as lines taken away, those of a refund as none: the work was done.
WITH here AS MATERIALIZED (
    SELECT t.cursor, t.as_of, t.mark, t.marked_at,
           pg_snapshot_xmin(pg_current_snapshot()) AS oldest_open, pg_current_xact_id() AS own
    FROM {cell}.tailer t FOR UPDATE SKIP LOCKED
), reach AS MATERIALIZED (
    -- As correlated subqueries these two read the index from the cursor on; joined, they read all of it.
    SELECT h.*, (SELECT e.xid FROM {cell}.entries e
                 WHERE e.xid >= h.cursor AND e.xid < h.oldest_open
                 ORDER BY e.xid OFFSET $1 - 1 LIMIT 1) AS full_at
    FROM here h
), bounds AS MATERIALIZED (
    -- Another replica may have moved the cursor after this snapshot was taken, past its oldest open
    -- transaction: then there is nothing to do.
    SELECT r.*, greatest(r.cursor, coalesce(
               (SELECT e.xid FROM {cell}.entries e
                WHERE e.xid > r.full_at AND e.xid < r.oldest_open ORDER BY e.xid LIMIT 1),
               r.oldest_open)) AS upto
    FROM reach r
), chunk AS MATERIALIZED (
    SELECT (e.booked_at AT TIME ZONE 'UTC')::date AS day, e.customer, e.plan, coalesce(e.card, '') AS card,
           CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign,
           e.issued, e.pending, e.available, e.held, e.consumed, e.expired, e.voided, e.refunded, e.debt,
           e.priced, e.uncollected,
           m.receivable, m.unbilled, m.refund_payable, m.deferred, m.revenue, m.breakage, m.write_off, m.cost,
           m.provider_payable, m.absorbed_failed_outcome, m.absorbed_uncollected, m.absorbed_unpriced, m.lines
    FROM bounds b
    JOIN {cell}.entries e ON e.xid >= b.cursor AND e.xid < b.upto
    -- Nobody knows beforehand how few rows come: joined, all of the table would be read for them.
    LEFT JOIN LATERAL (
        SELECT d.* FROM {cell}.money d
        WHERE d.customer = e.customer AND d.sequence = e.sequence AND d.house_sequence = 0 OFFSET 0
    ) m ON true
), stated AS MATERIALIZED (
    SELECT c.day, c.customer, c.plan, c.card, l.kind,
           CASE WHEN l.kind = 'tokens' THEN coalesce(l.name, '') ELSE '' END AS model,
           coalesce(l.lever, '') AS lever, c.sign AS lines,
           CASE WHEN l.treatment = 'UNPRICED' THEN c.sign ELSE 0 END AS unpriced_lines,
           CASE WHEN l.uncosted THEN c.sign ELSE 0 END AS uncosted_lines,
           l.credits_micros AS credits, l.revenue_nanousd, l.cost_nanousd,
           coalesce(l.key_owner, '') AS key_owner, coalesce(l.saved_nanousd, 0) AS saved_nanousd,
           coalesce(l.own_key_nanousd, 0) AS own_key_nanousd
    FROM chunk c, json_to_recordset(c.lines) AS l(
        kind text, treatment text, uncosted boolean, name text, lever text, key_owner text,
        credits_micros bigint, revenue_nanousd bigint, cost_nanousd bigint,
        saved_nanousd bigint, own_key_nanousd bigint)
), lines AS MATERIALIZED (
    SELECT day, customer, plan, card, kind, model, lever, key_owner, sum(lines) AS lines,
           sum(unpriced_lines) AS unpriced_lines, sum(uncosted_lines) AS uncosted_lines,
           sum(credits) AS credits, sum(revenue_nanousd) AS revenue_nanousd,
           sum(cost_nanousd) AS cost_nanousd, sum(saved_nanousd) AS saved_nanousd,
           sum(own_key_nanousd) AS own_key_nanousd
    FROM (
        SELECT * FROM stated
        UNION ALL
        SELECT day, customer, plan, card, '', '', '', 0, 0, 0, -credits, -revenue_nanousd, -cost_nanousd,
               '', 0, 0
        FROM stated
        UNION ALL
        SELECT day, customer, plan, card, '', '', '', 0, 0, 0, priced,
               coalesce(revenue, 0), -coalesce(cost, 0), '', 0, 0
        FROM chunk
    ) amounts
    GROUP BY day, customer, plan, card, kind, model, lever, key_owner
    HAVING kind <> '' OR sum(credits) <> 0 OR sum(revenue_nanousd) <> 0 OR sum(cost_nanousd) <> 0
), line_rollups AS (
    INSERT INTO {cell}.rollup_lines AS r SELECT * FROM lines
    ON CONFLICT (day, customer, plan, card, kind, model, lever, key_owner) DO UPDATE SET
        lines = r.lines + excluded.lines,
        unpriced_lines = r.unpriced_lines + excluded.unpriced_lines,
        uncosted_lines = r.uncosted_lines + excluded.uncosted_lines,
        credits = r.credits + excluded.credits,
        revenue_nanousd = r.revenue_nanousd + excluded.revenue_nanousd,
        cost_nanousd = r.cost_nanousd + excluded.cost_nanousd,
        saved_nanousd = r.saved_nanousd + excluded.saved_nanousd,
        own_key_nanousd = r.own_key_nanousd + excluded.own_key_nanousd
), account_rollups AS (
    INSERT INTO {cell}.rollup_accounts AS r
    SELECT day, plan, card, kind, lever, account, amount
    FROM (
        SELECT c.day, c.plan, c.card, '' AS kind, '' AS lever, a.account, a.amount
        FROM (SELECT day, plan, card, {account_sums} FROM chunk GROUP BY day, plan, card) c,
             LATERAL (VALUES {account_values}) AS a(account, amount)
        UNION ALL
        SELECT l.day, l.plan, l.card, l.kind, '', a.account, a.amount
        FROM (SELECT day, plan, card, kind, sum(revenue_nanousd) AS revenue, -sum(cost_nanousd) AS cost,
                     sum(credits) AS priced, sum(unpriced_lines) AS unpriced_lines,
                     sum(uncosted_lines) AS uncosted_lines, sum(own_key_nanousd) AS own_key
              FROM lines GROUP BY day, plan, card, kind) l,
             LATERAL (VALUES ('revenue', l.revenue), ('cost', l.cost), ('priced', l.priced),
                             ('unpriced_lines', l.unpriced_lines), ('uncosted_lines', l.uncosted_lines),
                             ('own_key', l.own_key)) AS a(account, amount)
        UNION ALL
        SELECT day, plan, card, kind, lever, 'saved', sum(saved_nanousd)
        FROM lines WHERE key_owner <> 'CUSTOMER' GROUP BY day, plan, card, kind, lever
    ) amounts
    WHERE amount <> 0
    ON CONFLICT (day, plan, card, kind, lever, account) DO UPDATE SET amount = r.amount + excluded.amount
), moved AS (
    -- now() is the start of this transaction: ids above its own are given out later. (A snapshot's xmax
    -- would not do: ids above that may be in use.)
    UPDATE {cell}.tailer t SET
        cursor = b.upto,
        as_of = greatest(b.as_of, CASE WHEN b.own <= b.upto THEN now() - $2::interval
                                       WHEN b.mark <= b.upto THEN b.marked_at - $2::interval END),
        mark = CASE WHEN b.mark > b.upto THEN b.mark ELSE b.own END,
        marked_at = CASE WHEN b.mark > b.upto THEN b.marked_at ELSE now() END
    FROM bounds b
    RETURNING t.as_of, b.upto < b.oldest_open AS behind
)
SELECT (SELECT count(*) FROM chunk) AS entries, behind, as_of FROM moved

-- name: lag
SELECT now() AS clock, t.as_of, t.cursor::text::bigint AS cursor,
       (SELECT e.booked_at FROM {cell}.entries e ORDER BY e.xid LIMIT 1) AS begun_at,
       (SELECT count(*) FROM (SELECT FROM {cell}.entries e WHERE e.xid >= t.cursor LIMIT $1) n) AS behind
FROM {cell}.tailer t

-- name: sums
SELECT plan, card, kind, lever, account, sum(amount) AS amount
FROM {cell}.rollup_accounts GROUP BY plan, card, kind, lever, account
