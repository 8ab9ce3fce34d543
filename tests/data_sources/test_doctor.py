"""Every check of the doctor is tripped by a dataset made for it, says where, and passes on a healthy one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.schema import EventWeights, FeatureKind, TimeMeaning
from data_sources.checks import Status
from data_sources.doctor import CHECKS, CheckResult, Diagnosis, diagnose
from tests.data_sources.small_world import DAY, EVENTS, ITEMS, NOW, USERS, Mutation, SmallWorld, small_world

SPLIT_CHECKS = {"split-values", "split-sides"}


def _result(diagnosis: Diagnosis, name: str) -> CheckResult:
    return next(result for result in diagnosis.checks if result.name == name)


def test_a_healthy_dataset_passes_every_check(tmp_path: Path) -> None:
    diagnosis = diagnose(small_world().save(tmp_path), now=NOW)
    assert [(r.name, r.found) for r in diagnosis.checks if r.status is not Status.PASS] == []
    assert set(diagnosis.not_applicable) == SPLIT_CHECKS
    assert (diagnosis.events, diagnosis.users, diagnosis.items) == (EVENTS, USERS, ITEMS)
    assert diagnosis.status is Status.PASS
    assert diagnosis.ok


def test_dislikes_have_a_weight_before_the_first_one_comes(tmp_path: Path) -> None:
    world = small_world()
    world.with_schema(event_weights=EventWeights(types={"view": 1.0, "buy": 3.0, "dislike": -1.0}))
    diagnosis = diagnose(world.save(tmp_path), now=NOW)
    assert diagnosis.status is Status.PASS


def test_checks_are_many_and_their_names_are_unique() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names)) >= 20
    assert all(check.why and check.fix for check in CHECKS)


def _split(value: str, every: int = 2) -> Mutation:
    def mutate(world: SmallWorld) -> None:
        world.with_schema(given_split=True)
        row = pl.int_range(pl.len())
        world.map("events", split=pl.when(row % every == 0).then(pl.lit(value)).otherwise(pl.lit("train")))

    return mutate


def _cold_user_split(world: SmallWorld) -> None:
    world.with_schema(given_split=True)
    world.map("events", split=pl.when(pl.col("user_id") == "u1").then(pl.lit("test")).otherwise(pl.lit("train")))


def _two_spellings(one: str, other: str) -> Mutation:
    def mutate(world: SmallWorld) -> None:
        world.set("events", "user_id", [0, 1], one)
        world.set("users", "user_id", [0], other)

    return mutate


def _rare_kind(world: SmallWorld) -> None:
    world.set("items", "kind", [0], "rare")
    world.events = world.events.filter(pl.col("item_id") != "i0")


def _without_text(world: SmallWorld) -> dict[str, FeatureKind]:
    return {name: kind for name, kind in world.schema.items.items() if kind is not FeatureKind.TEXT}


def _busiest(world: SmallWorld, column: str, value: str, rows: int) -> None:
    world.set("events", column, rows, value)


def _more_events(world: SmallWorld, copies: pl.DataFrame) -> None:
    world.events = pl.concat([world.events, copies])


def _zoned(world: SmallWorld, zones: list[str]) -> None:
    stamp = pl.from_epoch("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")
    zone = pl.lit(pl.Series([zones[row % len(zones)] for row in range(EVENTS)]))
    world.map("events", timestamp=stamp + zone)


def _drop(table: str, column: str) -> Mutation:
    return lambda world: setattr(world, table, getattr(world, table).drop(column))


def _weights(**types: float) -> Mutation:
    return lambda world: world.with_schema(event_weights=EventWeights(types=types))


WARN, FAIL = Status.WARN, Status.FAIL

TRIPS: list[tuple[str, Status, Mutation, str | None]] = [
    ("columns-present", FAIL, _drop("items", "price"), "price"),
    ("columns-present", FAIL, _drop("events", "timestamp"), "timestamp"),
    ("columns-typed", FAIL, lambda w: w.set("items", "price", [3], "cheap"), "price"),
    ("columns-typed", FAIL, lambda w: w.set("items", "price", [3], float("inf")), "price"),
    ("columns-expected", WARN, lambda w: w.map("items", colour=pl.lit("red")), "colour"),
    ("ids-present", FAIL, lambda w: w.set("events", "item_id", [7], None), "item_id"),
    ("ids-present", FAIL, lambda w: w.set("users", "user_id", [7], ""), "user_id"),
    ("ids-unique", FAIL, lambda w: w.set("items", "item_id", [1], "i0"), "item_id"),
    ("ids-length", FAIL, lambda w: w.set("events", "user_id", [0], "ü" * 65), "user_id"),
    ("ids-blanks", WARN, lambda w: w.set("events", "item_id", [0], " i0"), "item_id"),
    ("ids-blanks", WARN, lambda w: w.set("events", "item_id", [0], "i\u200b0"), "item_id"),
    ("ids-unicode", WARN, _two_spellings("e\u0301", "é"), "user_id"),
    ("ids-number-forms", WARN, _two_spellings("007", "7"), "user_id"),
    ("ids-number-forms", WARN, _two_spellings("7", "7.0"), "user_id"),
    ("users-known", WARN, lambda w: w.set("events", "user_id", [0], "stranger"), "user_id"),
    ("users-known", FAIL, lambda w: w.map("users", user_id=pl.col("user_id") + "x"), "user_id"),
    ("items-known", WARN, lambda w: w.set("events", "item_id", [0], "stranger"), "item_id"),
    ("events-enough", WARN, lambda w: setattr(w, "events", w.events.head(900)), None),
    ("events-enough", FAIL, lambda w: setattr(w, "events", w.events.head(9)), None),
    ("users-warm", WARN, lambda w: w.map("events", user_id=pl.format("u{}", pl.int_range(pl.len()) // 4)), None),
    ("items-warm", WARN, lambda w: w.map("events", item_id=pl.format("i{}", pl.int_range(pl.len()) // 4)), None),
    ("events-duplicated", WARN, lambda w: _more_events(w, w.events.head(2)), "user_id"),
    ("event-ids-unique", WARN, lambda w: w.set("events", "event_id", [1], "e0"), "event_id"),
    ("event-ids-unique", FAIL, lambda w: w.set("events", "event_id", 100, "e0"), "event_id"),
    ("event-types", WARN, lambda w: w.set("events", "event_type", [5], "veiw"), "event_type"),
    ("event-weights", WARN, _weights(view=1.0, buy=2.0, rent=3.0), None),
    ("event-weights", FAIL, _weights(view=1.0, buy=float("nan")), None),
    ("event-weights", FAIL, _weights(view=0.0, buy=0.0), None),
    ("event-weights", FAIL, _weights(view=-1.0, buy=-2.0), None),
    ("event-weights", FAIL, lambda w: w.with_schema(event_weights=EventWeights(-1.0, {"view": 1.0, "buy": 2.0})), None),
    ("user-share", WARN, lambda w: _busiest(w, "user_id", "u0", 400), "user_id"),
    ("user-share", FAIL, lambda w: _busiest(w, "user_id", "u0", 1_000), "user_id"),
    ("item-share", WARN, lambda w: _busiest(w, "item_id", "i0", 500), "item_id"),
    ("events-repeated", WARN, lambda w: _more_events(w, w.events.with_columns(pl.col("timestamp") + 1)), None),
    ("split-values", FAIL, _split("valid"), "split"),
    ("split-values", FAIL, _split("train"), None),
    ("split-sides", WARN, _cold_user_split, None),
    ("time-meaning", WARN, lambda w: w.with_schema(time=TimeMeaning.ORDER), None),
    ("time-meaning", WARN, lambda w: w.with_schema(time=TimeMeaning.NONE), None),
    ("times-present", FAIL, lambda w: w.set("events", "timestamp", [2], None), "timestamp"),
    ("time-unit", FAIL, lambda w: w.map("events", timestamp=pl.col("timestamp") * 1_000), "timestamp"),
    ("time-unit", FAIL, lambda w: w.set("items", "born", [3], NOW * 1_000_000), "born"),
    ("time-zones", FAIL, lambda w: _zoned(w, ["Z", ""]), "timestamp"),
    ("time-zones", WARN, lambda w: _zoned(w, ["Z", "+02:00"]), "timestamp"),
    ("time-future", WARN, lambda w: w.set("events", "timestamp", [0], NOW + 3 * DAY), "timestamp"),
    ("time-future", FAIL, lambda w: w.map("events", timestamp=pl.col("timestamp") + 60 * DAY), "timestamp"),
    ("time-past", WARN, lambda w: w.set("events", "timestamp", [0], 0), "timestamp"),
    ("time-past", FAIL, lambda w: w.map("events", timestamp=pl.int_range(pl.len())), "timestamp"),
    ("time-order", WARN, lambda w: w.map("events", timestamp=pl.lit(NOW - DAY)), "timestamp"),
    ("time-resolution", WARN, lambda w: w.map("events", timestamp=pl.col("timestamp") // DAY * DAY), None),
    ("time-span", WARN, lambda w: w.map("events", timestamp=NOW - pl.int_range(pl.len()) * 60), None),
    ("item-births", WARN, lambda w: w.map("items", born=pl.lit(NOW)), "timestamp"),
    ("features-declared", WARN, lambda w: w.with_schema(users={}, segment=()), None),
    ("features-filled", WARN, lambda w: w.set("items", "title", 30, None), "title"),
    ("features-filled", FAIL, lambda w: w.map("items", tags=pl.lit([], pl.List(pl.String))), "tags"),
    ("features-varied", WARN, lambda w: w.map("items", price=pl.lit(1.0)), "price"),
    ("categories-size", WARN, lambda w: w.map("users", gender=pl.col("user_id")), "gender"),
    ("categories-spelling", WARN, lambda w: w.set("items", "kind", [0], "Kind1 "), "kind"),
    ("categories-seen", WARN, _rare_kind, "kind"),
    ("items-described", WARN, lambda w: w.set("events", "item_id", 10, "bare"), None),
    ("items-text", WARN, lambda w: w.set("items", "title", [0, 1], " "), "title"),
    ("items-text", WARN, lambda w: w.with_schema(title=None, items=_without_text(w)), None),
    ("segments-size", WARN, lambda w: w.set("users", "gender", 12, "X"), None),
    ("segments-size", WARN, lambda w: w.with_schema(segment=()), None),
    ("available-values", FAIL, lambda w: w.set("items", "on_sale", [0], "yes"), "on_sale"),
    ("available-values", WARN, lambda w: w.map("items", on_sale=pl.lit("false")), None),
    ("items-expired", WARN, lambda w: w.map("items", over=pl.lit(NOW - DAY)), "over"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "mutate", "column"), TRIPS, ids=lambda value: str(value)[:24])
def test_a_check_is_tripped_and_says_where(
    name: str, status: Status, mutate: Mutation, column: str | None, tmp_path: Path
) -> None:
    world = small_world()
    mutate(world)
    diagnosis = diagnose(world.save(tmp_path), now=NOW)
    result = _result(diagnosis, name)
    assert result.status is status, result.found
    assert result.fix
    if column is not None:
        assert column in {place.column for place in result.where}
    assert diagnosis.ok == (diagnosis.counts["FAIL"] == 0)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


BROKEN_FILES: list[tuple[str, Any]] = [
    ("schema", lambda f: (f / "schema.toml").unlink()),
    ("schema", lambda f: (f / "schema.toml").write_text("time = 'sometimes'")),
    ("tables-present", lambda f: (f / "events.parquet").unlink()),
    ("tables-present", lambda f: (f / "items.parquet").unlink()),
    ("files-readable", lambda f: _truncate(f / "events.parquet")),
    ("files-readable", lambda f: (f / "users.parquet").write_bytes(b"")),
    ("files-readable", lambda f: (f / "users.parquet").write_text("user_id,gender,joined\n")),
    ("files-readable", lambda f: (f / "users.csv").write_text("user_id,gender,joined\n")),
    ("files-readable", lambda f: (f / "users.parquet").rename(f / "users.csv")),
    ("files-readable", lambda f: (f / "users.parquet").rename(f / "users.jsonl")),
    ("files-readable", lambda f: (f / "users").mkdir() or (f / "users.parquet").unlink()),
]


@pytest.mark.parametrize(("name", "harm"), BROKEN_FILES)
def test_a_broken_file_fails_its_check(name: str, harm: Any, tmp_path: Path) -> None:
    folder = small_world().save(tmp_path)
    harm(folder)
    diagnosis = diagnose(folder, now=NOW)
    result = _result(diagnosis, name)
    assert result.status is FAIL
    assert result.where
    assert not diagnosis.ok


def test_every_check_is_tripped_by_some_dataset_here() -> None:
    tripped = {name for name, *_ in TRIPS} | {name for name, _ in BROKEN_FILES} | {"rows-complete"}
    assert tripped == {check.name for check in CHECKS}


def test_a_csv_that_was_cut_names_the_line(tmp_path: Path) -> None:
    folder = small_world().save(tmp_path)
    users = pl.read_parquet(folder / "users.parquet")
    (folder / "users.parquet").unlink()
    text = users.write_csv()
    (folder / "users.csv").write_text(text[: text.rindex(",")])
    result = _result(diagnose(folder, now=NOW), "rows-complete")
    assert result.status is FAIL
    assert result.where[0].rows == (USERS + 1,)


def test_a_csv_with_fields_over_several_lines_is_not_called_cut(tmp_path: Path) -> None:
    folder = small_world().save(tmp_path)
    items = pl.read_parquet(folder / "items.parquet").with_columns(
        title=pl.lit("two\nlines, really"), tags=pl.col("tags").list.join("|")
    )
    (folder / "items.parquet").unlink()
    items.write_csv(folder / "items.csv")
    diagnosis = diagnose(folder, now=NOW)
    assert _result(diagnosis, "rows-complete").status is Status.PASS
    assert diagnosis.ok


def test_places_name_the_part_and_the_row_in_it(tmp_path: Path) -> None:
    world = small_world()
    folder = world.save(tmp_path)
    (folder / "events.parquet").unlink()
    (folder / "events").mkdir()
    world.events.head(500).write_parquet(folder / "events" / "a.parquet")
    world.set("events", "event_type", [503, 504, 1_200], "odd")
    world.events.tail(EVENTS - 500).write_parquet(folder / "events" / "b.parquet")
    place = _result(diagnose(folder, now=NOW), "event-types").where[0]
    assert (place.file, place.rows, place.count) == ("events/b.parquet", (4, 5, 701), 3)


def test_nothing_is_claimed_of_what_could_not_be_read(tmp_path: Path) -> None:
    diagnosis = diagnose(tmp_path / "nowhere", now=NOW)
    assert {result.name: result.status for result in diagnosis.checks} == {
        "schema": FAIL,
        "tables-present": FAIL,
        "files-readable": Status.PASS,
    }


ODD_VALUES = st.one_of(
    st.none(),
    st.text(max_size=6),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=4),
    st.datetimes(),
    st.dates(),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.floats(), max_size=3),
    st.fixed_dictionaries({"inner": st.integers(0, 9)}),
)
COLUMNS = [("events", c) for c in ("user_id", "item_id", "event_type", "timestamp", "event_id")]
COLUMNS += [("users", c) for c in ("user_id", "gender", "joined")]
COLUMNS += [("items", c) for c in ("item_id", *small_world().schema.items)]


def _series(name: str, values: list[Any], n: int) -> pl.Series:
    """A column of whatever type holds these values; the first of them alone where nothing holds them all."""
    repeated = (values * n)[:n]
    try:
        return pl.Series(name, repeated)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [values[0]] * n)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    columns=st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3),
    values=st.lists(ODD_VALUES, min_size=1, max_size=4),
    rows=st.integers(0, 12),
    time=st.sampled_from(TimeMeaning),
    split=st.booleans(),
)
def test_no_table_makes_the_doctor_raise(
    columns: list[tuple[str, str]], values: list[Any], rows: int, time: TimeMeaning, split: bool
) -> None:
    world = small_world()
    world.with_schema(time=time, given_split=split)
    for table, column in columns:
        frame = getattr(world, table)
        if rows < 10:
            frame = frame.head(rows * 10)
        setattr(world, table, frame.with_columns(_series(column, values, len(frame))))
    with tempfile.TemporaryDirectory() as folder:
        try:
            world.save(Path(folder))
        except pl.exceptions.PolarsError:
            return  # Parquet itself refuses this column
        diagnosis = diagnose(Path(folder), now=NOW)
    assert {"schema", "files-readable"} <= {result.name for result in diagnosis.checks}


@settings(max_examples=80, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)),
    suffix=st.sampled_from(["parquet", "csv", "jsonl"]),
)
def test_no_bytes_make_the_doctor_raise(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = small_world().save(Path(name))
        (folder / "events.parquet").unlink()
        (folder / f"events.{suffix}").write_bytes(data)
        assert not diagnose(folder, now=NOW).ok


json_values = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.booleans(),
    st.lists(st.integers(0, 3), max_size=2),
)
json_names = st.sampled_from(["user_id", "gender", "joined", "more"])


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.dictionaries(json_names, json_values, max_size=4), max_size=5))
def test_no_json_lines_make_the_doctor_raise(lines: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = small_world().save(Path(name))
        (folder / "users.parquet").unlink()
        (folder / "users.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert diagnose(folder, now=NOW).checks


def test_kinds_of_the_small_world_cover_every_feature_kind() -> None:
    kinds = set(small_world().schema.items.values()) | set(small_world().schema.users.values())
    assert kinds == set(FeatureKind)
