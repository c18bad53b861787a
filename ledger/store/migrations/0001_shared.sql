-- What belongs to no cell: who is a customer and where it lives, the versions of prices, who may call, and who
-- did what in the back office.

-- Where the books stand: another number in another cluster, database or timeline, so after a restore or a failover.
-- NULL on a standby. The timeline is the one that the log is written under: that of the last checkpoint is still the
-- old one when a standby is promoted.
CREATE FUNCTION place() RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT hashtextextended(concat_ws('/', s.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
                                          d.oid), 0)
        FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
    );
END $$;
REVOKE ALL ON FUNCTION place() FROM PUBLIC;

-- Which history of the database a session is on: another number after each failover, restore or restart of the
-- server, and nothing that can be read out of it. NULL on a standby, which is not to be used.
CREATE FUNCTION history() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT CASE WHEN place IS NOT NULL
                THEN hashtextextended(concat_ws('/', place, extract(epoch FROM pg_postmaster_start_time())), 0) END
    FROM ledger.place()
$$;
REVOKE ALL ON FUNCTION history() FROM PUBLIC;

-- Where the books were last verified as a whole; no row: nowhere yet.
CREATE TABLE verified (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    place bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A customer's number is drawn (60 random bits), not counted: where the database has lost its last customers, one
-- who is created later never gets the number that a running server knows a lost one by.
CREATE TABLE customers (
    customer bigint DEFAULT ('x' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint PRIMARY KEY,
    customer_id text NOT NULL UNIQUE CHECK (length(customer_id) BETWEEN 1 AND 128),
    cell text NOT NULL
);

-- Versions of prices: of each rate card, and of the cost book (kind COSTS, its name empty). Published once and
-- immutable; `version` is the hash of the content, by which a reservation finds it again. Documents of cards
-- name margins, those of cost books costs: neither is for the reader.
CREATE TABLE price_versions (
    kind text NOT NULL CHECK (kind IN ('CARD', 'COSTS')),
    name text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    revision integer NOT NULL,
    version text NOT NULL UNIQUE,
    effective_from timestamptz NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    -- The id of the key; empty: with none, published_by says how.
    published_by_key_id text NOT NULL,
    source text NOT NULL CHECK (source IN ('FILE', 'API', 'ROLLBACK')),
    -- The version whose content a rollback has published again.
    restores integer,
    forced boolean NOT NULL,
    generation bigint NOT NULL UNIQUE,
    document text NOT NULL,
    PRIMARY KEY (kind, name, number),
    UNIQUE (kind, name, revision)
);

-- Its row is locked by whoever publishes, so versions take turns; replicas look at it for what is new.
CREATE TABLE price_generation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL DEFAULT 0
);
INSERT INTO price_generation DEFAULT VALUES;

-- Keys of callers. Never deleted: who made a grant is found years later. A key that was shown cannot be shown
-- again: `hash` is the SHA-256 of its secret. `number` orders keys, `generation` numbers every change of any.
CREATE TABLE keys (
    id text PRIMARY KEY CHECK (id ~ '^[0-9A-Za-z]{12}$'),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    name text NOT NULL,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    -- The only customers that it may name; NULL: any.
    customers text[] CHECK (cardinality(customers) > 0),
    -- Names, which others may have too, and the ids of the keys; empty: with none, the name says how.
    created_by text NOT NULL,
    created_by_key_id text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    revoked_by_key_id text,
    replaced_by text REFERENCES keys,
    -- A day of UTC.
    last_used_on date,
    request_id text NOT NULL UNIQUE,
    fingerprint bytea NOT NULL,
    number bigint NOT NULL UNIQUE,
    generation bigint NOT NULL UNIQUE
);

-- Its row is locked by whoever changes a key; every process looks at it for what is new.
CREATE TABLE key_generation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL DEFAULT 0
);
INSERT INTO key_generation DEFAULT VALUES;

-- What customers' tokens are signed by: a key for each day of UTC, made by whichever server needs it first.
CREATE TABLE signing_keys (
    day date PRIMARY KEY,
    secret bytea NOT NULL CHECK (length(secret) = 32)
);

-- Acts of the back office, each written by the transaction that does it. It takes inserts and nothing else, from
-- nobody. Of a customer's act, (customer, sequence) is its entry in the journal.
CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Empty: it was done with no key; the name says how.
    key_id text NOT NULL,
    name text NOT NULL,
    method text NOT NULL,
    resource text NOT NULL,
    customer bigint,
    sequence bigint,
    request_id text,
    before json,
    after json NOT NULL,
    CHECK ((customer IS NULL) = (sequence IS NULL))
);
-- The newest come first, of all or of what is asked for.
CREATE INDEX audit_at ON audit (at, number);
CREATE INDEX audit_method ON audit (method, at, number);
CREATE INDEX audit_key_id ON audit (key_id, at, number);
CREATE INDEX audit_resource ON audit (resource, at, number);
