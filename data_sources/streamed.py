"""A dataset of many events as codes and arrays, in memory that does not grow with the events.

What `indexed.index_dataset` makes, to the byte. The files are read twice, a slice at a time. First ids are counted:
the counts say where the events of each user will lie. Then codes, times and weights are appended to the place of their
bucket, some neighbouring users, in arrays mapped onto disk (`contracts.large_arrays`: 21 bytes an event), and each
bucket is sorted where it is. Memory: a slice, a bucket (or the user with more events than one), and ids and features.
Training, the gate and the benchmarks call `index_folder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import DatasetError, NotEnoughData
from contracts.interactions import Interactions
from contracts.large_arrays import mapped
from contracts.schema import DEFAULT_EVENT_TYPE
from data_sources.dataset import TRAINING_COLUMNS, Dataset, open_dataset
from data_sources.folders import living_folder
from data_sources.indexed import IndexedDataset, align, codes_of, distinct, event_weights, index_dataset
from data_sources.slices import SLICE_ROWS, changed, table_slices
from data_sources.tables import find_table, parquet_rows
from data_sources.tallies import Tally

STREAM_ABOVE: Final = 3_000_000
"""Events of a dataset that is read at once at most: 150 bytes each, half a gigabyte, in half of the time."""
BUCKET_EVENTS: Final = 1_000_000
"""Sorted at a time: some 60 MB; of a hundred million events a slice then has two thousand for each bucket."""


def index_folder(path: Path) -> IndexedDataset:
    """Number the ids of a dataset folder and turn its events into arrays, streamed where there are many.

    Raises what `open_dataset` and `index_dataset` do, and StorageFull.
    """
    if streams(path):
        return index_streamed(path, open_dataset(path, event_columns=()))
    return index_dataset(open_dataset(path, event_columns=TRAINING_COLUMNS))


def streams(path: Path, above: int | None = None) -> bool:
    """Whether a dataset has so many events that they are not read at once; only of Parquet files that is known.

    `above`: how many are not yet so many, default STREAM_ABOVE.
    """
    most = STREAM_ABOVE if above is None else above
    try:
        files = find_table(living_folder(path), "events")
        return files is not None and files.format == "parquet" and sum(map(parquet_rows, files.parts)) > most
    except DatasetError:
        return False  # reading it whole says what is wrong, and where


def index_streamed(path: Path, tables: Dataset) -> IndexedDataset:
    """The events of a dataset folder with the schema, users and items of `tables`; its events are not looked at.

    Raises DatasetError (file, column, rows), NotEnoughData where there are no events, StorageFull.
    """
    events = _Events(living_folder(path), tables)
    users, items = Tally(n=pl.Expr.sum), Tally(n=pl.Expr.sum)
    for _, frame in events.slices(("user_id", "item_id")):
        users.add(frame.group_by(id="user_id").agg(n=pl.len()))
        items.add(frame.group_by(id="item_id").agg(n=pl.len()))
    counted = users.merged()
    if counted.is_empty():
        raise NotEnoughData("the dataset has no events.", fix="Add rows to events; `tandem check` says what is there.")
    user_ids = distinct(counted["id"], tables.users["user_id"])
    item_ids = distinct(items.merged()["id"], tables.items["item_id"])
    counts = np.zeros(len(user_ids), np.int64)
    counts[codes_of(counted["id"], user_ids)] = counted["n"].to_numpy()
    filled = _Arrays.empty(np.append(0, np.cumsum(counts)), len(item_ids), tables.schema.given_split)
    filled.fill(events.coded(user_ids, item_ids))
    return IndexedDataset(
        tables.schema,
        user_ids,
        item_ids,
        filled.interactions,
        filled.is_test,
        align(tables.users, user_ids),
        align(tables.items, item_ids),
    )


@dataclass(frozen=True)
class _Coded:
    """Some events in the order of the files. All arrays [n]."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64] | None
    """None: the position among the user's events."""
    weights: NDArray[np.float32]
    is_test: NDArray[np.bool_] | None


@dataclass(frozen=True)
class _Events:
    """The files of a dataset's events, gone through from the first to the last."""

    folder: Path
    tables: Dataset

    def slices(self, columns: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """(file, some of its rows). Raises DatasetError."""
        files = find_table(self.folder, "events")
        for path in files.parts if files else ():
            file = path.relative_to(self.folder).as_posix()
            for frame in table_slices(path, file, self.tables.schema, "events", SLICE_ROWS, tuple(columns)):
                yield file, frame

    def coded(self, user_ids: pl.Series, item_ids: pl.Series) -> Iterator[_Coded]:
        """Events under the codes of their ids. Raises DatasetError where a file has changed meanwhile."""
        users, items, schema = pl.Enum(user_ids), pl.Enum(item_ids), self.tables.schema
        timed: bool | None = None
        for file, frame in self.slices(TRAINING_COLUMNS):
            if frame.is_empty():
                continue
            times = _times(frame, ordered=schema.ordered)
            if timed is not None and timed != (times is not None):
                raise DatasetError(f"{file}: of the parts of events only some have times.", fix="Give all parts times.")
            timed = times is not None
            yield _Coded(
                _codes(frame["user_id"], users, file),
                _codes(frame["item_id"], items, file),
                times,
                event_weights(frame["event_type"].fill_null(DEFAULT_EVENT_TYPE), schema),
                (frame["split"] == "test").to_numpy() if schema.given_split else None,
            )


def _times(frame: pl.DataFrame, *, ordered: bool) -> NDArray[np.int64] | None:
    if not ordered:
        return np.zeros(len(frame), np.int64)
    times = frame["timestamp"]
    return None if times.null_count() else times.to_numpy()  # none in a file without the column, never in another


def _codes(ids: pl.Series, known: pl.Enum, file: str) -> NDArray[np.int32]:
    codes = ids.cast(known, strict=False)
    if codes.null_count():
        raise changed(file)
    return codes.to_physical().cast(pl.Int32).to_numpy()


@dataclass(frozen=True)
class _Arrays:
    """Places for all events, user by user."""

    interactions: Interactions
    is_test: NDArray[np.bool_] | None
    users: NDArray[np.int32]
    """[n_events], to sort by."""

    @staticmethod
    def empty(offsets: NDArray[np.int64], n_items: int, given_split: bool) -> _Arrays:
        """Raises StorageFull."""
        n = int(offsets[-1])
        items, times, weights, users = (mapped(n, kind) for kind in (np.int32, np.int64, np.float32, np.int32))
        interactions = Interactions(items, times, weights, offsets, n_items)
        return _Arrays(interactions, mapped(n, np.bool_) if given_split else None, users)

    def fill(self, parts: Iterable[_Coded]) -> None:
        """Put events where they belong. Raises DatasetError where they are not those that were counted."""
        offsets = self.interactions.offsets
        spans = list(self.interactions.spans(BUCKET_EVENTS))
        first_users = np.array([span.start for span in spans])
        free, ends = offsets[first_users], offsets[[span.stop for span in spans]]
        timed = True
        for part in parts:
            buckets = np.searchsorted(first_users, part.users, side="right") - 1
            runs = np.bincount(buckets, minlength=len(spans))
            if (free + runs > ends).any():
                raise changed("events")
            order = np.argsort(buckets, kind="stable")
            places = np.repeat(free - np.cumsum(runs) + runs, runs) + np.arange(len(order))
            for column, values in self._columns(part):
                column[places] = values[order]
            free += runs
            timed = part.times is not None
        if (free < ends).any():
            raise changed("events")
        for span in spans:
            self._sort(span, timed)

    def _columns(self, part: _Coded) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Each column of this with the same one of a part."""
        into = self.interactions
        pairs = (
            (self.users, part.users),
            (into.items, part.items),
            (into.times, part.times),
            (into.weights, part.weights),
            (self.is_test, part.is_test),
        )
        return ((column, values) for column, values in pairs if column is not None and values is not None)

    def _sort(self, span: slice, timed: bool) -> None:
        """Sort the events of a bucket by user and time, file order among ties."""
        into, where = self.interactions, self.interactions.within(span)
        order = np.lexsort((into.times[where], self.users[where]))  # stable
        for column in (into.items, into.times, into.weights, self.is_test):
            if column is not None:
                column[where] = column[where][order]
        if not timed:
            begun = np.repeat(into.offsets[span], np.diff(into.offsets[span.start : span.stop + 1]))
            into.times[where] = np.arange(where.start, where.stop) - begun
