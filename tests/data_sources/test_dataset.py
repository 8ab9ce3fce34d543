"""Datasets open in canonical types from every format, refuse what breaks their schema, and are written whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.errors import DatasetError, SchemaError, TandemError
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from data_sources.dataset import TRAINING_COLUMNS, open_dataset, write_dataset, write_schema
from tests.data_sources.small_world import small_world

ODD_IDS = ["007", "7", " 7 ", "é", "e\u0301", "\U0001f600", "a,b", 'say "x"', "a|b", "null", "NaN", "1e3", "\u200b"]


def _folder(tmp_path: Path, schema: DatasetSchema | None = None, **files: str) -> Path:
    write_schema(tmp_path, schema or DatasetSchema())
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return tmp_path


def _events(**columns: list[Any]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    defaults = {"user_id": ["u"] * n, "item_id": ["i"] * n, "timestamp": list(range(n))}
    return pl.DataFrame({**defaults, **columns})


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_ids_survive_every_format_unchanged(form: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    frame = _events(user_id=ODD_IDS, item_id=ODD_IDS[::-1])
    path = folder / f"events.{form}"
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[form](path)
    events = open_dataset(folder).events
    assert events["user_id"].to_list() == ODD_IDS
    assert events["item_id"].to_list() == ODD_IDS[::-1]
    assert events["event_type"].unique().to_list() == ["interaction"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([7, 12], dtype=pl.Int64), ["7", "12"]),
        (pl.Series([7, 2**64 - 1], dtype=pl.UInt64), ["7", "18446744073709551615"]),
        (pl.Series([7.0, 12.0]), ["7", "12"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series([b"a", "é".encode()]), ["a", "é"]),
    ],
)
def test_parquet_ids_of_other_types_become_their_text(column: pl.Series, expected: list[str], tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _events(user_id=["x", "x"]).with_columns(user_id=column).write_parquet(folder / "events.parquet")
    assert open_dataset(folder).events["user_id"].to_list() == expected


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([7.5, 1.0]),
        pl.Series([2.0**60, 1.0]),
        pl.Series([True, False]),
        pl.Series([["a"], ["b"]]),
        pl.Series([b"\xff", b"a"]),
    ],
)
def test_what_is_no_id_is_refused(column: pl.Series, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _events(user_id=["x", "x"]).with_columns(user_id=column).write_parquet(folder / "events.parquet")
    with pytest.raises(DatasetError, match=r"events\.parquet, column user_id, row.* 1.*not an id"):
        open_dataset(folder)


def test_json_numbers_are_ids_too(tmp_path: Path) -> None:
    lines = '{"user_id": 7, "item_id": "007", "timestamp": 1}\n'
    lines += '{"user_id": "7", "item_id": 12345678901234567890123, "timestamp": 2}\n'
    events = open_dataset(_folder(tmp_path, events__jsonl=lines)).events
    assert events["user_id"].to_list() == ["7", "7"]
    assert events["item_id"].to_list() == ["007", "12345678901234567890123"]


NOON = int(datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "text",
    [str(NOON), f"{NOON}.75", f" {NOON} ", "2026-05-04T12:00:00Z", "2026-05-04 12:00:00", "2026-05-04T14:00:00.5+02:00",
     "2026-05-04T06:30-0530", "2026-05-04 12:00:00 UTC"],
)  # fmt: skip
def test_times_written_in_many_ways_are_the_same_second(text: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, events__csv=f'user_id,item_id,timestamp\nu,i,"{text}"\n')
    assert open_dataset(folder).events["timestamp"].to_list() == [NOON]


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "99999999999999999999", "inf", "12:00"])
def test_what_is_no_time_is_refused_with_its_row(text: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, events__csv=f"user_id,item_id,timestamp\nu,i,1\nu,i,{text}\n")
    with pytest.raises(DatasetError, match=r"events\.csv, column timestamp, row 2 \('.*'\).*Unix seconds"):
        open_dataset(folder)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_parquet_times_of_any_unit_and_zone_become_seconds(unit: Any, zone: str | None, tmp_path: Path) -> None:
    moment = datetime(2026, 5, 4, 12, tzinfo=UTC)
    column = pl.Series([moment.replace(tzinfo=None)], dtype=pl.Datetime(unit)).dt.replace_time_zone("UTC")
    column = column.dt.convert_time_zone(zone) if zone else column.dt.replace_time_zone(None)
    folder = _folder(tmp_path)
    _events(user_id=["u"]).with_columns(timestamp=column).write_parquet(folder / "events.parquet")
    assert open_dataset(folder).events["timestamp"].to_list() == [NOON]


def test_seconds_before_1970_and_fractions_round_down(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _events(timestamp=[-1.5, 2.9]).write_parquet(folder / "events.parquet")
    assert open_dataset(folder).events["timestamp"].to_list() == [-2, 2]


FEATURES = DatasetSchema(
    items={
        "kind": FeatureKind.CATEGORICAL,
        "tags": FeatureKind.MULTI_CATEGORICAL,
        "price": FeatureKind.NUMERIC,
        "born": FeatureKind.TIMESTAMP,
        "name": FeatureKind.TEXT,
    }
)
EVENTS_CSV = "user_id,item_id,timestamp\nu,i,1\n"


def test_features_of_a_csv(tmp_path: Path) -> None:
    items = 'item_id,kind,tags,price,born,name\n1,3,a|b||c,1.50,1970-01-02,"Hello, you"\n'
    items += '2,,,,,\n3,x,"[""p|q"", ""r""]",nan,7,\n'
    frame = open_dataset(_folder(tmp_path, FEATURES, events__csv=EVENTS_CSV, items__csv=items)).items
    assert frame.rows() == [
        ("1", "3", ["a", "b", "c"], 1.5, 86_400, "Hello, you"),
        ("2", None, None, None, None, None),
        ("3", "x", ["p|q", "r"], None, 7, None),
    ]


def test_features_of_json_lines(tmp_path: Path) -> None:
    lines = [
        {"item_id": "1", "kind": True, "tags": ["a|b", 3], "price": 2, "born": 5.5, "name": "x"},
        {"item_id": 2, "tags": "a|b", "price": "2.5", "extra": {"deep": 1}},
        {"item_id": "3", "tags": None, "kind": 4},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    frame = open_dataset(_folder(tmp_path, FEATURES, events__csv=EVENTS_CSV, items__jsonl=text)).items
    assert frame.rows() == [
        ("1", "true", ["a|b", "3"], 2.0, 5, "x"),
        ("2", None, ["a", "b"], 2.5, None, None),
        ("3", "4", None, None, None, None),
    ]


def test_features_of_parquet_types(tmp_path: Path) -> None:
    folder = _folder(tmp_path, FEATURES, events__csv=EVENTS_CSV)
    items = pl.DataFrame(
        {
            "item_id": [1, 2],
            "kind": [3.0, 2.5],
            "tags": [[1.0, None, 2.5], []],
            "price": [True, None],
            "born": [datetime(1970, 1, 1, 0, 1), None],  # noqa: DTZ001 - files hold times without a zone
            "name": pl.Series(["a", "b"], dtype=pl.Categorical),
        }
    )
    items.write_parquet(folder / "items.parquet")
    assert open_dataset(folder).items.rows() == [
        ("1", "3", ["1", "2.5"], 1.0, 60, "a"),
        ("2", "2.5", [], None, None, "b"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"events__csv": "user_id,item_id\nu,i\n"}, r"events\.csv, column timestamp: .* has 'user_id', 'item_id'"),
        ({"events__csv": "user_id;item_id;timestamp\nu;i;1\n"}, "another separator"),
        ({"events__csv": "user_id,item_id,timestamp\nu,,1\n,i,1\nu,i,1\n"}, r"column user_id, row 2"),
        ({"events__csv": "user_id,item_id,timestamp\nu,i,1\nu,i,1,9\n"}, r"events\.csv: it cannot be read.*line 3"),
        ({"events__jsonl": '{"user_id": 1}\n{"user_id":\n'}, r"events\.jsonl: it cannot be read.*line 2"),
        ({"events__jsonl": "[1]\n"}, "one JSON array"),
        ({"events__csv": ""}, "the file is empty"),
        ({"events__parquet": "user_id,item_id"}, r"named \.parquet but is text"),
        ({}, "no table events"),
        ({"events__csv": EVENTS_CSV, "events__jsonl": "{}"}, "exists more than once: events.csv, events.jsonl"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_opened_says_where_and_how_to_mend_it(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(_folder(tmp_path, **files))
    assert caught.value.fix


def test_numbers_that_are_none_and_repeated_ids_are_refused(tmp_path: Path) -> None:
    items = "item_id,kind,tags,price,born,name\n1,,,1,,\n2,,,cheap,,\n1,,,3,,\n"
    folder = _folder(tmp_path, FEATURES, events__csv=EVENTS_CSV, items__csv=items)
    with pytest.raises(
        DatasetError, match=r"items\.csv, column price, row 2 \('cheap'\): 1 value is not a finite number"
    ):
        open_dataset(folder)
    (folder / "items.csv").write_text(items.replace("cheap", "2"))
    with pytest.raises(DatasetError, match=r"items\.csv, column item_id, rows 1, 3 \('1'\)"):
        open_dataset(folder)


def test_a_missing_folder_and_a_missing_or_wrong_schema_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(SchemaError, match="there is no schema"):
        open_dataset(tmp_path)
    (tmp_path / "schema.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SchemaError, match="UTF-8"):
        open_dataset(tmp_path)


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "events").mkdir()
    _events(user_id=["late"]).write_parquet(folder / "events" / "part-2.parquet")
    _events(user_id=[7]).write_parquet(folder / "events" / "part-1.parquet")
    (folder / "events" / "_SUCCESS").write_text("")
    assert open_dataset(folder).events["user_id"].to_list() == ["7", "late"]


def test_parts_of_two_formats_are_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "events").mkdir()
    _events(user_id=["a"]).write_parquet(folder / "events" / "a.parquet")
    _events(user_id=["b"]).write_csv(folder / "events" / "b.csv")
    with pytest.raises(DatasetError, match="csv and parquet"):
        open_dataset(folder)


def test_order_without_a_column_is_the_place_in_the_file(tmp_path: Path) -> None:
    text = "user_id,item_id\na,1\nb,2\na,3\na,4\nb,5\n"
    folder = _folder(tmp_path, DatasetSchema(time=TimeMeaning.ORDER), events__csv=text)
    assert open_dataset(folder).events["timestamp"].to_list() == [0, 0, 1, 2, 1]


def test_order_with_a_column_is_the_column_and_may_hold_no_null(tmp_path: Path) -> None:
    schema = DatasetSchema(time=TimeMeaning.ORDER)
    folder = _folder(tmp_path, schema, events__csv="user_id,item_id,timestamp\na,1,9\na,2,4\n")
    assert open_dataset(folder).events["timestamp"].to_list() == [9, 4]
    (folder / "events.csv").write_text("user_id,item_id,timestamp\na,1,9\na,2,\n")
    with pytest.raises(DatasetError, match="1 of 2 rows have no timestamp"):
        open_dataset(folder)


def test_without_time_every_event_is_at_zero(tmp_path: Path) -> None:
    folder = _folder(tmp_path, DatasetSchema(time=TimeMeaning.NONE), events__csv="user_id,item_id,timestamp\na,1,x\n")
    assert open_dataset(folder).events["timestamp"].to_list() == [0]


@pytest.mark.parametrize("value", ["Test", "", "valid"])
def test_a_given_split_is_train_or_test(value: str, tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp,split\na,1,1,train\na,2,2,{value}\n"
    with pytest.raises(DatasetError, match=r"column split, row 2"):
        open_dataset(_folder(tmp_path, DatasetSchema(given_split=True), events__csv=text))


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    world = small_world()
    folder = world.save(tmp_path)
    lean = open_dataset(folder, event_columns=TRAINING_COLUMNS).events
    assert lean.columns == ["user_id", "item_id", "event_type", "timestamp"]
    assert "event_id" in open_dataset(folder).events.columns


def test_what_is_written_opens_equal_and_may_be_replaced(tmp_path: Path) -> None:
    world = small_world()
    target = tmp_path / "made" / "dataset"
    for events in (world.events, world.events.head(7)):
        write_dataset(target, world.schema, events, world.users, world.items)
        opened = open_dataset(target)
        assert opened.schema == world.schema
        assert opened.users.equals(world.users)
        assert opened.items.equals(world.items)
        assert opened.events.select(events.columns).equals(events)
    assert [path.name for path in target.parent.iterdir()] == ["dataset"]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.set("events", "user_id", [1], None),
        lambda w: w.set("items", "item_id", [1], "i0"),
        lambda w: setattr(w, "users", w.users.drop("gender")),
    ],
)
def test_what_could_not_be_opened_is_not_written(change: Any, tmp_path: Path) -> None:
    world = small_world()
    write_dataset(tmp_path / "d", world.schema, world.events, world.users, world.items)
    before = open_dataset(tmp_path / "d").events
    change(world)
    with pytest.raises(TandemError):
        write_dataset(tmp_path / "d", world.schema, world.events.head(3), world.users, world.items)
    assert open_dataset(tmp_path / "d").events.equals(before)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
