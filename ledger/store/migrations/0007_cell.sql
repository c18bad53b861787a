-- Budgets: their counts are states, whose keys begin with `budget:`; a row here for each entry of which more is to be known.

CREATE TABLE budgeted (
    customer bigint NOT NULL,
    -- The entry.
    sequence bigint NOT NULL,
    -- RESERVE, CHARGE: the keys of the counters in which its work counts.
    counters json,
    -- The thresholds of budgets that it crossed; NULL: none.
    crossings json,
    PRIMARY KEY (customer, sequence)
);
CREATE INDEX budgeted_crossings ON budgeted (customer, sequence) WHERE crossings IS NOT NULL;

-- Rows as the batched write takes them.
CREATE TYPE budgeted_sent AS (customer bigint, sequence bigint, counters json, crossings json);

-- What budgets have counted, for the reader, who may not see what prices remember.
CREATE FUNCTION budget_counts(of_customer bigint, keys text[])
RETURNS TABLE (key text, used bigint) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT s.key, s.state::bigint FROM states s
    WHERE s.customer = of_customer AND s.key = ANY(keys) AND starts_with(s.key, 'budget:');
END;
REVOKE ALL ON FUNCTION budget_counts(bigint, text[]) FROM PUBLIC;
