-- What is reported to others, of customers and of the house; no dollar among it. It takes inserts and nothing
-- else, from nobody.
CREATE TABLE events (
    -- 1, 2, 3 … of all, in the order in which they were committed: a reader that goes by it misses none.
    number bigint PRIMARY KEY,
    -- 0: the house.
    customer bigint NOT NULL,
    customer_id text NOT NULL,
    -- 1, 2, 3 … of the customer: what it may be shown, for the other tells how much is going on elsewhere.
    customer_number bigint NOT NULL,
    event_id text NOT NULL UNIQUE DEFAULT 'evt_' || replace(gen_random_uuid()::text, '-', ''),
    type text NOT NULL,
    -- When it took effect.
    at timestamptz NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    data json NOT NULL,
    UNIQUE (customer, customer_number)
);

-- Its row is locked by whoever writes events, of any cell.
CREATE TABLE event_log (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    events bigint NOT NULL DEFAULT 0,
    -- Versions of prices up to this generation have their events.
    price_generation bigint NOT NULL
);
INSERT INTO event_log (price_generation) SELECT generation FROM price_generation;
