"""A dataset as if it had ended yesterday: public data is decades old, and a night drops what is older than its history.

Every time in it is moved by the same whole number of days, so that what follows what stays as it was. `tandem aws
nightly-rehearsal` trains on it; nobody's real data needs this.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import polars as pl

from contracts.schema import DatasetSchema, FeatureKind
from data_sources.dataset import open_dataset, write_dataset

_DAY: Final = 86_400


def recent(dataset: Path, out: Path) -> Path:
    """Write a dataset that ends yesterday; `dataset` itself where it has no times. Raises as `open_dataset` does."""
    found = open_dataset(dataset)
    if not found.schema.timed:
        return dataset
    newest = int(found.events["timestamp"].max() or 0)  # type: ignore[arg-type]
    seconds = (int(time.time()) - newest) // _DAY * _DAY
    write_dataset(
        out,
        found.schema,
        found.events.with_columns(pl.col("timestamp") + seconds),
        _moved(found.users, found.schema, "users", seconds),
        _moved(found.items, found.schema, "items", seconds),
    )
    return out


def _moved(table: pl.DataFrame, schema: DatasetSchema, name: str, seconds: int) -> pl.DataFrame | None:
    if not table.width:
        return None
    kinds = schema.users if name == "users" else schema.items
    times = [feature for feature, kind in kinds.items() if kind is FeatureKind.TIMESTAMP and feature in table.columns]
    return table.with_columns(pl.col(times) + seconds) if times else table
