-- What is known of a grant beside its lots: a lot's row is written by each draw, this one by none.

CREATE TABLE grants (
    customer bigint NOT NULL,
    -- The lot.
    sequence bigint NOT NULL,
    n integer NOT NULL,
    -- The total paid for it, or stated before it is paid; NULL: as the dollars of its entry say. Closed to the reader.
    paid_nanousd bigint CHECK (paid_nanousd >= 0),
    -- The caller's own, an invoice's number say.
    external_reference text,
    -- For the back office alone.
    note text,
    -- What expired of it, or was voided.
    ended bigint NOT NULL CHECK (ended >= 0),
    PRIMARY KEY (customer, sequence, n)
);
CREATE INDEX grants_reference ON grants (external_reference, customer, sequence, n)
    WHERE external_reference IS NOT NULL;

-- What has expired so far. What a server of the version before expires from now on, while it is replaced, is told
-- as consumed: balances and books are right, for these rows have no part in them.
INSERT INTO grants (customer, sequence, n, ended)
SELECT l.customer, l.sequence, l.n, g.gone
FROM lots l
JOIN entries e USING (customer, sequence)
LEFT JOIN (
    SELECT customer, (d ->> 0)::bigint AS sequence, (d ->> 1)::integer AS n, sum((d ->> 2)::bigint) AS drawn
    FROM money, json_array_elements(draws) AS d GROUP BY 1, 2, 3
) d USING (customer, sequence, n)
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.kind = 'GRANT' THEN l.amount ELSE 0 END - coalesce(d.drawn, 0) - l.remaining AS gone
) g
WHERE l.status = 'EXPIRED' AND g.gone > 0;

-- Rows as the batched write takes them. Those of 0001 and 0002 stay, for servers of the version before.
CREATE TYPE grant_sent AS (
    customer bigint, sequence bigint, n integer, paid_nanousd bigint, external_reference text, note text,
    ended bigint
);
CREATE TYPE lot_extended_sent AS (
    customer bigint, sequence bigint, n integer, remaining bigint, held bigint, priority integer,
    expires_at integer, status text
);

-- What expires next, of all customers. Draws change none of its columns until nothing is left. Last: lots wait for it.
CREATE INDEX lots_expiring ON lots (expires_at, customer, sequence, n) WHERE live AND expires_at IS NOT NULL;
