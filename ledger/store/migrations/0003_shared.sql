-- Where events are delivered to. Of no use to whoever answers reads, and the secrets sign.
CREATE TABLE webhook_endpoints (
    endpoint_id text PRIMARY KEY DEFAULT 'whe_' || replace(gen_random_uuid()::text, '-', ''),
    url text NOT NULL,
    description text NOT NULL,
    -- Of events; none: all that customers may see.
    types text[] NOT NULL,
    -- Ids of the only customers whose events are delivered; none: all.
    customers text[] NOT NULL,
    -- Three UUIDs have 366 random bits, of which the hash makes 256. A secret never travels in a statement.
    secret bytea CHECK (length(secret) = 32) DEFAULT
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    -- Signs beside the other until then.
    previous_secret bytea CHECK (length(previous_secret) = 32),
    previous_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text NOT NULL UNIQUE,
    fingerprint bytea NOT NULL,
    -- Of the last rotation: a repeat makes no other secret.
    rotated_by text,
    -- Events up to this number are delivered, dead, or in the queue.
    passed bigint NOT NULL,
    -- Which process delivers, and until when no other does.
    holder text,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Then it has neither queue nor secret any more; the row stays, so that a repeat finds it.
    deleted_at timestamptz,
    last_failure text NOT NULL DEFAULT '',
    last_failed_at timestamptz
);

CREATE TABLE webhook_queue (
    endpoint_id text NOT NULL REFERENCES webhook_endpoints,
    number bigint NOT NULL,
    -- Its later events wait for the earlier ones.
    customer bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Given up: it waits for a replay, and nothing waits for it.
    is_dead boolean NOT NULL DEFAULT false,
    PRIMARY KEY (endpoint_id, number)
);
CREATE INDEX webhook_queue_waiting ON webhook_queue (endpoint_id, due_at) WHERE NOT is_dead;
