"""The doctor says the same of a dataset that it reads in slices as of one that it reads at once, whatever is odd."""

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
from contracts.errors import DatasetError, StorageFull
from contracts.schema import TimeMeaning
from data_sources import doctor, event_log, repeats
from data_sources.doctor import Diagnosis, diagnose
from data_sources.event_log import EventLog
from tests.data_sources.small_world import DAY, EVENTS, NOW, Mutation, SmallWorld, small_world
from tests.data_sources.test_doctor import COLUMNS, ODD_VALUES, TRIPS, _series


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SLICE_ROWS", 97)
    monkeypatch.setattr(repeats, "COMPARED", 100)
    monkeypatch.setattr(large_arrays, "BLOCK", 150)


def _save(world: SmallWorld, folder: Path, cuts: tuple[int, ...]) -> Path:
    """With its events in parts that end at some rows."""
    world.save(folder)
    (folder / "events.parquet").unlink()
    (folder / "events").mkdir()
    for number, (first, end) in enumerate(pairwise((0, *cuts, len(world.events)))):
        world.events[first:end].write_parquet(folder / "events" / f"part-{number}.parquet")
    return folder


def _assert_same(folder: Path) -> Diagnosis:
    in_slices, at_once = diagnose(folder, NOW, stream_above=-1), diagnose(folder, NOW, stream_above=EVENTS * 2)
    assert in_slices == at_once
    return in_slices


@pytest.mark.parametrize("mutate", [trip[2] for trip in TRIPS], ids=[trip[0] for trip in TRIPS])
def test_what_trips_a_check_is_told_alike(mutate: Mutation, tmp_path: Path) -> None:
    world = small_world()
    mutate(world)
    cuts = tuple(cut for cut in (3, 3, 700, 1_100) if cut <= len(world.events))
    _assert_same(_save(world, tmp_path, cuts))


def _part(folder: Path, number: int) -> Path:
    return folder / "events" / f"part-{number}.parquet"


def _change(folder: Path, number: int, **columns: pl.Expr) -> None:
    pl.read_parquet(_part(folder, number)).with_columns(**columns).write_parquet(_part(folder, number))


def _drop(folder: Path, number: int, *columns: str) -> None:
    pl.read_parquet(_part(folder, number)).drop(columns).write_parquet(_part(folder, number))


def _cut_off(folder: Path, number: int) -> None:
    _part(folder, number).write_bytes(_part(folder, number).read_bytes()[:-9])


def _broken_in_the_middle(folder: Path, number: int) -> None:
    """The footer is there, so that some slices are read before one fails."""
    events = pl.read_parquet(_part(folder, number))
    events.write_parquet(_part(folder, number), row_group_size=100, compression="zstd")
    data = bytearray(_part(folder, number).read_bytes())
    half = len(data) // 2
    data[half : half + 2_000] = b"\xff" * 2_000
    _part(folder, number).write_bytes(data)


def _repeat_a_row(folder: Path) -> None:
    first = pl.read_parquet(_part(folder, 0)).head(4)
    pl.concat([pl.read_parquet(_part(folder, 2)), first, first]).write_parquet(_part(folder, 2))


def _backwards(folder: Path) -> None:
    """The last part is read first."""
    _part(folder, 2).rename(folder / "events" / "a.parquet")


ROW = pl.int_range(pl.len())
STAMP = pl.from_epoch("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")
ODD_PARTS = {
    "times as text in one part": lambda f: _change(f, 1, timestamp=STAMP + pl.lit("Z")),
    "zones in the second part": lambda f: _change(
        f, 1, timestamp=STAMP + pl.when(ROW % 2 == 0).then(pl.lit("Z")).when(ROW % 3 == 0).then(pl.lit("+02:00"))
        .otherwise(pl.lit(""))
    ),
    "ids as numbers": lambda f: _change(f, 1, user_id=pl.col("user_id").str.slice(1).cast(pl.Int64)),
    "ids as broken floats": lambda f: _change(f, 2, item_id=ROW / 4),
    "ids as bytes that are no text": lambda f: _change(
        f, 2, item_id=pl.when(ROW % 90 == 89).then(pl.lit(b"\xff")).otherwise(pl.col("item_id").cast(pl.Binary))
    ),
    "no ids": lambda f: _change(f, 1, user_id=pl.when(ROW < 98).then(pl.col("user_id"))),
    "no id at all": lambda f: _change(f, 1, user_id=pl.lit(None), item_id=pl.lit(None)),
    "values of many kinds": lambda f: _change(f, 1, value=pl.format("{}", ROW), session_id=ROW % 9),
    "values that are none": lambda f: _change(f, 0, value=pl.lit("low").repeat_by(ROW % 2).list.join("")),
    "lists for sessions": lambda f: _change(f, 0, session_id=pl.concat_list(ROW)),
    "a column too many": lambda f: _change(f, 2, colour=pl.lit("red")),
    "no types in one part": lambda f: _drop(f, 0, "event_type"),
    "no event ids in one part": lambda f: _drop(f, 0, "event_id"),
    "no event ids": lambda f: [_drop(f, number, "event_id") for number in range(3)],
    "no times in one part": lambda f: _drop(f, 1, "timestamp"),
    "no items in one part": lambda f: _drop(f, 1, "item_id"),
    "event ids that are null": lambda f: _change(f, 1, event_id=pl.when(ROW % 3 == 0).then(ROW % 50)),
    "milliseconds in one part": lambda f: _change(f, 1, timestamp=pl.col("timestamp") * 1_000),
    "three units": lambda f: _change(f, 1, timestamp=pl.col("timestamp") * (pl.lit(1_000) ** (ROW % 3 + 1))),
    "extreme times": lambda f: _change(f, 0, timestamp=pl.when(ROW < 2).then(-(2**63)).otherwise(2**63 - 1)),
    "a robot": lambda f: _change(f, 1, user_id=pl.lit("robot"), item_id=pl.lit("i1")),
    "repeats across parts": _repeat_a_row,
    "parts in another order": _backwards,
    "a part that was cut off": lambda f: _cut_off(f, 1),
    "a part that breaks in the middle": lambda f: _broken_in_the_middle(f, 1),
    "a part of another format": lambda f: _part(f, 1).write_text("user_id,item_id"),
    "parts that cannot be read": lambda f: [_cut_off(f, number) for number in range(3)],
    "a part without rows": lambda f: pl.read_parquet(_part(f, 0)).clear().write_parquet(_part(f, 0)),
    "no events": lambda f: [pl.read_parquet(_part(f, n)).clear().write_parquet(_part(f, n)) for n in range(3)],
    "no items table": lambda f: (f / "items.parquet").unlink(),
    "no schema": lambda f: (f / "schema.toml").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("time", [TimeMeaning.TIMESTAMP, TimeMeaning.ORDER])
@pytest.mark.parametrize("change", ODD_PARTS.values(), ids=ODD_PARTS.keys())
def test_odd_parts_are_told_alike(change, time: TimeMeaning, tmp_path: Path) -> None:
    world = small_world()
    world.with_schema(time=time)
    folder = _save(world, tmp_path, (500, 900))
    change(folder)
    _assert_same(folder)


def test_the_odd_parts_are_seen(tmp_path: Path) -> None:
    """Some that whole datasets of the other tests have not."""
    found = {}
    for name in (
        "zones in the second part",
        "a part that breaks in the middle",
        "ids as bytes that are no text",
        "no ids",
    ):
        folder = _save(small_world(), tmp_path / name.replace(" ", "-"), (500, 900))
        ODD_PARTS[name](folder)
        diagnosis = _assert_same(folder)
        found |= {(name, check.name): check for check in diagnosis.checks if check.status == "FAIL"}
    zones = found["zones in the second part", "time-zones"]
    assert "+00:00: 200, none: 133, +02:00: 67" in zones.found
    assert found["a part that breaks in the middle", "files-readable"].where[0].file == "events/part-1.parquet"
    assert found["ids as bytes that are no text", "columns-typed"].where[0].rows == (90, 180, 270, 360, 450)
    missing = found["no ids", "ids-present"]
    assert missing.found == "302 of 400 rows have no user_id"
    assert missing.where[0].rows == (99, 100, 101, 102, 103)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    columns=st.lists(st.sampled_from([*COLUMNS, ("events", "value"), ("events", "split")]), min_size=1, max_size=3),
    values=st.lists(ODD_VALUES, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=3),
    time=st.sampled_from(TimeMeaning),
    split=st.booleans(),
)
def test_any_table_is_told_alike(columns, values, cuts, time: TimeMeaning, split: bool) -> None:
    world = small_world()
    world.events = world.events.head(400)
    world.with_schema(time=time, given_split=split)
    for table, column in columns:
        frame = getattr(world, table)
        setattr(world, table, frame.with_columns(_series(column, values, len(frame))))
    with tempfile.TemporaryDirectory() as folder:
        try:
            _save(world, Path(folder), tuple(sorted(cuts)))
        except pl.exceptions.PolarsError:
            return  # Parquet itself refuses this column
        _assert_same(Path(folder))


def test_places_are_sought_until_enough_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world()
    world.map("events", timestamp=pl.col("timestamp") + 60 * DAY)
    folder = _save(world, tmp_path, (500, 900))
    taken: list[int] = []
    slices = EventLog.slices

    def counted(self, columns):
        taken.append(0)
        for frame in slices(self, columns):
            taken[-1] += len(frame)
            yield frame

    monkeypatch.setattr(EventLog, "slices", counted)
    diagnose(folder, NOW, stream_above=0)
    assert taken == [EVENTS, 97]


def test_files_that_change_meanwhile_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _save(small_world(), tmp_path, (500, 900))
    whole = doctor.log_of_files
    for events in (small_world().events[:450], small_world().events):

        def changed(*arguments, events=events):
            log = whole(*arguments)
            events.write_parquet(_part(folder, 0))
            return log

        monkeypatch.setattr(doctor, "log_of_files", changed)
        with pytest.raises(DatasetError, match="was changed while it was read"):
            diagnose(folder, NOW, stream_above=0)


def test_where_hashes_find_no_room_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "mapped", lambda length, kind: large_arrays.mapped(length << 45, kind))
    with pytest.raises(StorageFull, match="TMPDIR"):
        diagnose(_save(small_world(), tmp_path, ()), NOW, stream_above=0)


@pytest.mark.parametrize("distinct", [1, 3, 500, 10**6])
def test_repeats_are_those_that_were_there_before(distinct: int) -> None:
    """However often one of them comes."""
    values = np.random.default_rng(1).integers(0, distinct, 1_000)
    values[::7] = values[0]
    things = pl.Series(values).cast(pl.String)
    things[5] = None
    there = repeats.Repeats(len(things), large_arrays.mapped)
    hashes = things.hash().zip_with(things.is_not_null(), pl.Series([None], dtype=pl.UInt64))
    for first in range(0, 1_000, 97):
        there.add(hashes[first : first + 97])
    rows = (~things.is_first_distinct() & things.is_not_null()).arg_true()
    assert there.found() == repeats.Repeated(len(rows), tuple(row + 1 for row in rows.head(5).to_list()))
