-- name: postings_balance
SELECT customer, format('entry %s: its credits sum to %s', sequence, total) AS description
FROM (SELECT customer, sequence, issued::numeric + pending + available + held + consumed + expired
             + voided + refunded + debt AS total FROM {cell}.entries) c
WHERE total <> 0
UNION ALL
SELECT customer, format('entry %s: its nano-dollars sum to %s', sequence, total)
FROM (SELECT customer, sequence, receivable::numeric + unbilled + refund_payable + deferred + revenue
             + breakage + write_off + cost + provider_payable AS total FROM {cell}.money) d
WHERE total <> 0

-- name: sequences_without_gaps
SELECT customer, format('%s entries from %s to %s, and a wallet at %s', n, first, last, w.sequence)
       AS description
FROM (SELECT customer, count(*) AS n, min(sequence) AS first, max(sequence) AS last
      FROM {cell}.entries GROUP BY customer) e
FULL JOIN {cell}.wallets w USING (customer)
WHERE (first, last, w.sequence) IS DISTINCT FROM (1, n, n)

-- name: customers_have_wallets
SELECT c.customer, 'the customer is in the directory, and has no wallet' AS description
FROM ledger.customers c LEFT JOIN {cell}.wallets w USING (customer)
WHERE c.cell = '{cell}' AND w.customer IS NULL

-- name: request_ids_unique
SELECT customer, format('%s entries have the request id %s', count(*), request_id) AS description
FROM {cell}.entries WHERE request_id IS NOT NULL
GROUP BY customer, request_id HAVING count(*) > 1

-- name: balances_follow_postings
SELECT customer, format('entry %s: %s after it, its postings lead to %s', sequence, stored, due)
       AS description
FROM (SELECT customer, sequence, ARRAY[{balances_after}] AS stored, ARRAY[{balances_due}] AS due
      FROM {cell}.entries WINDOW w AS (PARTITION BY customer ORDER BY sequence)) e
WHERE stored <> due

-- name: instants_never_go_back
SELECT customer, format('entry %s is booked at %s and takes effect at %s, the one before it at %s and %s',
                        sequence, booked_at, effective_at, booked_before, effective_before) AS description
FROM (SELECT customer, sequence, booked_at, effective_at, lag(booked_at) OVER w AS booked_before,
             lag(effective_at) OVER w AS effective_before
      FROM {cell}.entries WINDOW w AS (PARTITION BY customer ORDER BY sequence)) e
WHERE booked_at < booked_before OR effective_at < effective_before

-- name: wallet_is_replay
SELECT customer, format('the wallet has %s, the journal makes %s', stored, replayed) AS description
FROM (SELECT customer, ARRAY[{balances}]::numeric[] AS stored FROM {cell}.wallets) w
FULL JOIN (SELECT customer, ARRAY[{balances_replayed}] AS replayed FROM {cell}.entries GROUP BY customer) j
    USING (customer)
WHERE stored IS DISTINCT FROM replayed

-- name: lots_are_balances
SELECT customer, format('pending, available and held are %s; the lots make %s', stored, lots) AS description
FROM (SELECT customer, ARRAY[pending, available, held]::numeric[] AS stored FROM {cell}.wallets) w
LEFT JOIN (SELECT customer, ARRAY[
               coalesce(sum(remaining - held) FILTER (WHERE status IN ('PENDING_START', 'DISPUTED')), 0),
               coalesce(sum(remaining - held) FILTER (WHERE status NOT IN ('PENDING_START', 'DISPUTED')), 0),
               sum(held)] AS lots
           FROM {cell}.lots GROUP BY customer) l USING (customer)
WHERE stored <> coalesce(lots, ARRAY[0, 0, 0]::numeric[])

-- name: held_is_pins
WITH pins AS MATERIALIZED (
    SELECT r.customer, r.sequence AS reservation, r.held, p.pin
    FROM {cell}.reservations r
    LEFT JOIN LATERAL json_array_elements(r.pins) AS p(pin) ON true
    WHERE r.held <> 0 OR r.pins::text <> '[]'
)
SELECT customer, format('reservation %s holds %s, its pins %s', reservation, max(held),
                        coalesce(sum((pin->>2)::bigint), 0)) AS description
FROM pins GROUP BY customer, reservation
HAVING max(held) <> coalesce(sum((pin->>2)::bigint), 0)
UNION ALL
SELECT customer, format('lot %s.%s has %s held, the pins on it %s', sequence, n, l.held, p.pinned)
FROM (SELECT customer, sequence, n, held FROM {cell}.lots WHERE held <> 0) l
FULL JOIN (SELECT customer, (pin->>0)::bigint AS sequence, (pin->>1)::integer AS n,
                  sum((pin->>2)::bigint) AS pinned
           FROM pins WHERE pin IS NOT NULL GROUP BY 1, 2, 3) p USING (customer, sequence, n)
WHERE l.held IS DISTINCT FROM p.pinned
UNION ALL
SELECT customer, format('%s is held, by open reservations %s', w.held, coalesce(r.held, 0))
FROM {cell}.wallets w
LEFT JOIN (SELECT customer, sum(held) AS held FROM {cell}.reservations WHERE state = 'OPEN'
           GROUP BY customer) r USING (customer)
WHERE w.held <> coalesce(r.held, 0)

-- name: deferred_is_lot_value
SELECT customer, format('%s nano-dollars are deferred, the lots are worth %s', coalesce(deferred, 0),
                        coalesce(value, 0)) AS description
FROM (SELECT customer, sum(deferred) AS deferred FROM {cell}.money GROUP BY customer) m
FULL JOIN (SELECT customer, sum(value_nanousd) AS value FROM {cell}.lot_values GROUP BY customer) v
    USING (customer)
WHERE coalesce(deferred, 0) <> coalesce(value, 0)
UNION ALL
SELECT customer, format('lot %s.%s has nothing left, and a value of %s nano-dollars', sequence, n,
                        value_nanousd)
FROM {cell}.lots l JOIN {cell}.lot_values v USING (customer, sequence, n)
WHERE l.remaining = 0 AND v.value_nanousd <> 0

-- name: unbilled_is_debt
SELECT customer, format('%s nano-dollars are unbilled, the debt is priced at %s', coalesce(unbilled, 0),
                        coalesce(d.unbilled_nanousd, 0)) AS description
FROM (SELECT customer, sum(unbilled) AS unbilled FROM {cell}.money GROUP BY customer) m
FULL JOIN {cell}.debts d USING (customer)
WHERE coalesce(unbilled, 0) <> coalesce(d.unbilled_nanousd, 0)

-- name: dollars_have_entry
SELECT customer, format('dollars of entry %s, which is not in the journal', m.sequence) AS description
FROM {cell}.money m LEFT JOIN {cell}.entries e USING (customer, sequence)
WHERE m.house_sequence = 0 AND (e.booked_at, e.xid) IS DISTINCT FROM (m.booked_at, m.xid)

-- name: lot_amounts_conserved
-- A lot that a reversal or a refund made was issued nothing: its credits came back as draws below 0. One that was
-- stated before it was paid is issued by the entry that confirms the payment.
WITH rests AS MATERIALIZED (
    SELECT l.customer, l.sequence, l.n, l.status, l.amount, l.remaining, coalesce(d.drawn, 0) AS drawn,
           i.issued + l.moved_in - l.moved_out - coalesce(d.drawn, 0) - l.remaining AS gone, i.issued,
           coalesce(b.refunded, 0) AS refunded, coalesce(g.refunded, 0) AS known_refunded,
           CASE WHEN i.issued > 0 OR e.kind <> 'GRANT_PENDING_PAYMENT' THEN g.ended END AS ended
    FROM {cell}.lots l
    LEFT JOIN {cell}.entries e USING (customer, sequence)
    LEFT JOIN {cell}.grants g USING (customer, sequence, n)
    LEFT JOIN (SELECT customer, subject AS sequence, subject_n AS n FROM {cell}.entries WHERE kind = 'GRANT') c
        USING (customer, sequence, n)
    LEFT JOIN (SELECT customer, (d->>0)::bigint AS sequence, (d->>1)::integer AS n,
                      sum((d->>2)::bigint) AS drawn
               FROM {cell}.money, json_array_elements(draws) AS d
               GROUP BY 1, 2, 3) d USING (customer, sequence, n)
    LEFT JOIN (SELECT customer, subject AS sequence, subject_n AS n, sum(refunded) AS refunded
               FROM {cell}.entries WHERE kind = 'GRANT_REFUNDED' GROUP BY 1, 2, 3) b
        USING (customer, sequence, n),
         LATERAL (SELECT CASE WHEN c.customer IS NOT NULL THEN l.amount ELSE 0 END AS issued) i
)
SELECT customer, format('lot %s.%s (%s) of %s: %s drawn, %s refunded and %s remain', sequence, n, status, amount,
                        drawn, refunded, remaining) AS description
FROM rests WHERE gone < refunded OR (gone > refunded AND status NOT IN ('EXPIRED', 'VOIDED'))
UNION ALL
SELECT customer, format('lot %s.%s (%s): %s is known to have ended, %s is gone', sequence, n, status, ended, gone)
FROM rests WHERE ended > gone
UNION ALL
SELECT customer, format('lot %s.%s: %s is known to be refunded, entries say %s', sequence, n, known_refunded, refunded)
FROM rests WHERE known_refunded <> refunded
UNION ALL
SELECT customer, format('%s issued, grants of %s; %s expired, voided or refunded, %s gone from lots',
                        booked_issued, issued, booked_gone, gone)
FROM (SELECT w.customer, -w.issued AS booked_issued, coalesce(r.issued, 0) AS issued,
             w.expired + w.voided + w.refunded AS booked_gone, coalesce(r.gone, 0) AS gone
      FROM {cell}.wallets w
      LEFT JOIN (SELECT customer, sum(issued) AS issued, sum(gone) AS gone FROM rests GROUP BY customer) r
          USING (customer)) c
WHERE (booked_issued, booked_gone) <> (issued, gone)

-- name: entry_is_lines
-- A commit stated in credits has revenue without lines, and so may the reversal of a reservation with one. A
-- line counts whatever it says: one that states no revenue is not to excuse the entry from adding up.
SELECT customer, format('entry %s: revenue and cost are %s and %s, its lines make %s and %s', sequence,
                        revenue, cost, line_revenue, line_cost) AS description
FROM (
    SELECT m.customer, m.sequence, e.kind, m.revenue, -m.cost AS cost,
           coalesce(sum(l.revenue_nanousd), 0) AS line_revenue,
           coalesce(sum(l.cost_nanousd), 0) AS line_cost,
           count(l.n) AS lines
    FROM {cell}.money m
    JOIN {cell}.entries e USING (customer, sequence)
    LEFT JOIN ROWS FROM (json_to_recordset(m.lines) AS (revenue_nanousd bigint, cost_nanousd bigint))
        WITH ORDINALITY AS l(revenue_nanousd, cost_nanousd, n) ON true
    GROUP BY m.customer, m.sequence, e.kind, m.revenue, m.cost
) m
WHERE cost <> line_cost
   OR (kind IN ('COMMIT', 'CHARGE', 'REFUND') AND lines > 0 AND revenue <> line_revenue)
UNION ALL
SELECT customer, format('entry %s: priced at %s, its lines make %s for finance, %s for its customer',
                        sequence, priced, money_credits, public_credits)
FROM (
    SELECT e.customer, e.sequence, e.priced,
           (SELECT sum(l.credits_micros) FROM json_to_recordset(m.lines) AS l(credits_micros bigint))
               AS money_credits,
           (SELECT sum(l.credits_micros) FROM json_to_recordset(e.lines) AS l(credits_micros bigint))
               AS public_credits
    FROM {cell}.entries e LEFT JOIN {cell}.money m USING (customer, sequence)
    WHERE e.kind IN ('COMMIT', 'CHARGE', 'REFUND') AND json_array_length(e.lines) > 0
) c
WHERE (priced, priced) IS DISTINCT FROM (money_credits, public_credits)

-- name: reservation_is_entries
-- A refund says nothing of its charge's reservation; a reversal takes back what refunds have left of it.
SELECT customer, format('reservation %s: priced %s and charged %s, its entries make %s and %s', sequence,
                        r.priced, r.charged, e.priced, e.charged) AS description
FROM {cell}.reservations r
FULL JOIN (SELECT customer, reservation AS sequence, sum(priced) AS priced,
                  sum(priced - uncollected) AS charged
           FROM (SELECT customer, reservation, priced, uncollected FROM {cell}.entries
                 UNION ALL
                 SELECT b.customer, c.reservation, b.priced, 0
                 FROM {cell}.entries b
                 JOIN {cell}.entries c ON c.customer = b.customer AND c.sequence = b.subject
                 JOIN {cell}.entries v ON v.customer = c.customer AND v.subject = c.reservation
                                      AND v.kind = 'REVERSAL'
                 WHERE b.kind = 'REFUND') parts
           WHERE reservation IS NOT NULL GROUP BY 1, 2) e USING (customer, sequence)
WHERE (r.priced, r.charged) IS DISTINCT FROM (e.priced, e.charged)
UNION ALL
SELECT customer, format('reservation %s is %s, holds %s until %s; its newest entry has %s, %s, %s',
                        sequence, r.state, r.held, r.expires_at, e.state, e.held, e.expires_at)
FROM {cell}.reservations r
JOIN (SELECT DISTINCT ON (customer, reservation) customer, reservation AS sequence,
             reservation_state AS state, reservation_held AS held, reservation_expires_at AS expires_at
      FROM {cell}.entries e
      WHERE reservation IS NOT NULL
      ORDER BY customer, reservation, e.sequence DESC) e USING (customer, sequence)
WHERE (r.state, r.held, r.expires_at) <> (e.state, e.held, e.expires_at)

-- name: charge_is_consumed
SELECT customer, format('entry %s: %s consumed, of a price of %s %s uncollected', sequence, consumed,
                        priced, uncollected) AS description
FROM {cell}.entries
WHERE consumed <> priced - uncollected
   OR (kind IN ('COMMIT', 'CHARGE') AND uncollected NOT BETWEEN 0 AND priced)

-- name: returns_within_charge
-- What a period gave back of a charge when it closed does not come back again.
WITH charges AS MATERIALIZED (
    SELECT customer, sequence, coalesce(reservation, sequence) AS whole, consumed
    FROM {cell}.entries WHERE kind IN ('COMMIT', 'CHARGE')
), refunds AS MATERIALIZED (
    SELECT customer, subject AS sequence, sum(consumed) AS consumed
    FROM {cell}.entries WHERE kind = 'REFUND' GROUP BY 1, 2
)
SELECT customer, format('charge %s: %s collected, %s refunded', sequence, coalesce(c.consumed, 0),
                        -r.consumed) AS description
FROM refunds r LEFT JOIN charges c USING (customer, sequence)
WHERE coalesce(c.consumed, 0) + r.consumed < 0
UNION ALL
SELECT customer, format('reversal %s: gives back %s, %s was left', v.sequence, -v.consumed, l.consumed)
FROM {cell}.entries v
JOIN (SELECT c.customer, c.whole, sum(c.consumed + coalesce(r.consumed, 0)) AS consumed
      FROM charges c LEFT JOIN refunds r USING (customer, sequence) GROUP BY 1, 2) l USING (customer)
WHERE v.kind = 'REVERSAL' AND v.subject = l.whole AND v.consumed + l.consumed <> 0
  AND NOT (v.consumed + l.consumed > 0 AND EXISTS (
      SELECT FROM charges c
      JOIN {cell}.money m USING (customer, sequence)
      CROSS JOIN LATERAL json_array_elements(m.lines) AS t(line)
      WHERE c.customer = v.customer AND c.whole = l.whole AND (t.line -> 'memory') IS NOT NULL))

-- name: absorbed_within_cost
SELECT customer, format('%s: of a cost of %s, absorbed: failed outcome %s, uncollected %s, unpriced %s',
                        coalesce('reservation ' || reservation, 'charges'), cost, failed_outcome,
                        uncollected, unpriced) AS description
FROM (SELECT m.customer, e.reservation, -sum(m.cost) AS cost,
             sum(m.absorbed_failed_outcome) AS failed_outcome,
             sum(m.absorbed_uncollected) AS uncollected, sum(m.absorbed_unpriced) AS unpriced
      FROM {cell}.money m JOIN {cell}.entries e USING (customer, sequence) GROUP BY 1, 2) m
WHERE least(failed_outcome, uncollected, unpriced) < 0 OR failed_outcome + uncollected + unpriced > cost

-- name: margins_are_sums
SELECT customer, format('%s: revenue %s, cost %s, credits %s rolled up, of %s, %s, %s booked',
                        day, coalesce(r.revenue, 0), coalesce(r.cost, 0), coalesce(r.credits, 0),
                        coalesce(j.revenue, 0), coalesce(j.cost, 0), coalesce(j.credits, 0))
       AS description
FROM (SELECT day, customer, sum(revenue_nanousd) AS revenue, sum(cost_nanousd) AS cost,
             sum(credits) AS credits
      FROM {cell}.rollup_lines GROUP BY day, customer) r
FULL JOIN (SELECT (e.booked_at AT TIME ZONE 'UTC')::date AS day, e.customer, sum(m.revenue) AS revenue,
                  -sum(m.cost) AS cost, sum(e.priced) AS credits
           FROM {cell}.entries e
           LEFT JOIN {cell}.money m USING (customer, sequence)
           WHERE e.xid < (SELECT cursor FROM {cell}.tailer) GROUP BY 1, 2) j USING (day, customer)
WHERE (coalesce(r.revenue, 0), coalesce(r.cost, 0), coalesce(r.credits, 0))
      <> (coalesce(j.revenue, 0), coalesce(j.cost, 0), coalesce(j.credits, 0))

-- fragment: line_dimensions
day, customer, plan, card, kind, model, lever, key_owner

-- fragment: line_sums
lines, unpriced_lines, uncosted_lines, credits, revenue_nanousd, cost_nanousd, saved_nanousd, own_key_nanousd

-- name: lines_are_sums
-- What stands as kind '' has no lines: `margins_are_sums` proves it with the rest of its day.
SELECT customer, format('%s, plan %s, card %s, %s %s, lever %s, key of %s: {line_sums} are %s rolled up, %s'
                        ' booked', day, plan, card, kind, model, lever, key_owner, r.sums, j.sums)
       AS description
FROM (SELECT {line_dimensions}, ARRAY[{line_sums}]::numeric[] AS sums
      FROM {cell}.rollup_lines WHERE kind <> '') r
FULL JOIN (
    SELECT {line_dimensions},
           ARRAY[sum(sign), coalesce(sum(sign) FILTER (WHERE treatment = 'UNPRICED'), 0),
                 coalesce(sum(sign) FILTER (WHERE uncosted), 0), sum(credits_micros),
                 sum(revenue_nanousd), sum(cost_nanousd), coalesce(sum(saved_nanousd), 0),
                 coalesce(sum(own_key_nanousd), 0)]::numeric[] AS sums
    FROM (SELECT (e.booked_at AT TIME ZONE 'UTC')::date AS day, e.customer, e.plan,
                 coalesce(e.card, '') AS card,
                 l.kind, CASE l.kind WHEN 'tokens' THEN coalesce(l.name, '') ELSE '' END AS model,
                 coalesce(l.lever, '') AS lever, coalesce(l.key_owner, '') AS key_owner,
                 CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign,
                 l.treatment, l.uncosted, l.credits_micros, l.revenue_nanousd, l.cost_nanousd,
                 l.saved_nanousd, l.own_key_nanousd
          FROM {cell}.entries e
          JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence
                             AND m.house_sequence = 0,
               json_to_recordset(m.lines) AS l(
                   kind text, treatment text, uncosted boolean, name text, lever text, key_owner text,
                   credits_micros bigint, revenue_nanousd bigint, cost_nanousd bigint,
                   saved_nanousd bigint, own_key_nanousd bigint)
          WHERE e.xid < (SELECT cursor FROM {cell}.tailer)) lines
    GROUP BY {line_dimensions}
) j USING ({line_dimensions})
WHERE r.sums IS DISTINCT FROM j.sums

-- name: accounts_are_sums
-- Of accounts of lines the journal is proved by `lines_are_sums`; savings on own keys are no account.
SELECT NULL::bigint AS customer, format('%s, plan %s, card %s, account %s: %s rolled up, of %s booked',
                                        day, plan, card, account, coalesce(r.amount, 0),
                                        coalesce(j.amount, 0)) AS description
FROM (SELECT day, plan, card, account, sum(amount) AS amount
      FROM {cell}.rollup_accounts WHERE account NOT IN ({of_lines_alone}) GROUP BY 1, 2, 3, 4) r
FULL JOIN (
    SELECT day, plan, card, key AS account, sum(value::numeric) AS amount
    FROM (SELECT (e.booked_at AT TIME ZONE 'UTC')::date AS day, e.plan, coalesce(e.card, '') AS card,
                 {sums}
          FROM {cell}.entries e
          LEFT JOIN {cell}.money m USING (customer, sequence)
          WHERE e.xid < (SELECT cursor FROM {cell}.tailer) GROUP BY 1, 2, 3) s,
         jsonb_each_text(to_jsonb(s) - 'day' - 'plan' - 'card')
    GROUP BY 1, 2, 3, 4
) j USING (day, plan, card, account)
WHERE coalesce(r.amount, 0) <> coalesce(j.amount, 0)
UNION ALL
SELECT NULL, format('%s, plan %s, card %s, kind %s, lever %s, account %s: %s rolled up, of %s of lines',
                    day, plan, card, kind, lever, account, coalesce(r.amount, 0), coalesce(j.amount, 0))
FROM (SELECT * FROM {cell}.rollup_accounts WHERE account IN ({of_lines})) r
FULL JOIN (
    SELECT day, plan, card, kind, of_lever AS lever, account, sum(amount) AS amount
    FROM {cell}.rollup_lines l,
         LATERAL (VALUES ('', 'revenue', revenue_nanousd), ('', 'cost', -cost_nanousd),
                         ('', 'priced', credits), ('', 'unpriced_lines', unpriced_lines),
                         ('', 'uncosted_lines', uncosted_lines), ('', 'own_key', own_key_nanousd),
                         (l.lever, 'saved', CASE WHEN key_owner <> 'CUSTOMER' THEN saved_nanousd END))
             AS a(of_lever, account, amount)
    GROUP BY 1, 2, 3, 4, 5, 6
) j USING (day, plan, card, kind, lever, account)
WHERE coalesce(r.amount, 0) <> coalesce(j.amount, 0)

-- name: states_are_due
SELECT customer, format('%s has a surplus of %s that is due at %s; the wallet is due at %s', key, surplus,
                        coalesce(closes_at::text, 'no instant'), coalesce(w.next_due_at::text, 'none'))
       AS description
FROM {cell}.states s LEFT JOIN {cell}.wallets w USING (customer)
WHERE surplus <> 0 AND (closes_at >= w.next_due_at) IS NOT TRUE
  -- A period that has closed may keep a surplus that refunds have left nothing of to give back.
  AND NOT (surplus > 0 AND closes_at IS NULL AND collected = 0 AND uncollected = 0)
UNION ALL
SELECT customer, format('%s: surplus %s, collected %s, uncollected %s, revenue %s', key, surplus,
                        collected, uncollected, revenue_nanousd)
FROM {cell}.states WHERE least(collected, uncollected, revenue_nanousd) < 0
UNION ALL
SELECT customer, format('%s has collected %s, the customer consumed %s', key, collected, w.consumed)
FROM {cell}.states s JOIN {cell}.wallets w USING (customer) WHERE collected > w.consumed

-- name: remainders_are_carried
-- Thirds have no end in decimals: sums may differ by what their last digits leave. A wallet that is full of
-- tallies has forgotten some.
SELECT customer, format('%s: %s micro-credits are carried, the entries say %s', key, coalesce(stored, 0),
                        coalesce(noted, 0)) AS description
FROM (SELECT w.customer, t.key,
             split_part(t.value ->> 0, '/', 1)::numeric(90, 30)
             / split_part(t.value ->> 0, '/', 2)::numeric - (t.value ->> 1)::numeric AS stored
      FROM {cell}.wallets w, json_each(w.tallies) t) k
FULL JOIN (SELECT m.customer, r.key,
                  sum(split_part(r.value, '/', 1)::numeric(90, 30) / split_part(r.value, '/', 2)::numeric)
                  AS noted
           FROM {cell}.money m, json_each_text(m.remainders) r GROUP BY 1, 2) n USING (customer, key)
WHERE abs(coalesce(stored, 0) - coalesce(noted, 0)) > 0.000001
  AND customer NOT IN (SELECT f.customer FROM {cell}.wallets f, json_object_keys(f.tallies)
                       GROUP BY 1 HAVING count(*) >= {tallies_max})

-- name: budgets_are_counts
-- What work counts that begins in a budget's window: what a reservation holds, what was charged, but for what pools
-- paid; nothing of what was reversed.
SELECT customer, format('%s has counted %s, its work amounts to %s', key, coalesce(counted::text, 'nothing'),
                        coalesce(due, 0)) AS description
FROM (SELECT customer, key, state::numeric AS counted
      FROM {cell}.states WHERE key >= 'budget:' AND key < 'budget;') s
FULL JOIN (
    SELECT w.customer, k.key, sum(w.micros) AS due
    FROM (
        SELECT b.customer, b.counters, r.held AS micros
        FROM {cell}.budgeted b JOIN {cell}.reservations r USING (customer, sequence)
        UNION ALL
        SELECT b.customer, b.counters, c.micros
        FROM {cell}.budgeted b
        JOIN (
            SELECT customer, CASE kind WHEN 'COMMIT' THEN reservation ELSE sequence END AS sequence,
                   priced - uncollected - CASE WHEN lines::text LIKE '%"pool_micros"%' THEN (
                       SELECT coalesce(sum(l.pool_micros), 0)
                       FROM json_to_recordset(lines) AS l(pool_micros bigint)
                   ) ELSE 0 END AS micros
            FROM {cell}.entries WHERE kind IN ('COMMIT', 'CHARGE')
        ) c USING (customer, sequence)
        LEFT JOIN {cell}.entries v
            ON v.customer = b.customer AND v.subject = b.sequence AND v.kind = 'REVERSAL'
        WHERE v.customer IS NULL
    ) w, json_array_elements_text(w.counters) AS k(key)
    WHERE w.counters IS NOT NULL
    GROUP BY 1, 2
) j USING (customer, key)
WHERE counted IS DISTINCT FROM coalesce(due, 0)
  -- What may have been swept: its window began so long ago that it has ended, however short the clock made it.
  AND (counted IS NULL AND now() - interval '{stored_seconds} seconds' >=
      (nullif(replace(split_part(key, ':', 4), '.', ':'), '') || 'Z')::timestamptz
      + CASE split_part(key, ':', 3) WHEN 'HOUR' THEN interval '30 minutes' WHEN 'DAY' THEN interval '22 hours'
             WHEN 'WEEK' THEN interval '166 hours' ELSE interval '670 hours' END) IS NOT TRUE
