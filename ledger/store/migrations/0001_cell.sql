-- All tables of the customers of one cell. Keys start with the customer: appends stay local in the index.

CREATE TABLE wallets (
    customer bigint PRIMARY KEY,
    sequence bigint NOT NULL,
    display_name text NOT NULL,
    plan text NOT NULL,
    card text,
    zone text NOT NULL,
    multiplier_nanos bigint NOT NULL CHECK (multiplier_nanos > 0),
    issued bigint NOT NULL,
    pending bigint NOT NULL,
    available bigint NOT NULL,
    held bigint NOT NULL,
    consumed bigint NOT NULL,
    expired bigint NOT NULL,
    voided bigint NOT NULL,
    refunded bigint NOT NULL,
    debt bigint NOT NULL,
    next_due_at timestamptz,
    last_instant timestamptz NOT NULL,
    -- {card or pool: [exact, billed]}: what rounding has left over. Exact prices may rest on costs: closed to
    -- the reader.
    tallies json,
    created_at timestamptz NOT NULL,
    -- Drawn at random by each write: a sequence comes round again where the database has lost its last
    -- transactions, this does not. Of no use to the reader, who may not select it.
    token bigint NOT NULL,
    -- That balances sum to 0 follows from the journal, which is checked: every check is read anew by every
    -- statement, and this one would be a tenth of a small write.
    CHECK (least(pending, available, held, expired, voided, refunded, -debt) >= 0)
) WITH (fillfactor = 50);
CREATE INDEX wallets_due ON wallets (next_due_at) WHERE next_due_at IS NOT NULL;

-- The price of what a customer owes: closed to the reader, as all dollars are.
CREATE TABLE debts (
    customer bigint PRIMARY KEY,
    unbilled_nanousd bigint NOT NULL CHECK (unbilled_nanousd <= 0)
);

-- The journal: one event, one row. It is the idempotency record and the statement line too.
CREATE TABLE entries (
    customer bigint NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    kind text NOT NULL,
    request_id text CHECK (length(request_id) BETWEEN 1 AND 128),
    fingerprint bytea,
    issued bigint NOT NULL,
    pending bigint NOT NULL,
    available bigint NOT NULL,
    held bigint NOT NULL,
    consumed bigint NOT NULL,
    expired bigint NOT NULL,
    voided bigint NOT NULL,
    refunded bigint NOT NULL,
    debt bigint NOT NULL,
    -- The customer's balances after it: any balance of the past is that of the last entry up to its instant.
    issued_after bigint NOT NULL,
    pending_after bigint NOT NULL,
    available_after bigint NOT NULL,
    held_after bigint NOT NULL,
    consumed_after bigint NOT NULL,
    expired_after bigint NOT NULL,
    voided_after bigint NOT NULL,
    refunded_after bigint NOT NULL,
    debt_after bigint NOT NULL,
    -- Between lots of one customer (rollovers, refunds over expired lots): no posting.
    moved bigint NOT NULL DEFAULT 0,
    effective_at timestamptz NOT NULL,
    booked_at timestamptz NOT NULL,
    occurred_at timestamptz,
    reservation bigint,
    reservation_state text,
    reservation_held bigint,
    reservation_charged bigint,
    reservation_expires_at timestamptz,
    subject bigint,
    subject_n integer,
    card text,
    card_version integer,
    cost_version integer,
    credit_price_nanousd bigint,
    multiplier_nanos bigint,
    plan text NOT NULL,
    priced bigint NOT NULL,
    uncollected bigint NOT NULL,
    late boolean NOT NULL,
    final boolean NOT NULL,
    reason text,
    labels json,
    -- Array of lines as the customer may see them. A line that draws on a pool has two amounts.
    lines json,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (customer, sequence),
    -- A sum beyond 64 bits is an error, too.
    CHECK (issued + pending + available + held + consumed + expired + voided + refunded + debt = 0)
);
CREATE UNIQUE INDEX entries_request_id ON entries (customer, request_id);
CREATE UNIQUE INDEX entries_reversed ON entries (customer, subject) WHERE kind = 'REVERSAL';
CREATE INDEX entries_refunded ON entries (customer, subject) WHERE kind = 'REFUND';
-- What a reservation's parts booked; its last entry may carry what was absorbed.
CREATE INDEX entries_reservation ON entries (customer, reservation, sequence)
    WHERE kind IN ('COMMIT', 'RELEASE', 'RESERVATION_EXPIRED');
-- What may have paid a debt since, or given back what paid it.
CREATE INDEX entries_returns ON entries (customer, sequence)
    WHERE kind IN ('GRANT', 'GRANT_STARTED', 'REVERSAL', 'REFUND');
-- Every 64th entry: as a customer's instants never go back, the entries of any instant stand between two of these.
CREATE INDEX entries_milestones ON entries (customer, effective_at, sequence) WHERE sequence % 64 = 0;
CREATE INDEX entries_xid ON entries (xid);

-- The dollars of an entry, and all that tells cost. A dollar-only entry has no sequence: it counts in a
-- house_sequence of its own, so that the customer's tells nothing of it.
CREATE TABLE money (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    house_sequence bigint NOT NULL DEFAULT 0,
    receivable bigint NOT NULL,
    unbilled bigint NOT NULL,
    refund_payable bigint NOT NULL,
    deferred bigint NOT NULL,
    revenue bigint NOT NULL,
    breakage bigint NOT NULL,
    write_off bigint NOT NULL,
    cost bigint NOT NULL,
    provider_payable bigint NOT NULL,
    debt_value bigint NOT NULL,
    absorbed_failed_outcome bigint NOT NULL,
    absorbed_uncollected bigint NOT NULL,
    absorbed_unpriced bigint NOT NULL,
    -- [{kind, treatment, credits_micros, revenue_nanousd, cost_nanousd, …what pricing said}]; with
    -- saved_nanousd and own_key_nanousd where they are not 0
    lines json,
    -- [[lot sequence, n, micros, value_nanousd]]
    draws json,
    -- {card or pool: num/den}: how much more is carried since the entry, in micro-credits.
    remainders json,
    booked_at timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (customer, sequence, house_sequence),
    CHECK ((sequence > 0) <> (house_sequence > 0)),
    CHECK (receivable + unbilled + refund_payable + deferred + revenue + breakage + write_off + cost
           + provider_payable = 0)
);

CREATE TABLE reservations (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    state text NOT NULL,
    card text NOT NULL,
    card_version integer NOT NULL,
    cost_version integer NOT NULL,
    credit_price_nanousd bigint NOT NULL,
    multiplier_nanos bigint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    held bigint NOT NULL CHECK (held >= 0),
    -- [[lot sequence, n, micros]] in burn order
    pins json NOT NULL,
    priced bigint NOT NULL,
    charged bigint NOT NULL,
    has_outcome_rule boolean NOT NULL,
    outcome_charged boolean NOT NULL,
    own_run text,
    -- What it held when it expired, less what late commits have been charged.
    lapsed bigint NOT NULL CHECK (lapsed >= 0),
    labels json,
    PRIMARY KEY (customer, sequence)
) WITH (fillfactor = 50);
CREATE INDEX reservations_open ON reservations (customer, expires_at, sequence) WHERE state = 'OPEN';

-- What the parts of a reservation that is still open to commits have cost (exact amounts as num/den).
CREATE TABLE reservation_costs (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    cost_exact text NOT NULL,
    included_exact text NOT NULL,
    unpriced_exact text NOT NULL,
    posted bigint NOT NULL,
    absorbed_failed_outcome bigint NOT NULL,
    absorbed_uncollected bigint NOT NULL,
    absorbed_unpriced bigint NOT NULL,
    saved_exact text NOT NULL,
    own_key_exact text NOT NULL,
    PRIMARY KEY (customer, sequence)
);

CREATE TABLE lots (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    n integer NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    remaining bigint NOT NULL,
    held bigint NOT NULL CHECK (held BETWEEN 0 AND remaining),
    moved_in bigint NOT NULL DEFAULT 0,
    moved_out bigint NOT NULL DEFAULT 0,
    priority integer NOT NULL,
    scope text,
    effective_at timestamptz NOT NULL,
    expires_at timestamptz,
    status text NOT NULL,
    -- A column of its own: an index on `remaining` itself would cost every draw its in-page (HOT) update.
    live boolean NOT NULL GENERATED ALWAYS AS (remaining > 0) STORED,
    PRIMARY KEY (customer, sequence, n)
) WITH (fillfactor = 50);
CREATE INDEX lots_live ON lots (customer) WHERE live;

CREATE TABLE lot_values (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    n integer NOT NULL,
    value_nanousd bigint NOT NULL CHECK (value_nanousd >= 0),
    PRIMARY KEY (customer, sequence, n)
) WITH (fillfactor = 50);

-- What prices remember, by key: runs that callers named, counters of periods, marks of what is charged once.
-- The text is pricing's. What its lines have booked tells revenue: closed to the reader.
CREATE TABLE states (
    customer bigint NOT NULL,
    key text NOT NULL,
    state text NOT NULL,
    -- When the surplus goes back to the customer; one below 0 is due, and is charged then. NULL: never, or it was;
    -- a surplus that is kept then could not go back, for refunds had left no more of it.
    closes_at timestamptz,
    surplus bigint NOT NULL,
    collected bigint NOT NULL,
    uncollected bigint NOT NULL,
    revenue_nanousd bigint NOT NULL,
    card text,
    card_version integer,
    cost_version integer,
    credit_price_nanousd bigint,
    multiplier_nanos bigint,
    PRIMARY KEY (customer, key)
) WITH (fillfactor = 50);
CREATE INDEX states_due ON states (customer, closes_at) WHERE surplus <> 0;

-- Rows as the batched write takes them: an array of texts for each kind, each the literal of one of these types.
-- They say what is bound, not what is kept; the tables may have more columns.
CREATE TYPE wallet_row AS (
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text,
    multiplier_nanos bigint, issued bigint, pending bigint, available bigint, held bigint, consumed bigint, expired bigint, voided bigint,
    refunded bigint, debt bigint, next_due_at timestamptz, last_instant timestamptz,
    tallies json
);
CREATE TYPE entry_row AS (
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea, issued bigint,
    pending bigint, available bigint, held bigint, consumed bigint, expired bigint, voided bigint,
    refunded bigint, debt bigint, issued_after bigint, pending_after bigint, available_after bigint,
    held_after bigint, consumed_after bigint, expired_after bigint, voided_after bigint, refunded_after
    bigint, debt_after bigint, effective_at timestamptz, booked_at timestamptz, occurred_at timestamptz,
    reservation bigint, reservation_state text, reservation_held bigint, reservation_charged bigint,
    reservation_expires_at timestamptz, subject bigint, subject_n integer, card text, card_version integer,
    cost_version integer, credit_price_nanousd bigint, multiplier_nanos bigint, plan text, priced bigint, uncollected bigint,
    late boolean, final boolean, reason text, labels json, lines json
);
CREATE TYPE money_row AS (
    customer bigint, sequence bigint, receivable bigint, unbilled bigint, refund_payable bigint, deferred
    bigint, revenue bigint, breakage bigint, write_off bigint, cost bigint, provider_payable bigint,
    debt_value bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced
    bigint, lines json, draws json, remainders json, booked_at timestamptz
);
CREATE TYPE reservation_row AS (
    customer bigint, sequence bigint, state text, card text, card_version integer, cost_version integer,
    credit_price_nanousd bigint, multiplier_nanos bigint, created_at timestamptz, expires_at timestamptz, held bigint, pins json,
    priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text,
    lapsed bigint, labels json
);
CREATE TYPE reservation_change AS (
    customer bigint, sequence bigint, state text, expires_at timestamptz, held bigint, pins json,
    priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text,
    lapsed bigint
);
CREATE TYPE reservation_costs_row AS (
    customer bigint, sequence bigint, cost_exact text, included_exact text, unpriced_exact text, posted
    bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    saved_exact text, own_key_exact text
);
CREATE TYPE lot_row AS (
    customer bigint, sequence bigint, n integer, kind text, amount bigint, remaining bigint, held bigint,
    priority integer, scope text, effective_at timestamptz, expires_at timestamptz, status text
);
CREATE TYPE lot_change AS (
    customer bigint, sequence bigint, n integer, remaining bigint, held bigint, status text
);
CREATE TYPE lot_value_row AS (
    customer bigint, sequence bigint, n integer, value_nanousd bigint
);
CREATE TYPE state_row AS (
    customer bigint, key text, state text, closes_at timestamptz, surplus bigint, collected bigint,
    uncollected bigint, revenue_nanousd bigint, card text, card_version integer, cost_version integer,
    credit_price_nanousd bigint, multiplier_nanos bigint
);
CREATE TYPE debt_row AS (
    customer bigint, unbilled_nanousd bigint
);
CREATE TYPE audit_row AS (
    customer bigint, sequence bigint, key_id text, name text, method text, request_id text, before json, after json
);

-- Derived from the journal by the tailer; its cursor moves in the same transaction.
CREATE TABLE rollup_lines (
    day date NOT NULL,
    customer bigint NOT NULL,
    plan text NOT NULL,
    card text NOT NULL,
    kind text NOT NULL,
    model text NOT NULL,
    lever text NOT NULL,
    -- Whose key it was: OURS, CUSTOMER; '' where there is no key to own.
    key_owner text NOT NULL,
    lines bigint NOT NULL,
    unpriced_lines bigint NOT NULL,
    -- Those whose cost nobody knows.
    uncosted_lines bigint NOT NULL,
    credits numeric NOT NULL,
    revenue_nanousd numeric NOT NULL,
    cost_nanousd numeric NOT NULL,
    -- Memos: what levers saved (on the customer's own key: the customer), and what the customer paid there.
    saved_nanousd numeric NOT NULL,
    own_key_nanousd numeric NOT NULL,
    PRIMARY KEY (day, customer, plan, card, kind, model, lever, key_owner)
);
-- For the verification of some customers, and their margins.
CREATE INDEX rollup_lines_customer ON rollup_lines (customer, day);

CREATE TABLE rollup_accounts (
    day date NOT NULL,
    plan text NOT NULL,
    card text NOT NULL,
    -- Of a line's amounts (revenue, cost, priced, unpriced_lines, uncosted_lines, saved, own_key) the line's kind, else ''.
    kind text NOT NULL,
    -- Of what a lever saved, which one; else ''.
    lever text NOT NULL,
    -- consumed, issued … ; revenue, deferred … ; absorbed_failed_outcome …, uncollected, saved (memos)
    account text NOT NULL,
    amount numeric NOT NULL,
    PRIMARY KEY (day, plan, card, kind, lever, account)
);

CREATE TABLE tailer (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Every transaction below this one is in the rollups, none above it.
    cursor xid8 NOT NULL DEFAULT '0',
    -- Everything booked up to this instant is in them; null until that is known of any.
    as_of timestamptz,
    -- A transaction id that was given out after `marked_at`: once the cursor is there, `as_of` follows.
    mark xid8,
    marked_at timestamptz
);
INSERT INTO tailer DEFAULT VALUES;

-- What the verification of customers' books has found. The row of a finding that has ended stays.
CREATE TABLE findings (
    -- Told to callers who are refused for it.
    finding text PRIMARY KEY,
    customer bigint NOT NULL,
    -- Of the customer's books, or of the rollups that were made of them.
    part text NOT NULL CHECK (part IN ('BOOKS', 'ROLLUPS')),
    -- The customer takes no writes while this stands.
    stops boolean NOT NULL CHECK (part = 'BOOKS' OR NOT stops),
    invariants text[] NOT NULL,
    violations bigint NOT NULL CHECK (violations > 0),
    -- The first violation of each invariant. May tell dollars: closed to the reader.
    description text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the books verified again.
    ended_at timestamptz
);
CREATE UNIQUE INDEX findings_open ON findings (customer, part) WHERE ended_at IS NULL;

-- How far the verification of all customers in turn is, and which process is at it.
CREATE TABLE watch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder text,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Every customer up to this number is verified in this round.
    passed bigint NOT NULL DEFAULT -1,
    verified bigint NOT NULL DEFAULT 0,
    -- As many as there were when the round began.
    customers bigint NOT NULL DEFAULT 0,
    round_began_at timestamptz NOT NULL DEFAULT now(),
    -- Each customer was verified, or made, since: when the last whole round began.
    verified_since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO watch DEFAULT VALUES;

-- The accountant's journal: a row per posting. `security_invoker`: a plain view would show the tables with
-- its owner's rights.
CREATE VIEW journal WITH (security_invoker = true) AS
SELECT e.customer, e.sequence, e.kind, e.effective_at, e.booked_at, p.account, p.amount_micros
FROM entries e CROSS JOIN LATERAL (VALUES
    ('issued', e.issued), ('pending', e.pending), ('available', e.available), ('held', e.held),
    ('consumed', e.consumed), ('expired', e.expired), ('voided', e.voided), ('refunded', e.refunded),
    ('debt', e.debt)) AS p (account, amount_micros)
WHERE p.amount_micros <> 0;

CREATE VIEW dollar_journal WITH (security_invoker = true) AS
SELECT m.customer, m.sequence, m.house_sequence, m.booked_at, p.account, p.amount_nanousd
FROM money m CROSS JOIN LATERAL (VALUES
    ('receivable', m.receivable), ('unbilled', m.unbilled), ('refund_payable', m.refund_payable),
    ('deferred', m.deferred), ('revenue', m.revenue), ('breakage', m.breakage), ('write_off', m.write_off),
    ('cost', m.cost), ('provider_payable', m.provider_payable)) AS p (account, amount_nanousd)
WHERE p.amount_nanousd <> 0;
