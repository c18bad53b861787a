-- name: earned
-- What work of these days on these cards has earned and cost, as far as the rollups reach.
SELECT day, card, coalesce(sum(amount) FILTER (WHERE account = 'revenue'), 0) AS revenue,
       -coalesce(sum(amount) FILTER (WHERE account = 'cost'), 0) AS cost
FROM {cell}.rollup_accounts
WHERE day = ANY($1::date[]) AND card = ANY($2::text[]) AND account IN ('revenue', 'cost')
GROUP BY day, card
