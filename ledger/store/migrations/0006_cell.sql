-- What was taken back of grants for money, and what was taken off the total paid for each.

ALTER TABLE grants
    -- What was refunded; `ended` counts it too.
    ADD COLUMN refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    -- What was credited with what was voided, was paid back, or was written off. Closed to the reader.
    ADD COLUMN taken_off_nanousd bigint NOT NULL DEFAULT 0 CHECK (taken_off_nanousd >= 0);

-- Of grants that were voided: what went back with them, and what became debt. What was held of one then, and was
-- released since, is not known by grant: as much more of it can be written off.
UPDATE grants g SET taken_off_nanousd = v.taken_off_nanousd
FROM (
    SELECT e.customer, e.subject AS sequence, e.subject_n AS n, sum(m.receivable) AS taken_off_nanousd
    FROM entries e JOIN money m USING (customer, sequence)
    WHERE e.kind = 'GRANT_VOIDED' AND m.receivable > 0 GROUP BY 1, 2, 3
) v
WHERE g.customer = v.customer AND g.sequence = v.sequence AND g.n = v.n;

-- Rows as the batched write takes them. That of 0004 stays, for servers of the version before.
CREATE TYPE grant_refunded_sent AS (
    customer bigint, sequence bigint, n integer, paid_nanousd bigint, external_reference text, note text,
    ended bigint, refunded bigint, taken_off_nanousd bigint
);
