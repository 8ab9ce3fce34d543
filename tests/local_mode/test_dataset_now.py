"""A laptop's dataset as of now, and a night on it: what was told is in, who left is out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts import large_arrays
from contracts.live import LiveItem, features_digest, session_user
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from data_sources import streamed
from data_sources.dataset import Dataset, open_dataset, write_dataset
from data_sources.generator import WorldSettings, generate
from local_mode import retrain as retrain_module
from local_mode.dataset_now import dataset_now, indexed_now
from local_mode.retrain import retrain
from stores.fresh_items import Put, SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE
from stores.releases import LocalReleases
from tests.local_mode.test_retrain import let_through
from training_job.settings import Effort, TrainingSettings

SESSION = session_user("s")


def tell(home: Path, item_id: str, **features: object) -> None:
    item = LiveItem(item_id=item_id, features=features, digest=features_digest(features), created_at=1)
    with SqliteFreshItems(home / LIVE_FILE) as items:
        items.put([Put(item)], 1)


def a_dataset(time: TimeMeaning = TimeMeaning.TIMESTAMP) -> Dataset:
    schema = DatasetSchema(time=time, users={"age": FeatureKind.NUMERIC}, items={"price": FeatureKind.NUMERIC})
    events = pl.DataFrame(
        {
            "user_id": ["a", "b", "a", SESSION],
            "item_id": ["x", "x", "y", "z"],
            "event_type": ["view"] * 4,
            "timestamp": [1, 1, 20, 3] if time is TimeMeaning.TIMESTAMP else [0, 0, 1, 0],
        }
    )
    if time is TimeMeaning.NONE:
        events = events.with_columns(pl.lit(0, pl.Int64).alias("timestamp"))
    users = pl.DataFrame({"user_id": ["a", "b"], "age": [1.0, 2.0]})
    return Dataset(schema, events, users, pl.DataFrame({"item_id": ["x", "y", "z"], "price": [1.0, 2.0, 3.0]}))


def test_without_live_data_it_is_the_dataset_that_it_was(tmp_path: Path) -> None:
    dataset = a_dataset()
    assert dataset_now(dataset, tmp_path) == (dataset, "")
    assert not (tmp_path / LIVE_FILE).exists()
    with SqliteFreshItems(tmp_path / LIVE_FILE) as items:
        items.patch("x", 1, hidden=True)
    assert dataset_now(dataset, tmp_path) == (dataset, "")


@pytest.mark.parametrize("time", TimeMeaning)
def test_items_are_as_told_and_who_left_is_gone(tmp_path: Path, time: TimeMeaning) -> None:
    tell(tmp_path, "new", price=9)
    tell(tmp_path, "y", price=8)
    with SqliteIdentities(tmp_path / LIVE_FILE) as identities:
        identities.bury("a", 10)
        identities.merge(SESSION, "b", 10)
    now, digest = dataset_now(a_dataset(time), tmp_path)
    assert dict(now.items.iter_rows()) == {"x": 1.0, "z": 3.0, "new": 9.0, "y": 8.0}
    assert now.users["user_id"].to_list() == ["b"]
    timed = [("a", "y")] if time is TimeMeaning.TIMESTAMP else []
    assert sorted(now.events.select("user_id", "item_id").iter_rows()) == [*timed, ("b", "x"), ("b", "z")]
    assert now.events.columns == a_dataset().events.columns
    with SqliteIdentities(tmp_path / LIVE_FILE) as identities:
        identities.bury("b", 30)
    assert dataset_now(a_dataset(time), tmp_path)[1] not in ("", digest)


@pytest.mark.parametrize("left", [False, True])
def test_a_streamed_dataset_is_as_of_now_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool) -> None:
    made = a_dataset()
    write_dataset(tmp_path / "d", made.schema, made.events, made.users, made.items)
    assert indexed_now(tmp_path / "d", tmp_path)[1] == ""
    tell(tmp_path, "new", price=9)
    if left:
        with SqliteIdentities(tmp_path / LIVE_FILE) as identities:
            identities.bury("a", 10)
    wanted, digest = indexed_now(tmp_path / "d", tmp_path)
    monkeypatch.setattr(streamed, "STREAM_ABOVE", 0)
    monkeypatch.setattr(large_arrays, "MAPPED_BYTES", 1)
    found, same = indexed_now(tmp_path / "d", tmp_path)
    assert same == digest != ""
    assert isinstance(found.interactions.items, np.memmap) == (not left)  # who leaves takes events along
    assert found.interactions.items.tolist() == wanted.interactions.items.tolist()
    assert found.interactions.times.tolist() == wanted.interactions.times.tolist()
    assert found.users.equals(wanted.users)
    assert dict(zip(found.item_ids, found.items["price"], strict=True)) == {"new": 9, "x": 1, "y": 2, "z": 3}


def test_a_night_knows_the_new_item_and_lets_it_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain_module, "judge_candidate", let_through)
    data = tmp_path / "world"
    generate(data, WorldSettings(users=120, items=60))
    item = open_dataset(data).items.row(0, named=True)
    tell(tmp_path, "brand-new", **{name: value for name, value in item.items() if name != "item_id"})
    leaver = open_dataset(data).events["user_id"][0]
    with SqliteIdentities(tmp_path / LIVE_FILE) as identities:
        identities.bury(leaver, 4_000_000_000)
    done = retrain(data, tmp_path, TrainingSettings(effort=Effort.QUICK, deterministic=True))
    assert LocalReleases(tmp_path).open_catalogue(done.manifest.id).ids.row("brand-new") >= 0
    with SqliteFreshItems(tmp_path / LIVE_FILE) as items:
        assert items.changes().items == []
        assert [one.item_id for one in items.all()] == ["brand-new"]
