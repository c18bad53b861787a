-- What belongs to no cell: who is a customer and where it lives, and the versions of prices.

CREATE TABLE customers (
    customer bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
