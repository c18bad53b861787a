-- name: not_allowed
-- $1: allowed by name; $2: the schemas of the ledger, whose functions are granted one by one.
SELECT p.oid, p.proowner
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.provolatile <> 'i'
  AND NOT (p.prorettype::regtype::text || p.proargtypes::regtype[]::text)
          ~ 'internal|cstring|trigger|_handler'
  AND NOT (n.nspname IN ('pg_catalog', 'information_schema') AND p.provolatile = 's'
           AND p.proname !~ '^(pg_|txid_|mxid_|inet_|ts_)|_to_xml'
           AND NOT 'xid'::regtype = ANY(p.proargtypes))
  AND NOT (n.nspname = 'pg_catalog' AND p.proname = ANY($1::text[]))
  AND NOT n.nspname = ANY($2::text[])

-- name: to_mend
-- What PostgreSQL itself gives to nobody (pg_init_privs) is given to nobody here.
SELECT f.oid::regprocedure::text AS signature, pg_has_role(f.proowner, 'USAGE') AS can,
       has_function_privilege($4, f.oid, 'EXECUTE') AS open, i.objoid IS NULL AS was_open
FROM ({not_allowed}) f
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = f.oid
WHERE has_function_privilege($4, f.oid, 'EXECUTE')
   OR i.objoid IS NULL AND EXISTS (
       SELECT FROM unnest($3::text[]) k(role) WHERE NOT has_function_privilege(k.role, f.oid, 'EXECUTE'))
ORDER BY signature

-- name: relation_sizes
SELECT pg_has_role(c.relowner, 'USAGE') AS can,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attname = ANY($2::text[])) AS columns
FROM pg_class c
WHERE c.oid = 'pg_catalog.pg_class'::regclass AND has_table_privilege($1, c.oid, 'SELECT')

-- name: owners
SELECT DISTINCT r.rolname::text FROM pg_roles r
WHERE r.oid IN (SELECT datdba FROM pg_database WHERE datname = current_database()
                UNION SELECT nspowner FROM pg_namespace WHERE nspname = ANY($1::text[]))
