-- One row a user of one experiment, as `tandem experiments report` counts: what they did from their first exposure on.
-- Put the key of the experiment in the third line of `exposed`. Users who were seen in two variations are in neither.
-- retained is 1 where the user was active in days 28 to 34 after the first exposure (day 0, days of UTC), 0 where not,
-- and null where day 34 is not over in the log. All events count as clicks: filter `acted` by event_type for fewer.
WITH exposed AS (
    SELECT user_id, variation_id, "timestamp", "timestamp" - "timestamp" % 86400 AS day
    FROM exposures
    WHERE experiment_id = 'tandem.model' AND dt >= DATE '2026-01-01'
),

users AS (
    SELECT
        user_id,
        MIN(variation_id) AS variation_id,
        MIN("timestamp") AS first_exposure,
        MIN(day) AS first_day
    FROM exposed
    GROUP BY user_id
    HAVING COUNT(DISTINCT variation_id) = 1
),

told AS (
    SELECT
        user_id,
        "timestamp",
        "timestamp" - "timestamp" % 86400 AS day,
        session_id,
        ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY received_at) AS nth
    FROM events
    WHERE dt >= DATE '2026-01-01'
),

acted AS (
    SELECT told.user_id, told."timestamp", told.day, told.session_id
    FROM told
    INNER JOIN users ON told.user_id = users.user_id
    WHERE told.nth = 1 AND told."timestamp" >= users.first_exposure
),

acted_days AS (
    SELECT DISTINCT user_id, day FROM acted
),

shown_days AS (
    SELECT DISTINCT exposed.user_id, exposed.day
    FROM exposed
    INNER JOIN users ON exposed.user_id = users.user_id
    LEFT JOIN acted_days ON exposed.user_id = acted_days.user_id AND exposed.day = acted_days.day
    WHERE acted_days.user_id IS NULL
),

visits AS (
    SELECT user_id, day, COALESCE(session_id, CAST(day AS varchar)) AS visit, 1 AS clicks FROM acted
    UNION ALL
    SELECT user_id, day, CAST(day AS varchar) AS visit, 0 AS clicks FROM shown_days
),

log_end AS (
    SELECT MAX("timestamp") - MAX("timestamp") % 86400 AS last_day
    FROM (
        SELECT "timestamp" FROM exposed
        UNION ALL
        SELECT "timestamp" FROM acted
    ) AS everything
)

SELECT
    users.user_id,
    users.variation_id,
    users.first_exposure,
    SUM(visits.clicks) AS clicks,
    COUNT(DISTINCT visits.visit) AS sessions,
    COUNT(DISTINCT visits.day) AS active_days,
    CASE
        WHEN users.first_day + 34 * 86400 < log_end.last_day
            THEN MAX(
                CASE
                    WHEN visits.day BETWEEN users.first_day + 28 * 86400 AND users.first_day + 34 * 86400 THEN 1
                    ELSE 0
                END
            )
    END AS retained
FROM users
INNER JOIN visits ON users.user_id = visits.user_id
CROSS JOIN log_end
GROUP BY users.user_id, users.variation_id, users.first_exposure, users.first_day, log_end.last_day
