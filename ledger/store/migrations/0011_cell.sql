-- What customers have their own of for the reader, who may not see a dollar: neither what top-ups cost nor what is paid
-- for what recurs. With its owner's rights, for the reader has none on the column.
CREATE VIEW own_fields WITH (security_barrier = true) AS
SELECT customer, (plan_overrides::jsonb - '{topup,grants}'::text[])::text AS plan_overrides
FROM wallets WHERE plan_overrides IS NOT NULL;
