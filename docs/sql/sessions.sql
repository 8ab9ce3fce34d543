-- Visits of users: a fact table with one row a user and visit, at the last moment of it. A visit is what a session_id
-- says, or a day (UTC) of events without one: a day with an exposure and no event is one too: somebody came, and found
-- nothing. Sessions per user count its rows.
WITH told AS (
    SELECT
        user_id,
        "timestamp",
        "timestamp" - "timestamp" % 86400 AS day,
        session_id
    FROM events
    WHERE dt >= DATE '2026-01-01'
),

told_days AS (
    SELECT DISTINCT user_id, day FROM told
),

shown AS (
    SELECT
        user_id,
        "timestamp" - "timestamp" % 86400 AS day,
        MAX("timestamp") AS "timestamp"
    FROM exposures
    WHERE dt >= DATE '2026-01-01'
    GROUP BY user_id, "timestamp" - "timestamp" % 86400
),

visits AS (
    SELECT
        user_id,
        COALESCE(session_id, CAST(day AS varchar)) AS visit,
        "timestamp"
    FROM told
    UNION ALL
    SELECT
        shown.user_id,
        CAST(shown.day AS varchar) AS visit,
        shown."timestamp"
    FROM shown
    LEFT JOIN told_days ON shown.user_id = told_days.user_id AND shown.day = told_days.day
    WHERE told_days.user_id IS NULL
)

SELECT
    user_id,
    from_unixtime(MAX("timestamp")) AS "timestamp",
    visit
FROM visits
GROUP BY user_id, visit
