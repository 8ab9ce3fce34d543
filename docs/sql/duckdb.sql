-- The logs of this machine as the tables that AWS has of them, for DuckDB; then every other query of this folder runs.
--
--     duckdb -init docs/sql/duckdb.sql -c "$(cat docs/sql/assignments.sql)"
--
-- The last line of a writer that was killed is unfinished and no row, a forgotten user's line is blank: both are left
-- out. A log of which there is no file yet makes its view fail, and only that one. Copies of the tables of AWS are read
-- by `read_parquet('exposures/*/*', hive_partitioning = true)` instead.
SET VARIABLE home = '.tandem';

CREATE OR REPLACE MACRO from_unixtime(seconds) AS to_timestamp(seconds);

CREATE OR REPLACE VIEW exposures AS
SELECT * EXCLUDE (filename), CAST(regexp_extract(filename, '(\d{4}-\d\d-\d\d)[\\/][^\\/]*$', 1) AS date) AS dt
FROM read_json(
    getvariable('home') || '/exposures/*/*.jsonl',
    format = 'newline_delimited', ignore_errors = true, filename = true,
    columns = {
        'user_id': 'varchar', 'timestamp': 'bigint', 'experiment_id': 'varchar', 'variation_id': 'varchar',
        'route': 'varchar', 'release': 'varchar', 'country': 'varchar', 'model': 'varchar', 'degraded': 'boolean',
        'sequence': 'bigint'
    }
)
WHERE user_id IS NOT NULL;

CREATE OR REPLACE VIEW events AS
SELECT * EXCLUDE (filename), CAST(regexp_extract(filename, '(\d{4}-\d\d-\d\d)[\\/][^\\/]*$', 1) AS date) AS dt
FROM read_json(
    getvariable('home') || '/events/*/*.jsonl',
    format = 'newline_delimited', ignore_errors = true, filename = true,
    columns = {
        'event_id': 'varchar', 'user_id': 'varchar', 'item_id': 'varchar', 'event_type': 'varchar',
        'timestamp': 'bigint', 'received_at': 'bigint', 'value': 'double', 'session_id': 'varchar',
        'recommendation_id': 'varchar', 'known_item': 'boolean'
    }
)
WHERE event_id IS NOT NULL;

CREATE OR REPLACE VIEW slates AS
SELECT * EXCLUDE (filename), CAST(regexp_extract(filename, '(\d{4}-\d\d-\d\d)[\\/][^\\/]*$', 1) AS date) AS dt
FROM read_json(
    getvariable('home') || '/slates/*/*.jsonl',
    format = 'newline_delimited', ignore_errors = true, filename = true,
    columns = {
        'recommendation_id': 'varchar', 'user_id': 'varchar', 'timestamp': 'bigint', 'route': 'varchar',
        'model': 'varchar', 'release': 'varchar', 'publication': 'varchar', 'items': 'varchar[]',
        'scores': 'double[]', 'propensities': 'double[]', 'teams': 'integer[]', 'variants': 'varchar[]',
        'degraded': 'varchar[]', 'country': 'varchar'
    }
)
WHERE recommendation_id IS NOT NULL;
