"""Codes and arrays against a plain Python reading of the same events, and any Unicode id through the whole path."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import NotEnoughData
from contracts.ids import IdTable
from contracts.schema import DatasetSchema, EventWeights, FeatureKind, TimeMeaning
from data_sources.dataset import Dataset, open_dataset, write_dataset
from data_sources.indexed import IndexedDataset, index_dataset
from tests.data_sources.small_world import small_world

WEIGHTS = EventWeights(default=0.5, types={"buy": 3.0, "view": 1.0})


def _dataset(rows: list[tuple[str, str, str, int]], schema: DatasetSchema, **tables: pl.DataFrame) -> Dataset:
    columns = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "timestamp": pl.Int64}
    events = pl.DataFrame(rows, schema=columns, orient="row")
    users = tables.get("users", pl.DataFrame(schema={"user_id": pl.String}))
    items = tables.get("items", pl.DataFrame(schema={"item_id": pl.String}))
    return Dataset(schema, events, users, items)


def _history(indexed: IndexedDataset, user: str) -> list[tuple[str, int, float]]:
    """(item, time, weight) of a user, through the codes."""
    code = indexed.user_ids.to_list().index(user)
    span = indexed.interactions.of(code)
    x = indexed.interactions
    return [
        (indexed.item_ids[int(item)], int(time), float(weight))
        for item, time, weight in zip(x.items[span], x.times[span], x.weights[span], strict=True)
    ]


ids = st.text(min_size=1, max_size=4)
rows_of = st.lists(
    st.tuples(ids, ids, st.sampled_from(["view", "buy", "other"]), st.integers(-3, 3)), min_size=1, max_size=30
)


@settings(max_examples=150, deadline=None)
@given(rows=rows_of)
def test_codes_are_a_plain_sort_by_user_and_time(rows: list[tuple[str, str, str, int]]) -> None:
    indexed = index_dataset(_dataset(rows, DatasetSchema(event_weights=WEIGHTS)))
    assert indexed.user_ids.to_list() == sorted({row[0] for row in rows}, key=str.encode)
    assert indexed.item_ids.to_list() == sorted({row[1] for row in rows}, key=str.encode)
    for user in indexed.user_ids.to_list():
        mine = [(item, time, WEIGHTS.of(kind)) for who, item, kind, time in rows if who == user]
        assert _history(indexed, user) == sorted(mine, key=lambda event: event[1])  # stable: file order among ties
    assert indexed.interactions.n_items == len(indexed.item_ids)
    assert indexed.is_test is None


@settings(max_examples=60, deadline=None)
@given(rows=rows_of, extra=st.sets(ids, min_size=1, max_size=5))
def test_any_unicode_id_survives_write_open_and_index(rows: list[tuple[str, str, str, int]], extra: set[str]) -> None:
    schema = DatasetSchema(users={"name": FeatureKind.TEXT}, items={"tags": FeatureKind.MULTI_CATEGORICAL})
    users = pl.DataFrame({"user_id": sorted(extra), "name": sorted(extra)})
    items = pl.DataFrame({"item_id": sorted(extra), "tags": [[text, text] for text in sorted(extra)]})
    made = _dataset(rows, schema, users=users, items=items)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "d", schema, made.events, made.users, made.items)
        opened = open_dataset(Path(folder) / "d")
    assert opened.events.rows() == made.events.rows()
    indexed = index_dataset(opened)
    table = IdTable.from_strings(indexed.item_ids)
    assert {table.text(row) for row in range(len(table))} == {row[1] for row in rows} | extra
    names = dict(zip(indexed.user_ids, indexed.users["name"], strict=True))
    assert {user: name for user, name in names.items() if name is not None} == {user: user for user in extra}
    tags = dict(zip(indexed.item_ids, indexed.items["tags"].to_list(), strict=True))
    assert all(tags[item] == ([item, item] if item in extra else None) for item in tags)


def test_features_stand_at_the_code_of_their_id() -> None:
    world = small_world()
    with tempfile.TemporaryDirectory() as folder:
        indexed = index_dataset(open_dataset(world.save(Path(folder))))
    assert indexed.items.columns == list(world.schema.items)
    titles = dict(zip(world.items["item_id"], world.items["title"], strict=True))
    assert [titles[item] for item in indexed.item_ids] == indexed.items["title"].to_list()
    assert len(indexed.users) == len(indexed.user_ids)


def test_users_and_items_without_events_and_events_without_rows_are_all_kept() -> None:
    users = pl.DataFrame({"user_id": ["idle", "a"]})
    items = pl.DataFrame({"item_id": ["unsold"]})
    indexed = index_dataset(_dataset([("a", "x", "view", 1)], DatasetSchema(), users=users, items=items))
    assert indexed.user_ids.to_list() == ["a", "idle"]
    assert indexed.item_ids.to_list() == ["unsold", "x"]
    assert indexed.interactions.lengths.tolist() == [1, 0]
    assert indexed.interactions.item_counts().tolist() == [0, 1]
    assert (len(indexed.users), len(indexed.items)) == (2, 2)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of, seed=st.integers(0, 99))
def test_the_given_split_stays_with_its_event(rows: list[tuple[str, str, str, int]], seed: int) -> None:
    split = np.random.default_rng(seed).integers(0, 2, len(rows)).astype(bool)
    schema = DatasetSchema(time=TimeMeaning.TIMESTAMP, given_split=True)
    dataset = _dataset(rows, schema)
    names = pl.Series("split", ["test" if test else "train" for test in split])
    indexed = index_dataset(Dataset(schema, dataset.events.with_columns(names), dataset.users, dataset.items))
    assert indexed.is_test is not None
    found = [
        (indexed.user_ids[int(user)], indexed.item_ids[int(item)], int(time), bool(test))
        for user, item, time, test in zip(
            indexed.interactions.users,
            indexed.interactions.items,
            indexed.interactions.times,
            indexed.is_test,
            strict=True,
        )
    ]
    expected = [(user, item, time, bool(test)) for (user, item, _, time), test in zip(rows, split, strict=True)]
    assert sorted(found) == sorted(expected)


def test_no_events_is_named() -> None:
    with pytest.raises(NotEnoughData, match="no events"):
        index_dataset(_dataset([], DatasetSchema()))


@pytest.mark.parametrize(
    ("field", "kind"), [("items", np.int32), ("times", np.int64), ("weights", np.float32), ("offsets", np.int64)]
)
def test_arrays_have_the_types_of_the_contract(field: str, kind: Any) -> None:
    indexed = index_dataset(_dataset([("a", "x", "view", 1)], DatasetSchema()))
    assert getattr(indexed.interactions, field).dtype == kind
