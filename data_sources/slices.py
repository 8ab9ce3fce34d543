"""A table of a dataset a slice at a time, for those who must not hold a whole one: jobs of a night, and the doctor.

The same types and the same named failures as `dataset.open_dataset`, with the rows of the file; only ids that are there
twice are nobody's to notice. What the files of events need not say (a type, a position) is left null. `batch_job`,
`streamed` and `event_log` call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError
from contracts.schema import DatasetSchema
from data_sources.columns import CANONICAL, ColumnKind
from data_sources.findings import raise_fatal
from data_sources.noticed import Noticed
from data_sources.reading import notice, unreadable, wanted_columns
from data_sources.tables import raw_slices

SLICE_ROWS: Final = 250_000
"""Some 50 MB of events."""


@dataclass(frozen=True)
class Slice:
    """Some rows of a file: in canonical types with every column that was asked for, and what was noticed of them."""

    frame: pl.DataFrame
    noticed: list[Noticed]
    columns: tuple[str, ...]
    """All that the file has."""


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
    for some in named_slices(path, file, schema, name, kinds, rows):
        raise_fatal(finding for of in some.noticed for finding in of.findings(file, some.columns))
        yield some.frame


def named_slices(
    path: Path, file: str, schema: DatasetSchema, name: str, kinds: Mapping[str, ColumnKind], rows: int
) -> Iterator[Slice]:
    """What `read_slices` gives; its failures begin with the name of the file."""
    try:
        yield from read_slices(path, schema, name, kinds, rows)
    except DatasetError as error:
        raise unreadable(file, error).error() from error


def read_slices(
    path: Path, schema: DatasetSchema, name: str, kinds: Mapping[str, ColumnKind], rows: int
) -> Iterator[Slice]:
    """Slices of `rows` of one file, whatever its values. Raises DatasetError where it cannot be read."""
    texts = [key for key, kind in kinds.items() if CANONICAL[kind] == pl.String]
    before = 0
    for raw in raw_slices(path, kinds, texts, rows):
        frame, noticed = notice(raw.frame, schema, name, kinds, before)
        absent = [pl.lit(None, CANONICAL[kind]).alias(key) for key, kind in kinds.items() if key not in frame]
        yield Slice(frame.with_columns(absent).select(list(kinds)), noticed, raw.columns)
        before += len(frame)


def changed(file: str) -> DatasetError:
    """What to raise where a file that is read twice is not what it was."""
    return DatasetError(f"{file} was changed while it was read.", fix="Run it again once nobody writes to it.")
