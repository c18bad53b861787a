-- Rows as the batched write takes them, leaner: an instant, or terms, is a number, the place in the arrays that go
-- along with the rows; a hold and the reservation that it makes are one row. The tables stay as they are, and so do
-- the types of 0001, for servers of the version before write on by them while they are replaced.

CREATE TYPE wallet_sent AS (
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text, multiplier_nanos
    bigint, issued bigint, pending bigint, available bigint, held bigint, consumed bigint, expired bigint,
    voided bigint, refunded bigint, debt bigint, next_due_at integer, last_instant integer, tallies json
);
CREATE TYPE entry_sent AS (
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea, issued bigint, pending
    bigint, available bigint, held bigint, consumed bigint, expired bigint, voided bigint, refunded bigint, debt
    bigint, issued_after bigint, pending_after bigint, available_after bigint, held_after bigint, consumed_after
    bigint, expired_after bigint, voided_after bigint, refunded_after bigint, debt_after bigint, effective_at
    integer, booked_at integer, occurred_at integer, reservation bigint, reservation_state text,
    reservation_held bigint, reservation_charged bigint, reservation_expires_at integer, subject bigint,
    subject_n integer, terms integer, plan text, priced bigint, uncollected bigint, late boolean, final boolean,
    reason text, labels json, lines json
);
CREATE TYPE money_sent AS (
    customer bigint, sequence bigint, receivable bigint, unbilled bigint, refund_payable bigint, deferred
    bigint, revenue bigint, breakage bigint, write_off bigint, cost bigint, provider_payable bigint, debt_value
    bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint, lines json,
    draws json, remainders json, booked_at integer
);
CREATE TYPE hold_sent AS (
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea, issued bigint, pending
    bigint, available bigint, held bigint, consumed bigint, expired bigint, voided bigint, refunded bigint, debt
    bigint, issued_after bigint, pending_after bigint, available_after bigint, held_after bigint, consumed_after
    bigint, expired_after bigint, voided_after bigint, refunded_after bigint, debt_after bigint, effective_at
    integer, booked_at integer, occurred_at integer, reservation bigint, reservation_state text,
    reservation_held bigint, reservation_charged bigint, reservation_expires_at integer, subject bigint,
    subject_n integer, terms integer, plan text, priced bigint, uncollected bigint, late boolean, final boolean,
    reason text, labels json, lines json, hold_state text, hold_expires_at integer, hold_held bigint, hold_pins
    json, hold_priced bigint, hold_charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run
    text, lapsed bigint
);
CREATE TYPE reservation_change_sent AS (
    customer bigint, sequence bigint, state text, expires_at integer, held bigint, pins json, priced bigint,
    charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text, lapsed bigint
);
CREATE TYPE lot_sent AS (
    customer bigint, sequence bigint, n integer, kind text, amount bigint, remaining bigint, held bigint,
    priority integer, scope text, effective_at integer, expires_at integer, status text
);
CREATE TYPE state_sent AS (
    customer bigint, key text, state text, closes_at integer, surplus bigint, collected bigint, uncollected
    bigint, revenue_nanousd bigint, terms integer
);
