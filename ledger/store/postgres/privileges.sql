-- name: make_role
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} LOGIN NOINHERIT;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$

-- name: let_owner_set_role
-- An owner that is no superuser needs the right to SET ROLE. Until version 16 every member has it, and the
-- privilege has no name.
DO $$ BEGIN
    IF NOT pg_has_role(current_user, '{role}',
                       CASE WHEN current_setting('server_version_num')::integer < 160000
                            THEN 'MEMBER' ELSE 'SET' END) THEN
        EXECUTE format('GRANT {role} TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$

-- name: too_strong
SELECT rolname FROM pg_roles
WHERE rolname = ANY($1::text[])
  AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)

-- name: weaken
ALTER ROLE {role} NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS

-- name: memberships
-- Memberships that open what a role may not: in another of ours, in one of PostgreSQL's own
-- (pg_read_all_data), in the owner's or a superuser's. A provider's role for its log-in is no matter of ours.
SELECT m.member::regrole::text AS role, m.roleid::regrole::text AS of, m.grantor::regrole::text AS grantor
FROM pg_auth_members m
JOIN pg_roles g ON g.oid = m.roleid
JOIN pg_roles r ON r.oid = m.member
WHERE r.rolname = ANY($1::text[])
  AND (g.rolsuper OR g.rolname = ANY($1::text[]) OR g.rolname LIKE 'pg\_%'
       OR g.oid IN (SELECT datdba FROM pg_database WHERE datname = current_database()))

-- name: owns_database
SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()

-- name: routines
-- What is there was made for the roles: each is a door to something that they may not do themselves.
SELECT format('ROUTINE %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = ANY($1::regnamespace[])

-- name: granted
SELECT v.object, coalesce(r.rolname, 'PUBLIC') AS role, a.privilege_type, v.column
FROM (
    SELECT format('TABLE %s', c.oid::regclass) AS object, c.relacl AS acl, '' AS column
    FROM pg_class c WHERE c.relnamespace = ANY($1::regnamespace[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT format('SEQUENCE %s', c.oid::regclass), c.relacl, ''
    FROM pg_class c WHERE c.relnamespace = ANY($1::regnamespace[]) AND c.relkind = 'S'
    UNION ALL
    SELECT format('TABLE %s', c.oid::regclass), t.attacl, quote_ident(t.attname)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped
    WHERE c.relnamespace = ANY($1::regnamespace[]) AND t.attacl IS NOT NULL
    UNION ALL
    SELECT format('ROUTINE %s', p.oid::regprocedure), coalesce(p.proacl, acldefault('f', p.proowner)), ''
    FROM pg_proc p WHERE p.pronamespace = ANY($1::regnamespace[])
    UNION ALL
    SELECT format('SCHEMA %I', n.nspname), n.nspacl, ''
    FROM pg_namespace n WHERE n.oid = ANY($1::regnamespace[])
    UNION ALL
    SELECT format('DATABASE %I', d.datname), coalesce(d.datacl, acldefault('d', d.datdba)), ''
    FROM pg_database d WHERE d.datname = current_database()
) v
CROSS JOIN LATERAL aclexplode(v.acl) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee = 0 OR r.rolname = ANY($2::text[])
