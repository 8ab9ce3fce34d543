"""A laptop's dataset as of now: with the items that were told, without who left, sessions under their users' ids.

What the snapshot of a night does in AWS (`batch_job/snapshot.py`), on a dataset in memory; the log is no part of it
here. Where nothing was told, it is the dataset that it was. `retrain` trains on it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import polars as pl

from batch_job.snapshot_catalogue import told_frames
from batch_job.snapshot_parts import Rules, Tally, of_users, shaped
from batch_job.snapshot_people import People
from batch_job.user_buckets import PLACE
from data_sources.dataset import Dataset
from stores.fresh_items import SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE


def dataset_now(dataset: Dataset, home: Path) -> tuple[Dataset, str]:
    """The dataset, and what tells two such apart: empty where live data changes nothing of it.

    Raises LiveDataUnavailable, StateBusy.
    """
    live = home / LIVE_FILE
    if not live.exists():
        return dataset, ""
    with SqliteFreshItems(live) as items, SqliteIdentities(live) as identities:
        told = [frame for frame, _ in told_frames(dataset.schema, items.all())] if dataset.schema.items else []
        people = People.of(identities)
    if told:
        dataset = _with_items(dataset, pl.concat(told))
    digest = people.digest()
    return (_without_left(dataset, people) if digest else dataset), _digest(told, digest)


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
