"""The events of a dataset and of a log as the parts of a new dataset: each once, young enough, in order, user by user.

Memory is one bucket of users (`user_buckets.py`), whatever the number of events; equal input gives equal bytes. What is
in the dataset stays as it is, but for what is of somebody who left; of the log an event is left out that the dataset
or the log has already (same user, same `event_id`). It does not know where events come from or go to; `snapshot.py`
calls it.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from batch_job.snapshot_people import ARRIVED, LEFT, MOVED, People
from batch_job.user_buckets import BUCKETS, PLACE, UserBuckets
from contracts.errors import naming_full_disk
from contracts.schema import DatasetSchema
from data_sources.columns import CANONICAL
from data_sources.reading import wanted_columns

EVENTS_FOLDER: Final = "events"

_HOUR: Final = 3_600
_NEW_SPLIT: Final = "train"
"""Of an event of the log where the dataset says what is test: that choice stays as it was given."""
_EVENT: Final = ("user_id", "event_id")


@dataclass(frozen=True)
class Rules:
    """What becomes of the events."""

    schema: DatasetSchema
    oldest: int | None = None
    """Unix seconds; earlier events are left out. Needs times."""
    people: People = field(default_factory=People.nobody)
    left_since: int = 0
    """Unix seconds: of who left before, the dataset has nothing but what they did since."""


@dataclass
class Tally:
    """What is in the parts, and what was left out."""

    events: int = 0
    users: int = 0
    log_events: int = 0
    """Of the log, new to the dataset."""
    repeated: int = 0
    """Of the log, left out."""
    too_old: int = 0
    """Of either, left out."""
    forgotten: int = 0
    """Of either, left out: of users who left."""
    forgotten_users: int = 0
    newest_event: int = 0
    """Unix seconds; 0 without times."""
    arrivals: Counter[int] = field(default_factory=Counter)
    """Unix hour → new events of the log that arrived in it."""
    items: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.String))
    """Ids of all items, each once."""


def shaped(frame: pl.DataFrame, schema: DatasetSchema) -> pl.DataFrame:
    """A slice of a dataset's events, or a frame of the log, as `write_parts` wants it.

    Times of the log are its own, whatever they mean in the dataset. MOVED may be missing: none is.
    """
    kinds = wanted_columns(schema, "events")
    shape = {name: CANONICAL[kind] for name, kind in kinds.items()}
    shape |= {"timestamp": pl.Int64(), ARRIVED: pl.Int64(), MOVED: pl.Boolean()}
    absent = [pl.lit(None, kind).alias(name) for name, kind in shape.items() if name not in frame.columns]
    return frame.with_columns(absent).select(list(shape))


def write_parts(buckets: UserBuckets, folder: Path, rules: Rules) -> Tally:
    """Write `events/part-NNN.parquet` below a folder, a bucket each. Raises StorageFull."""
    tally = Tally()
    (folder / EVENTS_FOLDER).mkdir()
    buckets.finish()
    for number in range(BUCKETS):
        if (frame := buckets.frame(number)) is None:
            continue
        events = of_users(frame.sort(PLACE), rules, tally)
        if len(events):
            _write(events, folder / EVENTS_FOLDER / f"part-{number:03}.parquet")
    return tally


def of_users(frame: pl.DataFrame, rules: Rules, tally: Tally) -> pl.DataFrame:
    """The events of some users as the new dataset has them; `frame` is in the order in which they came in, by PLACE."""
    frame = _without_left(frame, rules, tally)
    young = frame if rules.oldest is None else frame.filter(pl.col("timestamp") >= rules.oldest)
    there, told = young.filter(pl.col(ARRIVED).is_null()), young.filter(pl.col(ARRIVED).is_not_null())
    new = told.unique(_EVENT, keep="first", maintain_order=True)
    new = new.join(there.select(_EVENT).drop_nulls(), on=_EVENT, how="anti", maintain_order="left")
    tally.too_old += len(frame) - len(young)
    tally.repeated += len(told) - len(new)
    events = _in_order(there, new, rules.schema)
    _count(events, new, rules.schema, tally)
    return events.select(list(wanted_columns(rules.schema, "events")))


def _without_left(frame: pl.DataFrame, rules: Rules, tally: Tally) -> pl.DataFrame:
    """The events but those of users who left, from before they did.

    The log says when an event arrived, a dataset at most when it was, and without times all of it is from before. A
    snapshot has nothing more of who had left by then, but for what they did since.
    """
    left = rules.people.departures(frame["user_id"])
    if left.is_empty():
        return frame
    joined = frame.join(left, on="user_id", how="left", maintain_order="left")
    before = pl.col("timestamp") <= pl.col(LEFT) if rules.schema.timed else pl.lit(value=True)
    of_dataset = before & (pl.col(LEFT) >= rules.left_since)
    gone = pl.when(pl.col(ARRIVED).is_null()).then(of_dataset).otherwise(pl.col(ARRIVED) <= pl.col(LEFT))
    kept = joined.filter(~gone.fill_null(value=False)).drop(LEFT)
    tally.forgotten += len(frame) - len(kept)
    tally.forgotten_users += joined.filter(gone.fill_null(value=False))["user_id"].n_unique()
    return kept


def _in_order(there: pl.DataFrame, new: pl.DataFrame, schema: DatasetSchema) -> pl.DataFrame:
    """User by user: by time, in the order in which they came in among ties; without times, the new ones last."""
    if schema.given_split:
        new = new.with_columns(pl.lit(_NEW_SPLIT).alias("split"))
    if schema.timed:
        return pl.concat([there, new]).sort("user_id", "timestamp", PLACE)
    new = new.sort("user_id", "timestamp", ARRIVED, PLACE)
    if schema.ordered:
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
        moved = pl.col(MOVED).fill_null(value=False)
        new = pl.concat([there.filter(moved), new])  # positions in a session come before any time of the log
        new = new.sort("user_id", "timestamp", ARRIVED, PLACE)
        there = there.filter(~moved)
        there = there.with_columns(pl.col("timestamp").fill_null(position))  # of a dataset in the order of its rows
        last = there.group_by("user_id").agg(pl.col("timestamp").max().alias("last"))
        after = pl.col("last").fill_null(-1) + 1 + position
        new = new.join(last, on="user_id", how="left", maintain_order="left").with_columns(timestamp=after)
        return pl.concat([there, new.select(there.columns)]).sort("user_id", "timestamp", PLACE)
    return pl.concat([there, new]).sort("user_id", maintain_order=True)


def _count(events: pl.DataFrame, new: pl.DataFrame, schema: DatasetSchema, tally: Tally) -> None:
    tally.events += len(events)
    tally.users += events["user_id"].n_unique()
    tally.items = pl.concat([tally.items, events["item_id"].unique()]).unique()
    tally.log_events += len(new)
    if schema.timed and len(events):
        tally.newest_event = max(tally.newest_event, int(events["timestamp"].max() or 0))  # type: ignore[arg-type]
    hours = new.select((pl.col(ARRIVED) // _HOUR).alias("hour")).group_by("hour").len()
    tally.arrivals.update(dict(hours.iter_rows()))


def _write(events: pl.DataFrame, path: Path) -> None:
    packed = io.BytesIO()  # polars does not say of a full disk what kind of error it is
    events.write_parquet(packed)
    with naming_full_disk(path):
        path.write_bytes(packed.getbuffer())
