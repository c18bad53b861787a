-- Budgets' counters whose windows ended long ago are found by when they did. Counting changes none of its columns.
CREATE INDEX states_ended ON states (closes_at)
    WHERE starts_with(key, 'budget:') OR starts_with(key, 'budget_values:');

-- Also how many counters a budget has in a window.
CREATE OR REPLACE FUNCTION budget_counts(of_customer bigint, keys text[])
RETURNS TABLE (key text, used bigint) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT s.key, s.state::bigint FROM states s
    WHERE s.customer = of_customer AND s.key = ANY(keys)
      AND (starts_with(s.key, 'budget:') OR starts_with(s.key, 'budget_values:'));
END;

-- The finding for which a customer takes no writes, for the reader; NULL: none. Who is refused for it sees as much.
CREATE FUNCTION stopping_finding(of_customer bigint)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT f.finding FROM findings f
    WHERE f.customer = of_customer AND f.stops AND f.ended_at IS NULL LIMIT 1;
END;
REVOKE ALL ON FUNCTION stopping_finding(bigint) FROM PUBLIC;
