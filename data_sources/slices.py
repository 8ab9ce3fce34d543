"""A table of a dataset a slice at a time, for those who must not hold a whole one: the jobs of a night.

The same types and the same named failures as `dataset.open_dataset`, with the rows of the file; only ids that are there
twice are nobody's to notice. What the files of events need not say (a type, a position) is left null. `batch_job` calls
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError
from contracts.schema import DatasetSchema
from data_sources.columns import CANONICAL, ColumnKind
from data_sources.findings import Finding, FindingKind, Place, raise_fatal
from data_sources.reading import conform, wanted_columns
from data_sources.tables import RawTable, raw_slices

SLICE_ROWS: Final = 250_000
"""Some 50 MB of events."""


def event_slices(path: Path, file: str, schema: DatasetSchema) -> Iterator[pl.DataFrame]:
    """Slices of one file of the table `events`, as `table_slices` gives them."""
    return table_slices(path, file, schema, "events", SLICE_ROWS)


def table_slices(
    path: Path, file: str, schema: DatasetSchema, name: str, rows: int, only: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Slices of `rows` of one file of a table, with every column that it may have (of those in `only`); else null.

    `file`: its name in messages. Raises DatasetError (file, column, rows) for what `open_dataset` would refuse.
    """
    kinds = {key: kind for key, kind in wanted_columns(schema, name).items() if only is None or key in only}
    first = 0
    for raw in _raw_slices(path, file, kinds, rows):
        frame, findings = conform(raw.frame, schema, name, file, kinds, raw.columns)
        raise_fatal(_counted_from(finding, first) for finding in findings)
        absent = [pl.lit(None, CANONICAL[kind]).alias(key) for key, kind in kinds.items() if key not in frame]
        yield frame.with_columns(absent).select(list(kinds))
        first += len(frame)


def _raw_slices(path: Path, file: str, kinds: Mapping[str, ColumnKind], rows: int) -> Iterator[RawTable]:
    texts = [name for name, kind in kinds.items() if CANONICAL[kind] == pl.String]
    try:
        yield from raw_slices(path, kinds, texts, rows)
    except DatasetError as error:
        raise Finding(FindingKind.UNREADABLE, error.message.rstrip("."), Place(file), error.fix).error() from error


def _counted_from(finding: Finding, first: int) -> Finding:
    """A finding of a slice whose first row is the file's row `first`."""
    place = replace(finding.place, rows=tuple(row + first for row in finding.place.rows))
    return replace(finding, place=place)
