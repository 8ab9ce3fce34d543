"""Profiles of all users from the files of a dataset, some users at a time, in one process or several.

Events are read once and put by user on disk (`user_buckets.py`); memory is that of one part of the users a process.
Several processes because a write to DynamoDB costs nearly a millisecond of CPU here, which threads of one do not share.
`python -m batch_job backfill` calls it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from batch_job.backfill import backfill_profiles
from batch_job.user_buckets import BUCKETS, PLACE, UserBuckets
from contracts.errors import DatasetError, ProfilesUnavailable
from contracts.schema import DatasetSchema
from data_sources.dataset import Dataset, fill_event_types, read_schema
from data_sources.findings import raise_fatal
from data_sources.indexed import index_some
from data_sources.reading import empty_table, read_table
from data_sources.slices import event_slices
from data_sources.tables import find_table
from stores.profiles import Profiles

_EVENT_SCHEMA: Final = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "timestamp": pl.Int64}
"""What a profile keeps of an event."""
ALONE: Final = 100_000
"""Events and users up to which one process has written them before others would have started."""
SHARE: Final = 4
"""Parts that a process is given at a time: of a million users, a minute of writing over one set of connections."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Target:
    """Where the profiles go, and how."""

    open_profiles: Callable[[], AbstractContextManager[Profiles]]
    """Opens the store for a while; other processes call it, so it must be picklable."""
    processes: int = 1
    """That write at once."""


def backfill_folder(dataset: Path, target: Target, progress: Progress | None = None) -> int:
    """Bring the profile of every user up to the dataset in a folder; returns how many. Killed half-way, run it again.

    `progress` is called between parts of the users; what it raises ends the work. Raises SchemaError, DatasetError
    (file, column, rows), IdInvalid, ProfileTooLarge, ProfilesUnavailable, StateBusy, StorageFull: some users are
    written then, each of them whole.
    """
    tell, loaded = progress or (lambda _done, _total, _text: None), 0
    with tempfile.TemporaryDirectory(prefix="tandem-backfill-") as scratch:
        parts = _parted(dataset, Path(scratch), tell)
        with closing(_all(parts, target)) as counts:
            for users in counts:
                loaded += users
                tell(loaded, 0, "profiles written")
    return loaded


@dataclass(frozen=True)
class _Parts:
    """The users of a dataset by part, on disk."""

    folder: Path
    schema: DatasetSchema
    watermark: int | None
    """The newest time of all, Unix seconds; None without times."""
    rows: int
    """Events and users."""


def _parted(dataset: Path, folder: Path, tell: Progress) -> _Parts:
    """Put the events and the users of a dataset by part into a folder."""
    schema = read_schema(dataset)
    table = read_table(dataset, schema, "users")
    raise_fatal(table.findings)
    users, events = _buckets(folder, "users"), _buckets(folder, "events")
    users.add(table.frame)
    users.finish()
    newest, rows = None, len(table.frame)
    for frame in _event_frames(dataset, schema):
        events.add(frame)
        rows += len(frame)
        if schema.timed and len(frame):
            newest = max(newest or 0, int(frame["timestamp"].max() or 0))  # type: ignore[arg-type]
        tell(rows, 0, "users and events read")
    events.finish()
    return _Parts(folder, schema, newest, rows)


def _buckets(folder: Path, name: str) -> UserBuckets:
    (folder / name).mkdir(exist_ok=True)
    return UserBuckets(folder / name)


def _event_frames(dataset: Path, schema: DatasetSchema) -> Iterator[pl.DataFrame]:
    if (files := find_table(dataset, "events")) is None:
        raise DatasetError(f"{dataset}: there is no table events.", fix="Name the folder of the night's snapshot.")
    for path in files.parts:
        for frame in event_slices(path, path.relative_to(dataset).as_posix(), schema):
            times = [] if schema.ordered else [pl.lit(0, pl.Int64).alias("timestamp")]
            yield fill_event_types(frame).with_columns(times).select(list(_EVENT_SCHEMA))


def _all(parts: _Parts, target: Target) -> Generator[int]:
    """Load share after share, or as many at once as there are processes; how many users each had."""
    if target.processes < 2 or parts.rows <= ALONE:
        with target.open_profiles() as profiles:
            yield from (_load(parts, number, profiles) for number in range(BUCKETS))
        return
    pool = ProcessPoolExecutor(target.processes, mp_context=get_context("spawn"))  # a fork would copy locks of polars
    try:
        shares = [range(first, min(first + SHARE, BUCKETS)) for first in range(0, BUCKETS, SHARE)]
        waiting = [pool.submit(_load_share, parts, share, target.open_profiles) for share in shares]
        yield from (one.result() for one in as_completed(waiting))
    except BrokenProcessPool as error:
        raise ProfilesUnavailable(
            "a process that writes profiles was ended from outside, most likely for want of memory.",
            fix="Give the job a larger instance and run it again; what is written stays.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _load_share(parts: _Parts, share: range, open_profiles: Callable[[], AbstractContextManager[Profiles]]) -> int:
    """Load the users of some parts with connections of its own."""
    with open_profiles() as profiles:
        return sum(_load(parts, number, profiles) for number in share)


def _load(parts: _Parts, number: int, profiles: Profiles) -> int:
    """Load the users of one part; how many it has."""
    schema = msgspec.structs.replace(parts.schema, given_split=False)  # profiles hold all of it
    users, events = (_buckets(parts.folder, name).frame(number) for name in ("users", "events"))
    if users is None and events is None:
        return 0
    dataset = Dataset(
        schema,
        pl.DataFrame(schema=_EVENT_SCHEMA) if events is None else _in_order(events),
        empty_table(schema, "users") if users is None else users.drop(PLACE),
        empty_table(schema, "items"),
    )
    return backfill_profiles(index_some(dataset), profiles, parts.watermark)


def _in_order(events: pl.DataFrame) -> pl.DataFrame:
    """The events in the order of the files, which is their time where these say none."""
    return events.sort(PLACE).with_columns(pl.col("timestamp").fill_null(pl.col(PLACE))).drop(PLACE)
