-- name: holders
-- $1: the key of the advisory lock; $2: the schemas. The oldest transaction is the likely one.
SELECT DISTINCT a.pid, a.usename, a.application_name, a.backend_start
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.locktype = 'advisory' AND l.objsubid = 1 AND l.classid::bigint << 32 | l.objid::bigint = $1
       OR c.relnamespace::regnamespace::text = ANY($2::text[]))
ORDER BY a.backend_start
