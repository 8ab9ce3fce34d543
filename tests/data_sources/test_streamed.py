"""A streamed dataset is the indexed one to the byte, whatever the sizes of slices, buckets and parts."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import large_arrays
from contracts.errors import DatasetError, NotEnoughData, StorageFull
from contracts.schema import DatasetSchema, EventWeights, FeatureKind, TimeMeaning
from data_sources import streamed
from data_sources.dataset import open_dataset, write_schema
from data_sources.indexed import IndexedDataset, index_dataset
from data_sources.streamed import index_folder, index_streamed, streams

WEIGHTS = EventWeights(default=0.5, types={"buy": 3.0, "view": 1.0, "hide": -1.0})

ids = st.text("ab\U0001f600é0", min_size=1, max_size=2)
rows_of = st.lists(
    st.tuples(
        ids, ids, st.sampled_from(["view", "buy", "hide", None]), st.integers(-3, 3), st.sampled_from(["train", "test"])
    ),
    min_size=1,
    max_size=40,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "SLICE_ROWS", 4)
    monkeypatch.setattr(streamed, "BUCKET_EVENTS", 6)
    monkeypatch.setattr(streamed, "STREAM_ABOVE", 0)
    monkeypatch.setattr(large_arrays, "MAPPED_BYTES", 1)


def write(folder: Path, schema: DatasetSchema, events: pl.DataFrame, cuts: tuple[int, ...] = ()) -> Path:
    """Events in parts that end at some rows; one user and one item have no events."""
    (folder / "events").mkdir()
    for number, (first, end) in enumerate(pairwise((0, *sorted(cuts), len(events)))):
        events[first:end].write_parquet(folder / "events" / f"part-{number}.parquet")
    write_schema(folder, schema)
    pl.DataFrame({"user_id": ["a", "idle"], "age": [30.0, 40.0]}).write_parquet(folder / "users.parquet")
    pl.DataFrame({"item_id": ["unsold", "0"], "price": [1.0, 2.0]}).write_parquet(folder / "items.parquet")
    return folder


def assert_same(found: IndexedDataset, wanted: IndexedDataset) -> None:
    for name in ("items", "times", "weights", "offsets"):
        ours, theirs = getattr(found.interactions, name), getattr(wanted.interactions, name)
        assert (ours.dtype, ours.tolist()) == (theirs.dtype, theirs.tolist()), name
    assert found.interactions.n_items == wanted.interactions.n_items
    assert (found.is_test is None) == (wanted.is_test is None)
    assert found.is_test is None or wanted.is_test is None or found.is_test.tolist() == wanted.is_test.tolist()
    for name in ("user_ids", "item_ids", "users", "items"):
        assert getattr(found, name).equals(getattr(wanted, name)), name


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of, time=st.sampled_from(TimeMeaning), split=st.booleans(), drop=st.booleans(), data=st.data())
def test_streamed_is_indexed_to_the_byte(rows, time, split, drop, data) -> None:
    names = ("user_id", "item_id", "event_type", "timestamp", "split")
    events = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String) | {"timestamp": pl.Int64}, orient="row")
    if drop and time is not TimeMeaning.TIMESTAMP:
        events = events.drop("timestamp", "event_type")  # the position in the files, and the default weight
    cuts = tuple(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    features = {"users": {"age": FeatureKind.NUMERIC}, "items": {"price": FeatureKind.NUMERIC}}
    schema = DatasetSchema(time=time, given_split=split, event_weights=WEIGHTS, **features)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), schema, events, cuts)
        assert streams(path)
        found, wanted = index_folder(path), index_dataset(open_dataset(path))
    assert isinstance(found.interactions.items, np.memmap)
    assert_same(found, wanted)


EVENTS = pl.DataFrame({"user_id": ["b", "a"] * 6, "item_id": list("xyzxyzxyzxyz"), "timestamp": range(12)})


def test_a_user_with_more_events_than_a_bucket_has_a_bucket(tmp_path: Path) -> None:
    events = pl.concat([EVENTS, EVENTS.with_columns(user_id=pl.lit("b"), timestamp=-pl.col("timestamp"))])
    path = write(tmp_path, DatasetSchema(), events)
    assert_same(index_folder(path), index_dataset(open_dataset(path)))


def test_few_events_and_those_of_which_that_is_not_known_are_read_at_once(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, DatasetSchema(), EVENTS)
    monkeypatch.setattr(streamed, "STREAM_ABOVE", 11)
    assert streams(path)
    monkeypatch.setattr(streamed, "STREAM_ABOVE", 12)
    assert not streams(path)
    assert not isinstance(index_folder(path).interactions.items, np.memmap)
    (path / "events" / "part-0.parquet").unlink()
    EVENTS.write_csv(path / "events" / "part-0.csv")
    monkeypatch.setattr(streamed, "STREAM_ABOVE", 0)
    assert not streams(path)


def test_a_broken_part_is_named_as_it_is_when_read_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, DatasetSchema(), EVENTS, (6,))
    part = path / "events" / "part-1.parquet"
    part.write_bytes(part.read_bytes()[:-4])
    with pytest.raises(DatasetError, match=r"events/part-1\.parquet: the Parquet file is truncated"):
        index_folder(path)


def test_a_bad_value_is_named_by_the_row_of_its_file(tmp_path: Path) -> None:
    times = pl.Series([*map(str, range(10)), "soon", "11"])
    path = write(tmp_path, DatasetSchema(), EVENTS.with_columns(timestamp=times))
    with pytest.raises(DatasetError, match=r"events/part-0\.parquet, column timestamp, row 11"):
        index_folder(path)


def test_parts_with_and_without_times_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, DatasetSchema(time=TimeMeaning.ORDER), EVENTS, (6,))
    EVENTS.drop("timestamp").write_parquet(path / "events" / "part-1.parquet")
    with pytest.raises(DatasetError, match=r"part-1\.parquet: of the parts of events only some have times"):
        index_folder(path)


@pytest.mark.parametrize(
    "later", [EVENTS.with_columns(user_id=pl.lit("new")), EVENTS[:11], pl.concat([EVENTS, EVENTS])]
)
def test_events_that_change_between_the_readings_are_noticed(tmp_path: Path, monkeypatch, later: pl.DataFrame) -> None:
    path, tables = write(tmp_path, DatasetSchema(), EVENTS), open_dataset(tmp_path, event_columns=())
    empty = streamed._Arrays.empty

    def changed(*arguments):
        later.write_parquet(path / "events" / "part-0.parquet")
        return empty(*arguments)

    monkeypatch.setattr(streamed._Arrays, "empty", changed)
    with pytest.raises(DatasetError, match="was changed while it was read"):
        index_streamed(path, tables)


def test_no_events_and_no_room_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, DatasetSchema(), EVENTS)
    monkeypatch.setattr(streamed, "mapped", lambda length, kind: large_arrays.mapped(length << 50, kind))
    with pytest.raises(StorageFull, match="TMPDIR"):
        index_folder(path)
    EVENTS[:0].write_parquet(path / "events" / "part-0.parquet")
    with pytest.raises(NotEnoughData, match="no events"):
        index_streamed(path, open_dataset(path, event_columns=()))
