"""`user TAB item item …`, a user a line, items in the order of time: position is all that is known of it.

A line without items is a user without events. The CLI calls it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from contracts.schema import DatasetSchema, TimeMeaning
from data_sources.importers.imported import DEFAULT_MAX_REJECTED, Imported, ImportReport, write_imported
from data_sources.importers.lines import match, read_rows

_LINE: Final = r"^(?<user_id>[^\t]+)\t(?<items>[^\t]*)$"


def import_sequences(source: Path, out: Path, max_rejected: float = DEFAULT_MAX_REJECTED) -> ImportReport:
    """Import a file of sequences. Raises DatasetError, ImportRejected, NotEnoughData, StorageFull."""
    rows = read_rows(source, lambda batch: match(batch, _LINE, "not `user TAB item item …`"))
    events = (
        rows.fields.select("user_id", pl.col("items").str.extract_all(r"\S+").alias("item_id"))
        .explode("item_id", empty_as_null=False)
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over("user_id").alias("timestamp"))
    )
    users = rows.fields.select(pl.col("user_id").unique(maintain_order=True))
    schema = DatasetSchema(time=TimeMeaning.ORDER)
    return write_imported(Imported(schema, events, users, None, [rows]), out, max_rejected)
