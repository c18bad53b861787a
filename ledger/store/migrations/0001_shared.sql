-- What belongs to no cell: who is a customer and where it lives, and the versions of prices.

CREATE TABLE customers (
    customer bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id text NOT NULL UNIQUE CHECK (length(customer_id) BETWEEN 1 AND 128),
    cell text NOT NULL
);

-- Content-addressed and immutable. Documents of cards name margins, those of cost books costs: neither is
-- for the reader.
CREATE TABLE card_versions (
    version text PRIMARY KEY,
    card text NOT NULL,
    revision integer NOT NULL,
    effective_from timestamptz NOT NULL,
    document text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cost_versions (
    version text PRIMARY KEY,
    revision integer NOT NULL,
    effective_from timestamptz NOT NULL,
    document text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX card_versions_card ON card_versions (card, effective_from);

GRANT SELECT, INSERT ON customers, card_versions, cost_versions TO acu_writer;
GRANT SELECT ON customers TO acu_reader;
GRANT SELECT ON customers, card_versions, cost_versions TO acu_finance;
