-- name: affected
-- Customers on plans, and of other plans those that have no card of their own.
SELECT plan, count(*) AS customers FROM {cell}.wallets
WHERE plan = ANY($1::text[]) OR (plan = ANY($2::text[]) AND card IS NULL)
GROUP BY plan

-- name: overrides
-- By plan, what customers have their own of.
SELECT plan, plan_overrides, count(*) AS customers FROM {cell}.wallets
WHERE plan_overrides IS NOT NULL
GROUP BY plan, plan_overrides
