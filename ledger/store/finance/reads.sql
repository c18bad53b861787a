-- fragment: booked
WHERE ($1::timestamptz IS NULL OR booked_at <= $1) AND ($2::bigint IS NULL OR customer = $2)

-- name: credit_balances
SELECT {credit_sums} FROM {cell}.entries {booked}

-- name: dollar_balances
SELECT {dollar_sums} FROM {cell}.money {booked}

-- name: margins
SELECT {columns} sum(lines) AS lines, sum(unpriced_lines) AS unpriced_lines,
       sum(uncosted_lines) AS uncosted_lines, sum(credits) AS credits,
       sum(revenue_nanousd) AS revenue_nanousd, sum(cost_nanousd) AS cost_nanousd,
       coalesce(sum(saved_nanousd) FILTER (WHERE key_owner <> 'CUSTOMER'), 0) AS saved_nanousd,
       sum(own_key_nanousd) AS own_key_nanousd,
       coalesce(sum(saved_nanousd) FILTER (WHERE key_owner = 'CUSTOMER'), 0) AS own_key_saved_nanousd
FROM {cell}.rollup_lines
WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
  AND ($3::bigint IS NULL OR customer = $3)
GROUP BY {groups} HAVING count(*) > 0
LIMIT $4

-- name: as_of
SELECT as_of FROM {cell}.tailer

-- name: posted_dollars
SELECT {dollars} FROM {cell}.money WHERE customer = $1 AND sequence = $2 AND house_sequence = 0

-- fragment: with_money
SELECT {entry_columns}, {money_columns}
FROM {cell}.entries e LEFT JOIN {cell}.money m USING (customer, sequence)

-- name: charge
{with_money}
WHERE e.customer = $1 AND e.sequence = $2 AND e.kind IN ('COMMIT', 'CHARGE')

-- name: given_back
-- Whose subject a charge, or the reservation that it was a part of, is: its refunds and its reversal.
{with_money}
WHERE e.customer = $1
  AND (e.kind = 'REFUND' AND e.subject = $2 OR e.kind = 'REVERSAL' AND e.subject IN ($2, $3))
ORDER BY e.sequence LIMIT $4
