-- Every place of every slate, an answer once however often it was logged: item, score, and the probability with which
-- the item got its place, given the places before it (1 where chance had no part). team is 0 or 1 where two models were
-- interleaved, -1 where neither put the item there, and null without interleaving.
SELECT
    answered.recommendation_id,
    answered.user_id,
    from_unixtime(answered."timestamp") AS "timestamp",
    answered.route,
    answered.model,
    answered.release,
    shown.place,
    shown.item_id,
    answered.scores[shown.place] AS score,
    answered.propensities[shown.place] AS propensity,
    CASE WHEN cardinality(answered.teams) >= shown.place THEN answered.teams[shown.place] END AS team
FROM (
    SELECT
        recommendation_id,
        user_id,
        "timestamp",
        route,
        model,
        release,
        items,
        scores,
        propensities,
        teams,
        ROW_NUMBER() OVER (PARTITION BY recommendation_id ORDER BY "timestamp") AS nth
    FROM slates
    WHERE dt >= DATE '2026-01-01'
) AS answered
CROSS JOIN UNNEST(answered.items) WITH ORDINALITY AS shown (item_id, place)
WHERE answered.nth = 1
