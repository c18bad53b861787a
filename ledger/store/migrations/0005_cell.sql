-- Credits that are bought anew: what was requested, and what came of it.
CREATE TABLE top_ups (
    customer bigint NOT NULL,
    -- 1, 2, 3 … of the customer.
    number integer NOT NULL CHECK (number > 0),
    -- Of the command that states its grant. Drawn at random: no caller has used it for something else.
    request_id text NOT NULL UNIQUE DEFAULT 'topup_' || replace(gen_random_uuid()::text, '-', ''),
    state text NOT NULL CHECK (state IN ('REQUESTED', 'SUCCEEDED', 'FAILED')),
    failure text CHECK (state <> 'FAILED' OR failure IS NOT NULL),
    attempt integer NOT NULL CHECK (attempt > 0),
    amount bigint NOT NULL CHECK (amount > 0),
    -- What the customer pays: closed to the reader, as all dollars are.
    price_nanousd bigint NOT NULL CHECK (price_nanousd > 0),
    -- Of its grant.
    expires_at timestamptz,
    requested_at timestamptz NOT NULL DEFAULT now(),
    answer_by timestamptz NOT NULL,
    -- The lot, once it was reported as requested.
    grant_sequence bigint,
    ended_at timestamptz CHECK ((ended_at IS NULL) = (state = 'REQUESTED')),
    PRIMARY KEY (customer, number)
);
-- A customer has one on its way, whichever processes look at it.
CREATE UNIQUE INDEX top_ups_requested ON top_ups (customer) WHERE state = 'REQUESTED';

-- Customers that have fewer credits left than their plan's threshold, or a top-up on its way.
CREATE TABLE top_up_needs (
    customer bigint PRIMARY KEY,
    -- One after the other.
    failed_attempts integer NOT NULL DEFAULT 0,
    -- The next attempt.
    not_before timestamptz,
    look_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX top_up_needs_due ON top_up_needs (look_at);
