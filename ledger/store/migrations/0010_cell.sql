-- A customer's own fields of its plan (JSON); NULL: none. Servers of the version before neither read nor write it.
ALTER TABLE wallets ADD COLUMN plan_overrides text;
-- They are few, and who follows the journal looks for them.
CREATE INDEX wallets_overridden ON wallets (customer) WHERE plan_overrides IS NOT NULL;

-- Rows as the batched write takes them: wallet_sent stays, for servers of the version before.
CREATE TYPE wallet_overridden_sent AS (
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text,
    multiplier_nanos bigint, plan_overrides text, issued bigint, pending bigint, available bigint, held bigint,
    consumed bigint, expired bigint, voided bigint, refunded bigint, debt bigint, next_due_at integer,
    last_instant integer, tallies json
);
