"""The columns of the tables that AWS keeps of events, exposures and slates, named and typed as Hive does.

One place for both ends: `infra` makes the Glue tables of these, by which Firehose turns JSON lines into Parquet, and
`batch_job` reads the Parquet back. A column may be added at the end; one is never renamed. Tests hold the events'
columns to `contracts/event.py`, those of exposures and slates to `contracts/served.py`.
"""

from __future__ import annotations

from typing import Final

EVENT_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("event_id", "string"),
    ("user_id", "string"),
    ("item_id", "string"),
    ("event_type", "string"),
    ("timestamp", "bigint"),  # a reserved word of Hive: queries quote it
    ("received_at", "bigint"),
    ("value", "double"),
    ("session_id", "string"),
    ("recommendation_id", "string"),
    ("known_item", "boolean"),  # null where it is true: a line leaves out what is the default
)
"""(name, Hive type) of the fields of `Event`, in their order."""

EXPOSURE_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("user_id", "string"),
    ("timestamp", "bigint"),
    ("experiment_id", "string"),
    ("variation_id", "string"),
    ("route", "string"),
    ("release", "string"),
    ("country", "string"),
    ("model", "string"),
    ("degraded", "boolean"),  # null where it is false
    ("sequence", "bigint"),
)
"""(name, Hive type) of the fields of `Exposure`, in their order."""

SLATE_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("recommendation_id", "string"),
    ("user_id", "string"),
    ("timestamp", "bigint"),
    ("route", "string"),
    ("model", "string"),
    ("release", "string"),
    ("publication", "string"),
    ("items", "array<string>"),
    ("scores", "array<double>"),
    ("propensities", "array<double>"),
    ("teams", "array<int>"),
    ("variants", "array<string>"),
    ("degraded", "array<string>"),
    ("country", "string"),
)
"""(name, Hive type) of the fields of `ServedSlate`, in their order; an empty list is left out and reads as null."""

PARTITION_COLUMN: Final = "dt"
"""Day of arrival (UTC, YYYY-MM-DD), from the path: `events/dt=2026-11-20/…`."""
