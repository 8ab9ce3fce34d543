"""A laptop's dataset as of now: with the items that were told, without who left, sessions under their users' ids.

What the snapshot of a night does in AWS (`batch_job/snapshot.py`), on a dataset in memory; the log is no part of it
here. Where nothing was told, it is the dataset that it was. `retrain` trains on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl

from batch_job.snapshot_catalogue import told_frames
from batch_job.snapshot_parts import Rules, Tally, of_users, shaped
from batch_job.snapshot_people import People
from batch_job.user_buckets import PLACE
from contracts.schema import DatasetSchema
from data_sources.dataset import TRAINING_COLUMNS, Dataset, open_dataset, read_schema
from data_sources.folders import living_folder
from data_sources.indexed import IndexedDataset, index_dataset
from data_sources.streamed import index_streamed, streams
from stores.fresh_items import SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE


def dataset_now(dataset: Dataset, home: Path) -> tuple[Dataset, str]:
    """The dataset, and what tells two such apart: empty where live data changes nothing of it.

    Raises LiveDataUnavailable, StateBusy.
    """
    live = _Live.of(dataset.schema, home)
    return live.on(dataset), live.digest()


def indexed_now(path: Path, home: Path) -> tuple[IndexedDataset, str]:
    """A dataset folder as of now as arrays, and what tells two such apart.

    Many events are streamed; they are read at once where somebody left or signed in, for then events change.
    Raises LiveDataUnavailable, StateBusy, and what reading and indexing raise.
    """
    live = _Live.of(read_schema(living_folder(path)), home)
    if streams(path) and not live.people.digest():
        return index_streamed(path, live.on(open_dataset(path, event_columns=()))), live.digest()
    return index_dataset(live.on(open_dataset(path, event_columns=TRAINING_COLUMNS))), live.digest()


@dataclass(frozen=True)
class _Live:
    """What was told since the dataset was written."""

    told: list[pl.DataFrame]
    """Items."""
    people: People

    @staticmethod
    def of(schema: DatasetSchema, home: Path) -> _Live:
        live = home / LIVE_FILE
        if not live.exists():
            return _Live([], People.nobody())
        with SqliteFreshItems(live) as items, SqliteIdentities(live) as identities:
            told = [frame for frame, _ in told_frames(schema, items.all())] if schema.items else []
            return _Live(told, People.of(identities))

    def on(self, dataset: Dataset) -> Dataset:
        if self.told:
            dataset = _with_items(dataset, pl.concat(self.told))
        return _without_left(dataset, self.people) if self.people.digest() else dataset

    def digest(self) -> str:
        return _digest(self.told, self.people.digest())


def _with_items(dataset: Dataset, told: pl.DataFrame) -> Dataset:
    """What was told of an item stands for its whole row."""
    own = dataset.items.join(told, on="item_id", how="anti", maintain_order="left")
    return Dataset(dataset.schema, dataset.events, dataset.users, pl.concat([own, told], how="diagonal"))


def _without_left(dataset: Dataset, people: People) -> Dataset:
    events = people.renamed(dataset.events)
    placed = shaped(events, dataset.schema).with_row_index(PLACE).with_columns(pl.col(PLACE).cast(pl.Int64))
    kept = of_users(placed, Rules(dataset.schema, people=people), Tally())
    if not dataset.schema.ordered:
        kept = kept.with_columns(pl.lit(0, pl.Int64).alias("timestamp"))  # as a dataset is opened
    kept = kept.select(dataset.events.columns)
    users = dataset.users
    if users.width:
        users = users.join(people.departures(users["user_id"]), on="user_id", how="anti", maintain_order="left")
    return Dataset(dataset.schema, kept, users, dataset.items)


def _digest(told: list[pl.DataFrame], people: str) -> str:
    if not told and not people:
        return ""
    seen = sha256(people.encode())
    for frame in told:
        seen.update(frame.write_ndjson().encode())
    return seen.hexdigest()
