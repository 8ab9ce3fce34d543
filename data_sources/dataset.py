"""A dataset: opened in canonical types, and written so that it is there whole or not at all.

Canonical types: ids, event types, sessions, splits, categories and text are String; a multi-categorical feature is
List(String); numbers are Float64; times are Int64 Unix seconds. Ids are opaque: never trimmed, normalised or read as
numbers. Knows nothing of codes and arrays (`indexed`). The CLI, training_job, importers and `generator` call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError, SchemaError
from contracts.schema import DEFAULT_EVENT_TYPE, EVENT_COLUMNS, DatasetSchema, parse_schema, schema_toml
from data_sources.findings import raise_fatal
from data_sources.folders import living_folder, replace_folder
from data_sources.reading import ID_OF, TABLES, Table, conform, empty_table, read_table, repeated_ids

SCHEMA_NAME: Final = "schema.toml"

TRAINING_COLUMNS: Final = ("user_id", "item_id", "event_type", "timestamp", "split")
"""The event columns that arrays are made of; the others (sessions, values, event ids) may be half of a large log."""


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory, in canonical types.

    `events` has user_id, item_id, event_type and timestamp, and of value, session_id, event_id, split those that the
    files have. `users` has user_id and the user features, `items` item_id and the item features; both may be empty.
    """

    schema: DatasetSchema
    events: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame


def open_dataset(path: Path, *, event_columns: Sequence[str] = EVENT_COLUMNS) -> Dataset:
    """Open a dataset folder; `event_columns` (e.g. TRAINING_COLUMNS) leaves out what the caller does not need.

    Where it is empty, no event is read: `events` has no rows.

    Raises SchemaError for a schema that is missing or wrong, DatasetError (file, column, first rows) for a table that
    cannot be read, lacks what the schema promises, or holds values of another kind, null ids or repeated ids.
    """
    path = living_folder(Path(path))
    schema = read_schema(path)
    names = [name for name in TABLES if name != "events" or event_columns]
    tables = {name: read_table(path, schema, name, event_columns if name == "events" else None) for name in names}
    for table in tables.values():
        raise_fatal(table.findings)
    events = tables["events"].frame if "events" in tables else empty_table(schema, "events")
    return Dataset(schema, fill_event_types(events), tables["users"].frame, tables["items"].frame)


def read_schema(path: Path) -> DatasetSchema:
    """The schema of a dataset folder. Raises DatasetError where there is no such folder, SchemaError for the rest."""
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no such folder.", fix="Name the folder that holds schema.toml.")
    file = path / SCHEMA_NAME
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SchemaError(
            f"{file}: there is no schema.", fix="Write one; docs/dataset.md shows the smallest."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{file}: it cannot be read: {error}.", fix="Write it as UTF-8 text.") from error
    return parse_schema(text, str(file))


def fill_event_types(events: pl.DataFrame) -> pl.DataFrame:
    """Events without a type are of DEFAULT_EVENT_TYPE."""
    return events.with_columns(pl.col("event_type").fill_null(DEFAULT_EVENT_TYPE))


def write_dataset(
    path: Path,
    schema: DatasetSchema,
    events: pl.DataFrame,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> None:
    """Write a dataset folder as Parquet, whole or not at all; an existing dataset there is replaced.

    Frames are held against the schema as files are: raises DatasetError for what `open_dataset` would refuse, and where
    `path` holds something that is no dataset; StorageFull where the disk is full.
    """
    with replace_folder(Path(path), is_dataset) as folder:
        write_tables(folder, schema, {"events": events, "users": users, "items": items})


def write_tables(folder: Path, schema: DatasetSchema, frames: Mapping[str, pl.DataFrame | None]) -> None:
    """Write tables and schema into an empty folder, held against the schema; a None has no file."""
    canonical = {name: conform_frame(frame, schema, name) for name, frame in frames.items() if frame is not None}
    for name, frame in canonical.items():
        frame.write_parquet(folder / f"{name}.parquet")
    write_schema(folder, schema)


def conform_frame(frame: pl.DataFrame, schema: DatasetSchema, name: str) -> pl.DataFrame:
    """A frame in the canonical types of a table. Raises DatasetError for what `open_dataset` would refuse."""
    file = f"{name}.parquet"
    canonical, findings = conform(frame, schema, name, file)
    if name in ID_OF:
        findings += repeated_ids(Table(name, canonical, (), ((file, len(canonical)),), ()))
    raise_fatal(findings)
    return canonical if frame.width else empty_table(schema, name)


def write_schema(folder: Path, schema: DatasetSchema) -> None:
    """Write schema.toml into a folder."""
    (folder / SCHEMA_NAME).write_text(schema_toml(schema), encoding="utf-8")


def is_dataset(path: Path) -> bool:
    """Whether a folder is a dataset, and so may be replaced by another."""
    return (path / SCHEMA_NAME).is_file()
