-- name: server_major
SELECT current_setting('server_version_num')::integer / 10000

-- name: has_ledger
SELECT to_regclass('ledger.{version_table}') IS NOT NULL

-- name: in_the_way
-- What an extension has brought is not in the way.
SELECT DISTINCT n.nspname || coalesce('.' || c.relname, '')
FROM pg_namespace n
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       OR c.oid IS NULL AND n.nspname ~ '^(ledger|cell_[0-9][0-9])$')
ORDER BY 1
