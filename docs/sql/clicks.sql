-- What users did, an event once however often it was sent: a fact table. Clicks per user count its rows, of the types
-- that are meant. A value is there where events have one.
SELECT
    user_id,
    from_unixtime("timestamp") AS "timestamp",
    event_type,
    item_id,
    recommendation_id,
    value
FROM (
    SELECT
        user_id,
        "timestamp",
        event_type,
        item_id,
        recommendation_id,
        value,
        ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY received_at) AS nth
    FROM events
    WHERE dt >= DATE '2026-01-01'
) AS told
WHERE nth = 1
