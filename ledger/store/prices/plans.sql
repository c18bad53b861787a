-- name: affected
-- Customers on plans, and of other plans those that have no card of their own.
SELECT plan, count(*) AS customers FROM {cell}.wallets
WHERE plan = ANY($1::text[]) OR (plan = ANY($2::text[]) AND card IS NULL)
GROUP BY plan

-- name: own
-- Of some customers, those that have any: whole, with what tells dollars.
SELECT c.customer_id, w.plan_overrides FROM ledger.customers c JOIN {cell}.wallets w USING (customer)
WHERE c.customer_id = ANY($1::text[]) AND w.plan_overrides IS NOT NULL

-- name: having
SELECT c.customer_id FROM {cell}.wallets w JOIN ledger.customers c USING (customer)
WHERE w.plan_overrides IS NOT NULL AND w.plan_overrides = $1 ORDER BY c.customer_id LIMIT $2

-- name: overrides
-- By plan, what customers have their own of.
SELECT plan, plan_overrides, count(*) AS customers FROM {cell}.wallets
WHERE plan_overrides IS NOT NULL
GROUP BY plan, plan_overrides
