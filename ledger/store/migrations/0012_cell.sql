-- What of a grant was used and is not to be paid any more: given up, or paid back beyond what was taken back. What was given
-- up before is not known by credits: 0, and all that was used is owed when the grant is voided.
ALTER TABLE grants ADD COLUMN given_up bigint NOT NULL DEFAULT 0 CHECK (given_up >= 0);

-- Rows as the batched write takes them. That of 0009 stays, for servers of the version before.
CREATE TYPE grant_given_up_sent AS (
    customer bigint, sequence bigint, n integer, paid_nanousd bigint, external_reference text, note text,
    ended bigint, refunded bigint, taken_off_nanousd bigint, given_up bigint, rolled_over bigint, recurring text
);
