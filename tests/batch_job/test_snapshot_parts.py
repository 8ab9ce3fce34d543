"""The parts of a dataset: each event once and in order, whatever times mean, a bucket of users at a time."""

from __future__ import annotations

import polars as pl
import pytest

import batch_job.user_buckets
from batch_job.event_log_reading import EVENT_SCHEMA
from batch_job.snapshot_parts import Rules, Tally, shaped, write_parts
from batch_job.user_buckets import UserBuckets
from contracts.schema import DatasetSchema, TimeMeaning
from data_sources.dataset import open_dataset, write_schema


def log(*events: tuple[str, str, str, int]) -> pl.DataFrame:
    """Events of the log: (event_id, user, item, timestamp), arrived a second later."""
    rows = [
        dict.fromkeys(EVENT_SCHEMA) | {"event_id": e, "user_id": u, "item_id": i, "timestamp": t, "received_at": t + 1}
        for e, u, i, t in events
    ]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA).with_columns(event_type=pl.lit("view"))


def parts(folder, schema: DatasetSchema, *frames: pl.DataFrame, oldest: int | None = None) -> Tally:
    """Write frames in this order as a dataset."""
    (folder / "buckets").mkdir()
    (folder / "d").mkdir()
    buckets = UserBuckets(folder / "buckets")
    for frame in frames:
        buckets.add(shaped(frame, schema))
    write_schema(folder / "d", schema)
    return write_parts(buckets, folder / "d", Rules(schema, oldest))


def items(folder, user: str) -> list[str]:
    """What a user did, in order, as training reads it."""
    events = open_dataset(folder / "d").events.filter(pl.col("user_id") == user)
    return events.sort("timestamp", maintain_order=True)["item_id"].to_list()


def events(**columns: list) -> pl.DataFrame:
    return pl.DataFrame(columns, schema_overrides={"timestamp": pl.Int64})


NEW = log(("e2", "a", "later", 2_000), ("e1", "a", "sooner", 1_000), ("e3", "b", "first", 500))


def test_a_position_of_the_log_follows_the_last_of_its_user(tmp_path) -> None:
    order = DatasetSchema(time=TimeMeaning.ORDER)
    old = events(user_id=["a", "a"], item_id=["y", "x"], timestamp=[7, 3])
    tally = parts(tmp_path, order, old, NEW)
    assert items(tmp_path, "a") == ["x", "y", "sooner", "later"]
    assert items(tmp_path, "b") == ["first"]
    positions = open_dataset(tmp_path / "d").events.filter(pl.col("user_id") == "a")["timestamp"].to_list()
    assert positions == [3, 7, 8, 9]
    assert (tally.newest_event, tally.log_events) == (0, 3)


def test_rows_without_positions_keep_their_order(tmp_path) -> None:
    old = events(user_id=["a", "b", "a"], item_id=["x", "z", "y"])
    parts(tmp_path, DatasetSchema(time=TimeMeaning.ORDER), old, NEW)
    assert items(tmp_path, "a") == ["x", "y", "sooner", "later"]
    assert items(tmp_path, "b") == ["z", "first"]


def test_a_set_has_no_times_and_still_each_event_once(tmp_path) -> None:
    schema = DatasetSchema(time=TimeMeaning.NONE)
    old = events(user_id=["a", "a"], item_id=["x", "x"], event_id=[None, "e1"])
    tally = parts(tmp_path, schema, old, NEW, NEW)
    found = open_dataset(tmp_path / "d").events
    assert sorted(found["item_id"]) == ["first", "later", "x", "x"]
    assert found["timestamp"].to_list() == [0] * 4
    assert (tally.log_events, tally.repeated) == (2, 4)


def test_what_the_dataset_calls_test_stays_and_the_log_is_for_training(tmp_path) -> None:
    old = events(user_id=["a"], item_id=["x"], timestamp=[1], split=["test"])
    parts(tmp_path, DatasetSchema(given_split=True), old, NEW)
    assert sorted(open_dataset(tmp_path / "d").events["split"]) == ["test", "train", "train", "train"]


def test_times_order_and_ties_stay_as_they_came(tmp_path) -> None:
    old = events(user_id=["a"] * 3, item_id=["p", "q", "r"], timestamp=[1_000, 1_000, 1_500])
    parts(tmp_path, DatasetSchema(), old, NEW)
    assert items(tmp_path, "a") == ["p", "q", "sooner", "r", "later"]


def test_an_id_is_of_its_user(tmp_path) -> None:
    tally = parts(tmp_path, DatasetSchema(), log(("e", "a", "x", 1), ("e", "b", "x", 1), ("e", "a", "x", 1)))
    assert (tally.events, tally.repeated) == (2, 1)


@pytest.mark.parametrize("flush_rows", [50, 10_000])
def test_memory_is_that_of_a_bucket_and_bytes_do_not_depend_on_it(tmp_path, monkeypatch, flush_rows) -> None:
    monkeypatch.setattr(batch_job.user_buckets, "FLUSH_ROWS", flush_rows)
    held: list[int] = []
    frame_of = UserBuckets.frame

    def spied(self, number):
        frame = frame_of(self, number)
        held.append(0 if frame is None else len(frame))
        return frame

    monkeypatch.setattr(UserBuckets, "frame", spied)
    frames = [log(*((f"{k}-{n}", f"u{n}", f"i{n % 9}", n * k) for n in range(1_000))) for k in (1, 2, 3)]
    written = []
    for again in ("one", "two"):
        (tmp_path / again).mkdir()
        tally = parts(tmp_path / again, DatasetSchema(), *frames)
        assert (tally.events, tally.users, len(tally.items)) == (3_000, 1_000, 9)
        written.append({path.name: path.read_bytes() for path in (tmp_path / again / "d" / "events").iterdir()})
    assert written[0] == written[1]
    assert max(held) < 3_000 / 20
