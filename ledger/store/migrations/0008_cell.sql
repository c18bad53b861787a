-- Grants whose expiry may be reported ahead of time.
CREATE TABLE expiry_notices (
    customer bigint NOT NULL,
    sequence bigint NOT NULL,
    n integer NOT NULL,
    -- The expiry that was reported; another one is reported again.
    reported timestamptz,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (customer, sequence, n)
) WITH (fillfactor = 80);
CREATE INDEX expiry_notices_due ON expiry_notices (look_at);

INSERT INTO expiry_notices (customer, sequence, n, look_at)
SELECT customer, sequence, n, greatest(now(), expires_at - interval '30 days')
FROM lots WHERE live AND expires_at IS NOT NULL AND status IN ('PENDING_START', 'ACTIVE');
