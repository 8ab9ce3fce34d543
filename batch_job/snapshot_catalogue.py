"""The catalogue of a night: the dataset's own items and users, with the items that were told, without who left.

A table stays the files that it was where nothing of it changes; else it is written anew as parts, a slice at a time:
memory is that of a slice and the ids of what was told. What was told of an item stands for its whole row. A feature
that the schema does not know any more, or knows as another kind, is left out and counted. Equal input gives equal
bytes. It does not know events; `snapshot.py` calls it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import floor, isfinite
from pathlib import Path
from typing import Any, Final

import polars as pl

from batch_job.snapshot_people import People
from batch_job.user_buckets import PLACE, UserBuckets
from contracts.errors import naming_full_disk
from contracts.feature_encoder import category_text, multi_values
from contracts.live import LiveItem
from contracts.schema import DatasetSchema, FeatureKind
from data_sources.columns import CANONICAL
from data_sources.reading import ID_OF
from data_sources.slices import table_slices
from data_sources.tables import find_table

SLICE_ROWS: Final = 50_000
"""Of items with a text of a kilobyte: 50 MB."""
TOLD_AT_ONCE: Final = 5_000
"""Records of live items that are Python objects at once, of 8 KB each at most."""


@dataclass(frozen=True)
class Folded:
    """What became of the catalogue."""

    items: int = 0
    """That were told, and are in the table now."""
    features_dropped: int = 0
    """Values of these that the schema has no place for."""
    users: int = 0
    """Whose row was left out because they left."""


def fold_catalogue(
    folder: Path, schema: DatasetSchema, told: Iterable[LiveItem], people: People, scratch: Path
) -> Folded:
    """Bring the tables of items and users in a folder up to what was told since they were written.

    `scratch`: an empty folder. A table that is missing although the schema needs it stays so, for the check to name.
    Raises DatasetError (file, column, rows) for a table that is written anew and could not be opened, StorageFull.
    """
    items = _Items(schema, scratch)
    if schema.items and find_table(folder, "items") is not None:
        items.take(told)
    if items.count:
        _replace(folder, "items", items.parts(_slices(folder, schema, "items")), scratch)
    users = _without_left(folder, schema, people, scratch) if people.any_left else 0
    return Folded(items.count, items.dropped, users)


class _Items:
    """Told items, on disk until they are asked for in an order that does not depend on the store's."""

    def __init__(self, schema: DatasetSchema, scratch: Path) -> None:
        self._schema = schema
        (scratch / "told").mkdir()
        self._buckets = UserBuckets(scratch / "told", ID_OF["items"])
        self._ids: list[pl.Series] = []
        self.count = self.dropped = 0

    def take(self, told: Iterable[LiveItem]) -> None:
        for frame, dropped in told_frames(self._schema, told):
            self._buckets.add(frame)
            self._ids.append(frame[ID_OF["items"]])
            self.count += len(frame)
            self.dropped += dropped

    def parts(self, own: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The dataset's own rows but those that were told anew, then these by bucket and id."""
        ids = pl.concat(self._ids).to_frame()
        for frame in own:
            yield frame.join(ids, on=ID_OF["items"], how="anti", maintain_order="left")
        waiting: list[pl.DataFrame] = []
        for bucket in self._buckets.frames():
            waiting.append(bucket.drop(PLACE).sort(ID_OF["items"]))
            if sum(map(len, waiting)) >= SLICE_ROWS:
                yield pl.concat(waiting)
                waiting = []
        if waiting:
            yield pl.concat(waiting)


def told_frames(schema: DatasetSchema, told: Iterable[LiveItem]) -> Iterator[tuple[pl.DataFrame, int]]:
    """The items whose features were told as rows of a table of items, TOLD_AT_ONCE a frame, in the order in which they
    come; and how many values of these the schema has no place for.
    """
    left = (one for one in told if one.features is not None)
    while portion := list(islice(left, TOLD_AT_ONCE)):
        columns = [pl.Series(ID_OF["items"], [one.item_id for one in portion], pl.String)]
        kept = 0
        for name, kind in schema.items.items():
            if name != ID_OF["items"]:
                read = _READERS[kind]
                column = pl.Series(name, [read((one.features or {}).get(name)) for one in portion], CANONICAL[kind])
                kept += len(column) - column.null_count()
                columns.append(column)
        given = sum(value is not None for one in portion for value in (one.features or {}).values())
        yield pl.DataFrame(columns), given - kept


def _without_left(folder: Path, schema: DatasetSchema, people: People, scratch: Path) -> int:
    """Take those who left out of the table of users; how many rows that were."""
    if find_table(folder, "users") is None:
        return 0
    left_out = 0
    for frame in _slices(folder, schema, "users"):
        left_out += len(frame.join(people.departures(frame["user_id"]), on="user_id", how="semi"))
    if left_out:
        kept = (
            frame.join(people.departures(frame["user_id"]), on="user_id", how="anti", maintain_order="left")
            for frame in _slices(folder, schema, "users")
        )
        _replace(folder, "users", kept, scratch)
    return left_out


def _slices(folder: Path, schema: DatasetSchema, name: str) -> Iterator[pl.DataFrame]:
    files = find_table(folder, name)
    for path in files.parts if files else ():
        yield from table_slices(path, path.relative_to(folder).as_posix(), schema, name, SLICE_ROWS)


def _replace(folder: Path, name: str, frames: Iterator[pl.DataFrame], scratch: Path) -> None:
    """Make frames the parts of a table, in place of the files that it has; `frames` may read these until its end."""
    parts = scratch / f"{name}-parts"
    parts.mkdir()
    for number, frame in enumerate(frames):
        path = parts / f"part-{number:05}.parquet"
        with naming_full_disk(path):
            frame.write_parquet(path)
    files = find_table(folder, name)
    for path in files.parts if files else ():
        path.unlink()
    shutil.rmtree(folder / name, ignore_errors=True)
    shutil.move(parts, folder / name)


def _word(value: Any) -> str | None:
    return None if value is None or isinstance(value, list) else category_text(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _seconds(value: Any) -> int | None:
    return None if (number := _number(value)) is None else floor(number)


def _words(value: Any) -> list[str] | None:
    if value is None:
        return None
    return multi_values(value) if isinstance(value, str | list) else [category_text(value)]


_READERS: Final[dict[FeatureKind, Callable[[Any], Any]]] = {
    FeatureKind.CATEGORICAL: _word,
    FeatureKind.TEXT: _word,
    FeatureKind.NUMERIC: _number,
    FeatureKind.TIMESTAMP: _seconds,
    FeatureKind.MULTI_CATEGORICAL: _words,
}
"""What serving makes of a value told of an item, as a table of items holds it; None: there is no place for it."""
