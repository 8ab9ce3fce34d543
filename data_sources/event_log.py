"""The events of a dataset as the doctor goes through them: all at once, or read slice by slice where they are many.

Which rows are odd is asked in two steps. A check counts them among the figures that were added up over all slices; its
`Sought` is then looked for together with those of all other checks, from the first row until enough is found. Knows
nothing of what is odd; `doctor` makes it, checks ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from contracts.errors import DatasetError
from contracts.large_arrays import mapped
from contracts.schema import EVENT_COLUMNS, DatasetSchema
from data_sources.findings import NO_ROWS, SHOWN, Finding, Place, Rows, place_in
from data_sources.noticed import Noticed
from data_sources.reading import Table, unnamed_columns, unreadable, wanted_columns
from data_sources.repeats import Room
from data_sources.slices import SLICE_ROWS, changed, named_slices, read_slices
from data_sources.tables import TableFiles

_TYPES: Final = dict.fromkeys(EVENT_COLUMNS, pl.String()) | {"timestamp": pl.Int64(), "value": pl.Float64()}


@dataclass(frozen=True)
class Sought:
    """Events that a check speaks of: `where` holds for `count` of them; `column` has the values to show."""

    column: str
    where: pl.Expr
    """Over columns of events, and `row`, counted from 1."""
    count: int


@dataclass(frozen=True)
class EventLog:
    """The table of events, bad values as null."""

    columns: tuple[str, ...]
    """All that the files have."""
    parts: tuple[tuple[str, int], ...]
    """(file, rows) of each part."""
    findings: tuple[Finding, ...]
    read: Callable[[Sequence[str]], Iterator[pl.DataFrame]]
    """From columns to frames with them, from the first row to the last; one of no rows where there are none."""
    room: Room
    """Where an array with a place for every event is."""
    name: str = "events"

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.parts)

    def slices(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Frames with these columns (null where no file has one) and `row`. Raises DatasetError for a changed file."""
        before = 0
        for frame in self.read(columns):
            if before + len(frame) > self.rows:
                raise changed(self.name)
            yield frame.with_columns(row=pl.int_range(before + 1, before + 1 + pl.len(), dtype=pl.Int64))
            before += len(frame)
        if before < self.rows:
            raise changed(self.name)

    def places(self, sought: Sequence[Sought]) -> list[Place]:
        """The place of each: in the first file that has any of its rows."""
        found, before = [NO_ROWS for _ in sought], 0
        names = {name for one in sought for name in (one.column, *one.where.meta.root_names())}
        frames = self.slices(sorted(names - {"row"}))
        while any(len(rows.first) < min(SHOWN, one.count) for rows, one in zip(found, sought, strict=True)):
            if (frame := next(frames, None)) is None:
                raise changed(self.name)
            for number, one in enumerate(sought):
                if len(found[number].first) < SHOWN:
                    mask = frame.select(one.where).to_series()
                    found[number] += Rows.where(mask, frame[one.column], before)
            before += len(frame)
        return [
            place_in(self.parts, one.column, replace(rows, count=one.count))
            for rows, one in zip(found, sought, strict=True)
        ]


def log_of_table(table: Table) -> EventLog:
    """The events of a table in memory."""

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        absent = [_absent(column) for column in columns if column not in table.frame.columns]
        yield table.frame.with_columns(absent).select(columns)

    return EventLog(table.columns, table.parts, table.findings, read, np.zeros)


def log_of_files(folder: Path, files: TableFiles, schema: DatasetSchema) -> EventLog:
    """The events in some files, gone through once: what can be read to its end will be read again, slice by slice."""
    parts = [_examined(folder, path, schema) for path in files.parts]
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    findings = tuple(finding for part in parts for finding in part.findings)
    whole = _Files(schema, tuple(part for part in parts if part.columns), columns)
    return EventLog(columns, tuple((part.file, part.rows) for part in parts), findings, whole.read, mapped)


@dataclass(frozen=True)
class _Part:
    path: Path
    file: str
    rows: int = 0
    columns: tuple[str, ...] = ()
    """Without any it cannot be read."""
    findings: tuple[Finding, ...] = ()


def _examined(folder: Path, path: Path, schema: DatasetSchema) -> _Part:
    """Read a file to its end for what is odd about its values."""
    part, noticed = _Part(path, path.relative_to(folder).as_posix()), list[Noticed]()
    try:
        for some in read_slices(path, schema, "events", wanted_columns(schema, "events"), SLICE_ROWS):
            noticed = [a + b for a, b in zip(noticed, some.noticed, strict=True)] if noticed else some.noticed
            part = replace(part, rows=part.rows + len(some.frame), columns=some.columns)
    except DatasetError as error:
        return _Part(path, part.file, findings=(unreadable(part.file, error),))
    findings = [finding for column in noticed for finding in column.findings(part.file, part.columns)]
    return replace(part, findings=(*findings, *unnamed_columns(part.file, part.columns, schema, "events")))


@dataclass(frozen=True)
class _Files:
    """Files that can be read, and the columns that any of them has."""

    schema: DatasetSchema
    parts: tuple[_Part, ...]
    columns: tuple[str, ...]

    def read(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        kinds = wanted_columns(self.schema, "events")
        absent = [_absent(column) for column in columns if column not in kinds]
        kinds = {name: kind for name, kind in kinds.items() if name in ("user_id", *columns)}  # one at least, for rows
        before = 0
        if not self.parts:
            yield pl.DataFrame(schema={column: _TYPES[column] for column in columns})
        for part in self.parts:
            for some in named_slices(part.path, part.file, self.schema, "events", kinds, SLICE_ROWS):
                yield self._timed(some.frame.with_columns(absent), before).select(columns)
                before += len(some.frame)

    def _timed(self, frame: pl.DataFrame, before: int) -> pl.DataFrame:
        """Without times but with an order, the time of an event is its position."""
        if self.schema.timed or not self.schema.ordered or "timestamp" in self.columns:
            return frame
        return frame.with_columns(timestamp=pl.int_range(before, before + pl.len(), dtype=pl.Int64))


def _absent(column: str) -> pl.Expr:
    return pl.lit(None, _TYPES[column]).alias(column)
