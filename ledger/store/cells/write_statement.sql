-- fragment: head
WITH locked AS MATERIALIZED (
    SELECT w.customer, x.updates
    FROM {cell}.wallets w,
         unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::integer[])
             AS x(customer, before, token, updates)
    WHERE w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
    ORDER BY w.customer FOR UPDATE OF w SKIP LOCKED
), shared AS (
    SELECT {shared}
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS at, count(*) AS locks FROM locked
), fresh AS MATERIALIZED (
    SELECT c.at, $5::timestamptz >= c.at - interval '{fresh_seconds} seconds'
                 AND $6::timestamptz <= c.at + interval '{fresh_seconds} seconds' AS yes,
           $7::bigint AS token
    FROM clock c
){repeated_first}, l AS MATERIALIZED (
    SELECT locked.customer, locked.updates FROM locked, fresh WHERE fresh.yes{and_unrepeated}
)

-- fragment: known
-- Where the statement probes, of all parts that have request ids.
, known AS MATERIALIZED ({of_parts})

-- fragment: unrepeated
AND (locked.customer IN (SELECT known.customer FROM known)) IS NOT TRUE

-- fragment: repeats
SELECT e.customer
FROM {rows} JOIN {cell}.entries e ON e.customer = x.customer AND e.request_id = x.request_id

-- fragment: applies
(x.customer IN (SELECT l.customer FROM l)) IS TRUE

-- fragment: applied
{rows} WHERE {applies}

-- fragment: part
, {name} AS ({sql})

-- fragment: insert
INSERT INTO {cell}.{table} ({columns})
SELECT {values} FROM {source}

-- fragment: wallets
-- Name and policies are sent only where they may have changed: no plan, no change.
UPDATE {cell}.wallets w SET
    sequence = x.sequence,
    display_name = coalesce(x.display_name, w.display_name), plan = coalesce(x.plan, w.plan),
    card = CASE WHEN x.plan IS NULL THEN w.card ELSE x.card END, zone = coalesce(x.zone, w.zone),
    multiplier_nanos = coalesce(x.multiplier_nanos, w.multiplier_nanos),
    plan_overrides = CASE WHEN x.plan IS NULL THEN w.plan_overrides ELSE x.plan_overrides END,
    issued = x.issued, pending = x.pending, available = x.available, held = x.held,
    consumed = x.consumed, expired = x.expired, voided = x.voided, refunded = x.refunded, debt = x.debt,
    next_due_at = {next_due_at}, last_instant = {last_instant}, tallies = x.tallies,
    token = (SELECT fresh.token FROM fresh)
FROM {rows} WHERE w.customer = x.customer AND {applies} RETURNING 1

-- fragment: labels
-- Without labels of its own a reservation's entry has those of the reservation, which was there before.
coalesce(x.labels, (
    SELECT r.labels FROM {cell}.reservations r
    WHERE r.customer = x.customer AND r.sequence = x.reservation))

-- fragment: holds
SELECT x.* FROM {applied}
), holds_entries AS (
{holds_entries}
), holds_reservations AS (
{holds_reservations}

-- fragment: held
x.customer, x.sequence, x.hold_state, {terms}, {effective_at}, {hold_expires_at}, x.hold_held, x.hold_pins,
x.hold_priced, x.hold_charged, x.has_outcome_rule, x.outcome_charged, x.own_run, x.lapsed, x.labels

-- fragment: reservations_changed
UPDATE {cell}.reservations r SET
    state = x.state, expires_at = {expires_at}, held = x.held, pins = x.pins,
    priced = x.priced, charged = x.charged,
    has_outcome_rule = x.has_outcome_rule, outcome_charged = x.outcome_charged, own_run = x.own_run,
    lapsed = x.lapsed
FROM {rows}
WHERE r.customer = x.customer AND r.sequence = x.sequence AND {applies} RETURNING 1

-- fragment: costs_stand
ON CONFLICT (customer, sequence) DO UPDATE SET
    cost_exact = excluded.cost_exact, included_exact = excluded.included_exact,
    unpriced_exact = excluded.unpriced_exact, posted = excluded.posted,
    absorbed_failed_outcome = excluded.absorbed_failed_outcome,
    absorbed_uncollected = excluded.absorbed_uncollected,
    absorbed_unpriced = excluded.absorbed_unpriced,
    saved_exact = excluded.saved_exact, own_key_exact = excluded.own_key_exact

-- fragment: lots_changed
-- What a grant is does not change, unless somebody extends it; what is left of it does.
UPDATE {cell}.lots t SET remaining = x.remaining, held = x.held, status = x.status
FROM {rows}
WHERE t.customer = x.customer AND t.sequence = x.sequence AND t.n = x.n AND {applies} RETURNING 1

-- fragment: lots_extended
-- No row is updated twice in one statement: all that may change of a lot goes in one.
UPDATE {cell}.lots t SET
    remaining = x.remaining, held = x.held, status = x.status, priority = x.priority, expires_at = {expires_at}
FROM {rows}
WHERE t.customer = x.customer AND t.sequence = x.sequence AND t.n = x.n AND {applies} RETURNING 1

-- fragment: grant_stands
-- What has ended, is taken off or rolled over is added up; the rest is said once, but for what is paid in the end.
ON CONFLICT (customer, sequence, n) DO UPDATE SET
    paid_nanousd = coalesce(excluded.paid_nanousd, grants.paid_nanousd),
    ended = grants.ended + excluded.ended, refunded = grants.refunded + excluded.refunded,
    taken_off_nanousd = grants.taken_off_nanousd + excluded.taken_off_nanousd,
    given_up = grants.given_up + excluded.given_up,
    rolled_over = grants.rolled_over + excluded.rolled_over,
    recurring = coalesce(grants.recurring, excluded.recurring)

-- fragment: renewal_stands
ON CONFLICT (customer, plan, recurring) DO UPDATE SET
    next_at = excluded.next_at, every = excluded.every, anchor = excluded.anchor, lots = excluded.lots

-- fragment: values_changed
-- A hold takes no value: most rows stay as they are, so their number tells nothing. The lot itself is
-- counted, and its value is born with it.
UPDATE {cell}.lot_values v SET value_nanousd = x.value_nanousd
FROM {rows}
WHERE v.customer = x.customer AND v.sequence = x.sequence AND v.n = x.n
  AND v.value_nanousd <> x.value_nanousd AND {applies}

-- fragment: state_stands
ON CONFLICT (customer, key) DO UPDATE SET
    state = excluded.state, closes_at = excluded.closes_at, surplus = excluded.surplus,
    collected = excluded.collected, uncollected = excluded.uncollected,
    revenue_nanousd = excluded.revenue_nanousd, card = excluded.card,
    card_version = excluded.card_version, cost_version = excluded.cost_version,
    credit_price_nanousd = excluded.credit_price_nanousd, multiplier_nanos = excluded.multiplier_nanos

-- fragment: debt_stands
ON CONFLICT (customer) DO UPDATE SET unbilled_nanousd = excluded.unbilled_nanousd

-- fragment: audit
-- The directory keeps a customer for ever: without its id there is no row, and then no batch.
INSERT INTO ledger.audit ({audit_columns}, resource)
SELECT {audit_values},
       (SELECT '{customers}' || c.customer_id FROM ledger.customers c WHERE c.customer = x.customer)
FROM {applied}

-- fragment: tail
SELECT (SELECT array_agg(l.customer) FROM l) AS customers, fresh.at AS clock, NOT fresh.yes AS stale,
       {repeated} AS repeated, 1 / (({updated}) = (SELECT coalesce(sum(l.updates), 0) FROM l))::int AS whole
FROM fresh

-- name: check
-- The verdict for a batch of refusals only: nothing to write, nothing to lock.
SELECT array_agg(w.customer) AS customers, clock_timestamp() AS clock
FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) AS x(customer, before, token)
JOIN {cell}.wallets w ON w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
