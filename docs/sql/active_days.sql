-- Days (UTC) on which a user did something or was served by an experiment: a fact table with one row a user and day,
-- at the last moment of it. Active days count its rows, retention asks for one late enough.
SELECT
    user_id,
    from_unixtime(MAX("timestamp")) AS "timestamp",
    COUNT(*) AS times
FROM (
    SELECT user_id, "timestamp" FROM events WHERE dt >= DATE '2026-01-01'
    UNION ALL
    SELECT user_id, "timestamp" FROM exposures WHERE dt >= DATE '2026-01-01'
) AS seen
GROUP BY user_id, "timestamp" - "timestamp" % 86400
