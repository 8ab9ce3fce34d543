"""A folder with `train.txt` and `test.txt`, a line `user item item …` each: a given split without time or features.

A line without items is a user without events. It is the format of the graph recommenders' public splits (Gowalla,
Yelp2018, Amazon-book). The CLI calls it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from contracts.schema import DatasetSchema, TimeMeaning
from data_sources.importers.imported import DEFAULT_MAX_REJECTED, Imported, ImportReport, write_imported
from data_sources.importers.lines import Rows, read_rows

_CONTROL = r"[\x00-\x08\x0e-\x1f]"
"""No id has control characters: a line with one is of a binary file."""


def import_lightgcn(source: Path, out: Path, max_rejected: float = DEFAULT_MAX_REJECTED) -> ImportReport:
    """Import a folder of train.txt and test.txt. Raises DatasetError, ImportRejected, NotEnoughData, StorageFull."""
    sources = [read_rows(source / f"{split}.txt", _parse) for split in ("train", "test")]
    events = pl.concat([_events(rows, split) for rows, split in zip(sources, ("train", "test"), strict=True)])
    schema = DatasetSchema(time=TimeMeaning.NONE, given_split=True)
    users = pl.concat([rows.fields.select("user_id") for rows in sources]).unique(maintain_order=True)
    return write_imported(Imported(schema, events, users, None, sources), out, max_rejected)


def _parse(batch: pl.DataFrame) -> pl.DataFrame:
    words = batch["text"].str.extract_all(r"\S+")
    fault = pl.when(batch["text"].str.contains(_CONTROL)).then(pl.lit("holds control characters"))
    return batch.select(words.list.first().alias("user_id"), words.list.slice(1).alias("item_id"), fault.alias("fault"))


def _events(rows: Rows, split: str) -> pl.DataFrame:
    return rows.fields.explode("item_id", empty_as_null=False).with_columns(pl.lit(split).alias("split"))
