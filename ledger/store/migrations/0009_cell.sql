-- What recurs: where a customer stands with each recurring grant of a plan that it is, or was, on.
CREATE TABLE renewals (
    customer bigint NOT NULL,
    plan text NOT NULL,
    -- By the plan's name for it; '' for the customer's coming to the plan, by which the others begin.
    recurring text NOT NULL,
    -- When it is due again; NULL: never.
    next_at timestamptz,
    every text NOT NULL,
    -- A day on which it recurs, in the customer's zone.
    anchor date NOT NULL,
    -- [[lot sequence, n]]: what ends at the next renewal, and may roll over then.
    lots json NOT NULL,
    PRIMARY KEY (customer, plan, recurring)
);

-- The plan's name for the grant that a lot is of, and what of the lot was moved to another at a renewal.
ALTER TABLE grants ADD COLUMN recurring text, ADD COLUMN rolled_over bigint NOT NULL DEFAULT 0 CHECK (rolled_over >= 0);

-- Rows as the batched write takes them. Those of 0001 to 0008 stay, for servers of the version before.
CREATE TYPE renewal_sent AS (
    customer bigint, plan text, recurring text, next_at integer, every text, anchor date, lots json
);
CREATE TYPE grant_known_sent AS (
    customer bigint, sequence bigint, n integer, paid_nanousd bigint, external_reference text, note text,
    ended bigint, refunded bigint, taken_off_nanousd bigint, rolled_over bigint, recurring text
);
