-- Who was served by which variation: the assignment query of GrowthBook. The first exposure of each user, experiment,
-- variation and day (UTC): the logs are at-least-once, and two processes that serve one user on one day log it twice.
-- country and route are dimensions of that first one. dt is the day of arrival: it only narrows what is read.
SELECT
    user_id,
    from_unixtime("timestamp") AS "timestamp",
    experiment_id,
    variation_id,
    country,
    route
FROM (
    SELECT
        user_id,
        "timestamp",
        experiment_id,
        variation_id,
        country,
        route,
        ROW_NUMBER() OVER (
            PARTITION BY user_id, experiment_id, variation_id, "timestamp" - "timestamp" % 86400
            ORDER BY "timestamp", route, country
        ) AS nth
    FROM exposures
    WHERE dt >= DATE '2026-01-01'
) AS exposed
WHERE nth = 1
