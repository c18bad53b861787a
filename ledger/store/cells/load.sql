-- fragment: reservation_row
ROW({reservation_columns}, {reservation_costs_columns}, b.counters)

-- fragment: with_r
-- What a closed reservation's parts cost stands in its entries. In which budgets it counts stands with its own.
LEFT JOIN LATERAL (
    SELECT o.* FROM {cell}.reservation_costs o
    WHERE o.customer = r.customer AND o.sequence = r.sequence AND r.state IN ('OPEN', 'EXPIRED') OFFSET 0) AS c ON true
LEFT JOIN LATERAL (
    SELECT o.* FROM {cell}.budgeted o
    WHERE o.customer = r.customer AND o.sequence = r.sequence OFFSET 0) AS b ON true

-- name: load
-- $1 customers, $2 their instants (due_at); pairs: $3, $4 reservations; $5, $6 states; $7, $8 request ids.
-- Each is looked up by itself: joined, all rows of a table would be read and compared with what is asked for, if
-- the table was small when the statement was planned.
SELECT 'stopped' AS kind, ROW(f.customer, f.finding) AS fields
FROM unnest($1::bigint[]) AS x(customer)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.findings o
    WHERE o.customer = x.customer AND o.stops AND o.ended_at IS NULL OFFSET 0) AS f
UNION ALL
SELECT 'wallet', ROW({wallet_columns}, coalesce(d.unbilled_nanousd, 0), w.token)
FROM unnest($1::bigint[]) AS x(customer)
CROSS JOIN LATERAL (SELECT o.* FROM {cell}.wallets o WHERE o.customer = x.customer OFFSET 0) AS w
LEFT JOIN LATERAL (SELECT o.* FROM {cell}.debts o WHERE o.customer = x.customer OFFSET 0) AS d ON true
UNION ALL
SELECT 'lot', ROW({lot_columns}, v.value_nanousd)
FROM unnest($1::bigint[]) AS x(customer)
CROSS JOIN LATERAL (SELECT o.* FROM {cell}.lots o WHERE o.customer = x.customer AND o.live OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT o.* FROM {cell}.lot_values o
    WHERE o.customer = t.customer AND o.sequence = t.sequence AND o.n = t.n OFFSET 0) AS v ON true
UNION ALL
SELECT 'reservation', {reservation_row}
FROM unnest($3::bigint[], $4::bigint[]) AS x(customer, sequence)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.reservations o
    WHERE o.customer = x.customer AND o.sequence = x.sequence OFFSET 0) AS r
{with_r}
UNION ALL
SELECT 'state', ROW({state_columns})
FROM unnest($5::bigint[], $6::text[]) AS x(customer, key)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.states o WHERE o.customer = x.customer AND o.key = x.key OFFSET 0) AS u
UNION ALL
SELECT 'entry', ROW({entry_columns})
FROM unnest($7::bigint[], $8::text[]) AS x(customer, request_id)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.entries o
    WHERE o.customer = x.customer AND o.request_id = x.request_id OFFSET 0) AS e
UNION ALL
SELECT 'due', {reservation_row}
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.reservations o
    WHERE o.customer = x.customer AND o.state = 'OPEN' AND o.expires_at <= x.due_at
    ORDER BY o.expires_at, o.sequence LIMIT {due_max} + 1) AS r
{with_r}
UNION ALL
SELECT 'next', ROW(x.customer, r.expires_at)
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.expires_at FROM {cell}.reservations o
    WHERE o.customer = x.customer AND o.state = 'OPEN'
      AND o.expires_at > coalesce(x.due_at, '-infinity'::timestamptz)
    ORDER BY o.expires_at LIMIT 1) AS r
UNION ALL
SELECT 'closing', ROW({state_columns})
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.states o
    WHERE o.customer = x.customer AND o.surplus <> 0 AND o.closes_at <= x.due_at
    ORDER BY o.closes_at, o.key LIMIT {due_max} + 1) AS u
UNION ALL
SELECT 'closes', ROW(x.customer, u.closes_at)
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.closes_at FROM {cell}.states o
    WHERE o.customer = x.customer AND o.surplus <> 0
      AND o.closes_at > coalesce(x.due_at, '-infinity'::timestamptz)
    ORDER BY o.closes_at LIMIT 1) AS u
UNION ALL
SELECT 'renewal', ROW({renewal_columns})
FROM unnest($1::bigint[]) AS x(customer)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.renewals o WHERE o.customer = x.customer AND o.next_at IS NOT NULL OFFSET 0) AS n

-- fragment: subject
-- What is to be undone: $2 the charge's sequence or $3 the reservation's, the other is NULL.
SELECT e.* FROM {cell}.entries e
WHERE e.customer = $1 AND e.sequence = $2::bigint AND e.kind IN ('COMMIT', 'CHARGE')
UNION ALL
SELECT e.* FROM {cell}.entries e
WHERE e.customer = $1 AND e.reservation = $3::bigint
  AND e.kind IN ('COMMIT', 'RELEASE', 'RESERVATION_EXPIRED')

-- fragment: refunds_of_c
CROSS JOIN LATERAL (
    SELECT r.* FROM {cell}.entries r
    WHERE r.customer = $1 AND r.subject = c.sequence AND r.kind = 'REFUND' OFFSET 0
) e

-- fragment: money_of_e
LATERAL (
    SELECT d.* FROM {cell}.money d
    WHERE d.customer = $1 AND d.sequence = e.sequence AND d.house_sequence = 0 OFFSET 0
) m ON true

-- fragment: with_money
ROW({entry_columns}, {money_columns}) AS fields, m.draws

-- fragment: record_columns
k.paid_nanousd, k.ended, k.refunded, k.taken_off_nanousd, k.given_up

-- fragment: with_t
-- One without a record of what was paid has it with the dollars of its entry.
JOIN {cell}.entries e ON e.customer = t.customer AND e.sequence = t.sequence
LEFT JOIN {cell}.grants g ON g.customer = t.customer AND g.sequence = t.sequence AND g.n = t.n
LEFT JOIN {cell}.money m ON m.customer = t.customer AND m.sequence = t.sequence AND m.house_sequence = 0
CROSS JOIN LATERAL (
    SELECT coalesce(g.paid_nanousd, CASE WHEN e.kind = 'GRANT' THEN coalesce(-m.receivable, 0) END) AS paid_nanousd,
           coalesce(g.ended, 0) AS ended, coalesce(g.refunded, 0) AS refunded,
           coalesce(g.taken_off_nanousd, 0) AS taken_off_nanousd, coalesce(g.given_up, 0) AS given_up
) k

-- fragment: claims
-- What was paid for all lots that were issued, less what was taken off that. A lot that was stated, and
-- voided before it was paid, had all of it end, and nothing credited.
coalesce(sum(
    coalesce(g.paid_nanousd, p.paid_nanousd, 0) - coalesce(g.taken_off_nanousd, 0)
), 0) AS claimed_nanousd
FROM {cell}.lots t
LEFT JOIN {cell}.grants g ON g.customer = t.customer AND g.sequence = t.sequence AND g.n = t.n
LEFT JOIN LATERAL (
    SELECT -m.receivable AS paid_nanousd
    FROM {cell}.entries e
    JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence AND m.house_sequence = 0
    WHERE e.customer = t.customer AND e.sequence = t.sequence AND e.kind = 'GRANT' AND g.paid_nanousd IS NULL
    OFFSET 0
) p ON true
WHERE t.status <> 'PENDING_PAYMENT'
  AND (t.status = 'VOIDED' AND g.ended = t.amount AND g.taken_off_nanousd = 0) IS NOT TRUE

-- name: load_claimed
SELECT t.customer, {claims} AND t.customer = ANY($1::bigint[])
GROUP BY t.customer

-- name: load_reversal
-- $1 customer; $2 and $3 as `subject` has them. A reservation's last entry comes too where it is no commit: it
-- may carry what was absorbed. Where the charges made debt, what
-- may have paid it since comes as well: grants and their starts, and what gives credits back; of these only
-- the draws count. `size` adds the lines of a reservation up until there are too many, and reads no further:
-- then none of them is loaded, nor is any of a reservation that has been reversed.
--
-- As the customer is a constant here, a plan that was made for empty tables would join by looking through all
-- that the customer has. LATERAL with OFFSET 0 looks up row by row.
WITH undone AS MATERIALIZED (
    SELECT e.sequence FROM {cell}.entries e
    WHERE e.customer = $1 AND e.kind = 'REVERSAL' AND e.subject IN (
        $2::bigint, $3::bigint,
        (SELECT c.reservation FROM {cell}.entries c WHERE c.customer = $1 AND c.sequence = $2::bigint))
), size AS MATERIALIZED (
    SELECT $3::bigint IS NOT NULL AND EXISTS (
        SELECT FROM (
            SELECT sum(greatest(1, json_array_length(b.lines))) OVER (ROWS UNBOUNDED PRECEDING) AS lines
            FROM (
                SELECT c.lines FROM ({subject}) c
                UNION ALL
                SELECT e.lines FROM ({subject}) c {refunds_of_c}
            ) b
        ) s WHERE s.lines > {lines_undone_max}
    ) AS is_beyond
), charges AS MATERIALIZED (
    SELECT e.sequence, e.debt, {with_money}
    FROM ({subject}) e LEFT JOIN {money_of_e}
    WHERE NOT (SELECT s.is_beyond FROM size s) AND ($3::bigint IS NULL OR NOT EXISTS (SELECT FROM undone))
), refunds AS MATERIALIZED (
    SELECT {with_money} FROM charges c {refunds_of_c} LEFT JOIN {money_of_e}
), later AS MATERIALIZED (
    SELECT ROW({entry_without_lines}, {money_without_lines}) AS fields, m.draws
    FROM (SELECT min(c.sequence) AS sequence FROM charges c WHERE c.debt < 0 OFFSET 0) AS first
    CROSS JOIN LATERAL (
        SELECT p.* FROM {cell}.entries p
        WHERE p.customer = $1 AND p.sequence > first.sequence
          AND p.kind IN ('GRANT', 'GRANT_STARTED', 'REVERSAL', 'REFUND')
        ORDER BY p.sequence DESC OFFSET 0
    ) e JOIN {money_of_e}
    WHERE m.draws IS NOT NULL
    ORDER BY e.sequence DESC LIMIT {payments_max}
), drawn AS MATERIALIZED (
    SELECT DISTINCT (d.draw ->> 0)::bigint AS sequence, (d.draw ->> 1)::integer AS n
    FROM (
        SELECT draws FROM charges UNION ALL SELECT draws FROM later UNION ALL SELECT draws FROM refunds
    ) AS m CROSS JOIN LATERAL json_array_elements(m.draws) AS d(draw)
)
SELECT 'charge' AS kind, c.fields FROM charges c
UNION ALL
SELECT 'refund', r.fields FROM refunds r
UNION ALL
SELECT 'later', l.fields FROM later l
UNION ALL
SELECT 'lot', ROW({lot_columns}, v.value_nanousd, {record_columns})
FROM drawn x
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.lots o WHERE o.customer = $1 AND o.sequence = x.sequence AND o.n = x.n OFFSET 0
) t
LEFT JOIN {cell}.lot_values v ON v.customer = t.customer AND v.sequence = t.sequence AND v.n = t.n
{with_t}
UNION ALL
SELECT 'claimed', ROW(c.claimed_nanousd)
FROM (SELECT {claims} AND t.customer = $1) c WHERE EXISTS (SELECT FROM charges)
UNION ALL
SELECT 'reservation', {reservation_row}
FROM {cell}.reservations r {with_r}
WHERE r.customer = $1 AND r.sequence = $3::bigint
UNION ALL
SELECT 'counted', ROW(b.counters)
FROM {cell}.budgeted b WHERE b.customer = $1 AND b.sequence = $2::bigint AND b.counters IS NOT NULL
UNION ALL
SELECT 'reversed', ROW(u.sequence) FROM undone u
UNION ALL
SELECT 'beyond', ROW(s.is_beyond) FROM size s WHERE s.is_beyond

-- name: load_grant
-- $1 customer; $2 and $3 the lot.
SELECT {lot_columns}, v.value_nanousd, {record_columns}, c.claimed_nanousd
FROM {cell}.lots t
LEFT JOIN {cell}.lot_values v ON v.customer = t.customer AND v.sequence = t.sequence AND v.n = t.n
{with_t}
CROSS JOIN (SELECT {claims} AND t.customer = $1) c
WHERE t.customer = $1 AND t.sequence = $2 AND t.n = $3

-- name: load_states
SELECT {state_columns}
FROM unnest($1::bigint[], $2::text[]) AS x(customer, key)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.states o WHERE o.customer = x.customer AND o.key = x.key OFFSET 0) AS u

-- name: lock_wallets
SELECT w.customer FROM {cell}.wallets w WHERE w.customer = ANY($1::bigint[])
ORDER BY w.customer FOR UPDATE

-- name: find_entries
SELECT {entry_columns}
FROM unnest($1::bigint[], $2::text[]) AS x(customer, request_id)
CROSS JOIN LATERAL (
    SELECT o.* FROM {cell}.entries o
    WHERE o.customer = x.customer AND o.request_id = x.request_id OFFSET 0) AS e
