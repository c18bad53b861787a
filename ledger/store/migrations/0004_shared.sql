-- Versions of the plans (kind PLANS, their name empty): the columns are those of price_versions, their documents tell
-- customers' policies. A table of its own: a server of the version before cannot read a kind that it does not know, and
-- has to price on while it is replaced. Their generations are those of price_versions: one row counts all versions.
CREATE TABLE plan_versions (
    kind text NOT NULL CHECK (kind = 'PLANS'),
    name text NOT NULL CHECK (name = ''),
    number integer NOT NULL CHECK (number > 0),
    revision integer NOT NULL,
    version text NOT NULL UNIQUE,
    effective_from timestamptz NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    published_by_key_id text NOT NULL,
    source text NOT NULL CHECK (source IN ('FILE', 'API', 'ROLLBACK')),
    restores integer,
    forced boolean NOT NULL,
    generation bigint NOT NULL UNIQUE,
    document text NOT NULL,
    PRIMARY KEY (kind, name, number),
    UNIQUE (kind, name, revision)
);
