"""A dataset as codes and arrays: ids sorted by their UTF-8 bytes, position = code, events in CSR form.

The numeric form that training and evaluation work on. Whole columns at a time: 10 million events need about 1.5 GB
beside the opened dataset, and `streamed` makes the same of a folder without either. Knows nothing of
towers or splits; training_job, evaluation's drivers and the CLI call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import NotEnoughData
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema
from data_sources.dataset import Dataset


@dataclass(frozen=True)
class IndexedDataset:
    """Events, users and items under dense codes.

    `user_ids` [n_users] and `item_ids` [n_items]: every id of the events and of the users and items tables, ascending
    by UTF-8 bytes; position = code. `users` and `items` hold the features in code order, null where unknown.
    `is_test` [n_events], aligned with `interactions`: the given split, None without one.
    """

    schema: DatasetSchema
    user_ids: pl.Series
    item_ids: pl.Series
    interactions: Interactions
    is_test: NDArray[np.bool_] | None
    users: pl.DataFrame
    items: pl.DataFrame


def index_dataset(dataset: Dataset) -> IndexedDataset:
    """Number the ids of a dataset and turn its events into arrays. Raises NotEnoughData where it has no events."""
    if dataset.events.is_empty():
        raise NotEnoughData("the dataset has no events.", fix="Add rows to events; `tandem check` says what is there.")
    return index_some(dataset)


def index_some(dataset: Dataset) -> IndexedDataset:
    """The same for some users of a dataset, who may have no events."""
    events, schema = dataset.events, dataset.schema
    user_ids = distinct(events["user_id"], dataset.users["user_id"])
    item_ids = distinct(events["item_id"], dataset.items["item_id"])
    interactions, order = _interactions(events, schema, user_ids, item_ids)
    return IndexedDataset(
        schema,
        user_ids,
        item_ids,
        interactions,
        (events["split"] == "test").to_numpy()[order] if schema.given_split else None,
        align(dataset.users, user_ids),
        align(dataset.items, item_ids),
    )


def distinct(*columns: pl.Series) -> pl.Series:
    """Distinct values of columns, ascending by bytes (the order of polars strings)."""
    return pl.concat([column.unique() for column in columns]).unique().sort()


def codes_of(values: pl.Series, ids: pl.Series) -> NDArray[np.int32]:
    """The codes [n] of values [n] that are all among the sorted `ids`."""
    return values.cast(pl.Enum(ids)).to_physical().cast(pl.Int32).to_numpy()


def _interactions(
    events: pl.DataFrame, schema: DatasetSchema, user_ids: pl.Series, item_ids: pl.Series
) -> tuple[Interactions, NDArray[np.int64]]:
    """The events sorted by user and time, file order among ties, and the order [n_events] that sorts them."""
    users = codes_of(events["user_id"], user_ids)
    times = events["timestamp"].to_numpy()
    order = np.lexsort((times, users))  # stable
    counts = np.bincount(users, minlength=len(user_ids))
    del users
    interactions = Interactions(
        codes_of(events["item_id"], item_ids)[order],
        times[order],
        event_weights(events["event_type"], schema)[order],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        len(item_ids),
    )
    return interactions, order


def event_weights(types: pl.Series, schema: DatasetSchema) -> NDArray[np.float32]:
    """The weight [n] of each event by its type [n]."""
    weights: dict[Any, float] = {kind: schema.event_weights.of(kind) for kind in types.unique().to_list()}
    return types.replace_strict(list(weights), list(weights.values()), return_dtype=pl.Float32).to_numpy()


def align(features: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The feature columns in the order of `ids`, null where the table does not know one."""
    key = features.columns[0]
    joined = ids.alias(key).to_frame().join(features, on=key, how="left", maintain_order="left")
    return joined.drop(key)
