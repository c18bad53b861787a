-- name: readable_dollars
-- Tables that tell a dollar, and that the session may read all the same.
SELECT c.oid::regclass::text AS table
FROM pg_class c
WHERE c.relname IN ('money', 'debts', 'lot_values', 'reservation_costs', 'rollup_lines', 'rollup_accounts',
                    'findings', 'price_versions')
  AND c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT')
