"""What changed between two nights and the dataset of the next one: items that were told, users who left, sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batch_job.snapshot_catalogue
from batch_job.event_log_reading import EVENT_SCHEMA
from batch_job.snapshot_catalogue import fold_catalogue
from batch_job.snapshot_parts import Rules, Tally, shaped, write_parts
from batch_job.snapshot_people import People
from batch_job.user_buckets import UserBuckets
from contracts.live import LiveItem, session_user, user_digest
from contracts.night import Decision
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from data_sources.dataset import open_dataset, write_schema
from tests.batch_job.night_world import DAY, ITEMS, MIDNIGHT, SCHEMA, USERS, NightWorld, event

ONE_AM = MIDNIGHT + 3_600
SESSION = session_user("s")


@pytest.fixture
def seeded(world: NightWorld) -> NightWorld:
    world.seed()
    world.arrive(event(1, at=MIDNIGHT - 100), event(2, "new", "i9", at=MIDNIGHT - 90), event(3, SESSION, at=MIDNIGHT))
    return world


def prices(world: NightWorld, night: str) -> dict[str, float | None]:
    return dict(world.dataset(night).items.select("item_id", "price").iter_rows())


def test_what_was_told_of_items_is_in_the_catalogue_of_the_night(seeded: NightWorld) -> None:
    seeded.tell("i2", price=99.5)
    seeded.tell("fresh", price=3, colour="red")
    seeded.items.patch("i5", MIDNIGHT, hidden=True)  # of its state alone the dataset knows nothing
    report = seeded.night(ONE_AM).report
    own = {f"i{n}": n + 0.5 for n in range(7)}
    assert prices(seeded, report.night) == own | {"i2": 99.5, "fresh": 3.0}
    assert (report.live_items, report.live_features_dropped) == (2, 1)


def test_a_night_with_nothing_but_a_new_item_runs_and_the_one_after_it_does_not(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    assert seeded.night(ONE_AM + 600, adopt=False).verdict.code == "nothing-new"
    seeded.tell("fresh", price=3)
    second = seeded.night(ONE_AM + 1_200)
    assert (second.verdict.decision, second.report.new_events) == (Decision.GO, 0)
    seeded.publish(second.report.night)
    assert seeded.night(ONE_AM + 1_800, adopt=False).verdict.code == "nothing-new"
    seeded.tell("fresh", price=4)
    assert seeded.night(ONE_AM + 2_400).verdict.decision is Decision.GO
    seeded.publish(None)  # a release from a laptop has seen the dataset and nothing that was told
    assert seeded.night(ONE_AM + 3_000, adopt=False).verdict.decision is Decision.GO


def test_equal_input_gives_equal_bytes_in_whatever_order_items_come(seeded: NightWorld, monkeypatch) -> None:
    for number in range(40):
        seeded.tell(f"f{number}", price=number)
    seeded.identities.bury("u01", ONE_AM)
    first = seeded.night(ONE_AM, adopt=False).report
    everything = sorted(seeded.items.all(), key=lambda one: one.item_id[::-1])
    monkeypatch.setattr(seeded.items, "all", lambda: iter(everything))
    monkeypatch.setattr(batch_job.snapshot_catalogue, "TOLD_AT_ONCE", 7)
    second = seeded.night(ONE_AM, adopt=False).report
    assert first.files == second.files
    assert first.live_items == 40


def test_a_broken_catalogue_is_named_where_items_are_folded_in(world: NightWorld) -> None:
    from contracts.errors import DatasetError

    world.seed({"items.csv": ITEMS + "i7,cheap\n"})
    world.arrive(event(1))
    world.tell("fresh", price=3)
    with pytest.raises(DatasetError, match=r"items\.csv, column price, row 8 \('cheap'\)"):
        world.night(ONE_AM)


KINDS = {
    "words": FeatureKind.MULTI_CATEGORICAL,
    "colour": FeatureKind.CATEGORICAL,
    "text": FeatureKind.TEXT,
    "at": FeatureKind.TIMESTAMP,
    "price": FeatureKind.NUMERIC,
}


@pytest.mark.parametrize("rows", [2, 1_000])
def test_values_stand_as_serving_reads_them_and_what_has_no_place_is_counted(tmp_path, monkeypatch, rows) -> None:
    monkeypatch.setattr(batch_job.snapshot_catalogue, "SLICE_ROWS", rows)
    (tmp_path / "d").mkdir()
    (tmp_path / "scratch").mkdir()
    schema = DatasetSchema(items=KINDS)
    write_schema(tmp_path / "d", schema)
    (tmp_path / "d" / "events.csv").write_text("user_id,item_id,timestamp\nu,a,1\n")
    (tmp_path / "d" / "items.csv").write_text("item_id,words,colour,text,at,price,extra\n" + "a,x|y,red,t,5,1,z\n" * 1)
    told = [
        LiveItem(item_id="b", features={"words": ["x", "z"], "colour": True, "text": "long", "at": 7.9, "price": 2}),
        LiveItem(item_id="c", features={"words": "p|q", "colour": 3.0, "text": 4.0, "at": None, "price": float("inf")}),
        LiveItem(item_id="d", features={"words": 1.0, "colour": ["red"], "at": "soon", "gone": 1, "price": True}),
        LiveItem(item_id="e", hidden=True),
    ]
    folded = fold_catalogue(tmp_path / "d", schema, told, People.nobody(), tmp_path / "scratch")
    assert (folded.items, folded.features_dropped) == (3, 4)
    found = {row[0]: row[1:] for row in open_dataset(tmp_path / "d").items.select("item_id", *KINDS).iter_rows()}
    assert found == {
        "a": (["x", "y"], "red", "t", 5, 1.0),
        "b": (["x", "z"], "true", "long", 7, 2.0),
        "c": (["p", "q"], "3", "4", None, None),
        "d": (["1"], None, None, None, 1.0),
    }


def test_who_left_is_in_nothing_and_that_alone_makes_a_night(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    seeded.identities.bury("u00", ONE_AM)
    seeded.arrive(event(7, at=ONE_AM), event(8, at=ONE_AM + 1), name="c")  # one from before, one after
    second = seeded.night(ONE_AM + DAY)
    dataset, report = seeded.dataset(second.report.night), second.report
    assert second.verdict.decision is Decision.GO
    assert dataset.events.filter(pl.col("user_id") == "u00")["event_id"].to_list() == ["e8"]
    assert dataset.users["user_id"].to_list() == ["u01"]
    assert (report.forgotten_events, report.forgotten_users, report.forgotten_rows) == (4 + 1 + 1 + 1, 1, 1)
    seeded.publish(report.night)
    seeded.identities.bury("nobody", ONE_AM + DAY)
    assert seeded.night(ONE_AM + DAY + 60, adopt=False).report.forgotten_events == 1 + 1  # of the log, read again


def test_a_deletion_without_any_other_change_is_no_idle_night(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    seeded.identities.bury("u02", ONE_AM + 10)
    second = seeded.night(ONE_AM + 60)
    assert (second.verdict.decision, second.report.new_events, second.report.unchanged) == (Decision.GO, 0, False)
    assert second.report.events == first.events - 4
    seeded.publish(second.report.night)
    assert seeded.night(ONE_AM + 120, adopt=False).verdict.code == "nothing-new"


def test_a_session_is_its_users_from_the_night_on_in_which_they_signed_in(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    assert seeded.dataset(first.night).events["user_id"].to_list().count(SESSION) == 1
    seeded.identities.merge(SESSION, "u00", ONE_AM + 5)
    seeded.arrive(event(3, SESSION, at=MIDNIGHT), event(9, SESSION, at=ONE_AM + 2), name="again")
    second = seeded.night(ONE_AM + DAY).report
    events = seeded.dataset(second.night).events
    assert SESSION not in events["user_id"].to_list()
    assert sorted(events.filter(pl.col("user_id") == "u00")["event_id"].drop_nulls()) == ["e1", "e3", "e9"]  # once each
    assert (second.merged_sessions, second.events, second.log_events) == (1, first.events + 1, 4)
    seeded.identities.bury("u00", ONE_AM + DAY)
    third = seeded.night(ONE_AM + 2 * DAY).report
    assert {"u00", SESSION}.isdisjoint(seeded.dataset(third.night).events["user_id"].to_list())


def test_without_times_who_came_back_keeps_what_they_did_since(world: NightWorld) -> None:
    world.seed({"schema.toml": SCHEMA.replace("version = 1", 'version = 1\ntime = "order"')})
    world.settings = replace(world.settings, history_days=0)
    world.identities.bury("u00", MIDNIGHT)
    world.arrive(event(1, at=MIDNIGHT), event(2, at=MIDNIGHT + 1))
    first = world.night(ONE_AM).report
    assert first.forgotten_events == 4 + 1
    world.arrive(event(3, at=ONE_AM + DAY), name="b")
    second = world.night(ONE_AM + 3 * DAY).report  # e2 is in what this one grows from, and has no time there
    assert sorted(world.dataset(second.night).events["event_id"].drop_nulls()) == ["e2", "e3"]


def test_a_session_without_times_comes_after_what_its_user_did_before(tmp_path: Path) -> None:
    schema = DatasetSchema(time=TimeMeaning.ORDER)
    old = pl.DataFrame({"user_id": ["a", "a", SESSION, SESSION], "item_id": ["x", "y", "p", "q"]})
    old = old.with_columns(timestamp=pl.Series([5, 6, 0, 1], dtype=pl.Int64))
    people = People(people_left({}), people_merged({SESSION: "a"}))
    written(tmp_path, schema, people, old, log_frame([("e", "a", 1_000, 1_000)]))
    found = open_dataset(tmp_path / "d").events.sort("timestamp")
    assert found["item_id"].to_list() == ["x", "y", "p", "q", "i"]
    assert found["timestamp"].to_list() == [5, 6, 7, 8, 9]


def people_left(left: dict[str, int]) -> pl.DataFrame:
    rows = [(user_digest(user), at) for user, at in left.items()]
    return pl.DataFrame(rows, schema={"digest": pl.String, "left_at": pl.Int64}, orient="row")


def people_merged(merged: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(merged.items()), schema={"user_id": pl.String, "merged_into": pl.String}, orient="row")


def log_frame(rows: list[tuple[str, str, int, int]]) -> pl.DataFrame:
    """Of the log: event id, user, when it happened, when it arrived."""
    made = [
        dict.fromkeys(EVENT_SCHEMA) | {"event_id": e, "user_id": u, "item_id": "i", "timestamp": t, "received_at": at}
        for e, u, t, at in rows
    ]
    return pl.DataFrame(made, schema=EVENT_SCHEMA)


def written(folder: Path, schema: DatasetSchema, people: People, *frames: pl.DataFrame) -> Tally:
    (folder / "buckets").mkdir(parents=True)
    (folder / "d").mkdir()
    buckets = UserBuckets(folder / "buckets")
    for frame in frames:
        buckets.add(shaped(people.renamed(frame), schema))
    write_schema(folder / "d", schema)
    return write_parts(buckets, folder / "d", Rules(schema, people=people))


WHO = st.sampled_from(["a", "b", "c", "anonymous:1", "anonymous:2"])
TIMES = st.integers(0, 30)


@settings(max_examples=25, deadline=None)
@given(
    told=st.lists(st.tuples(WHO, TIMES, TIMES), max_size=25),
    owned=st.lists(st.tuples(WHO, TIMES), max_size=25),
    left=st.dictionaries(WHO, TIMES),
    merged=st.dictionaries(st.sampled_from(["anonymous:1", "anonymous:2"]), st.sampled_from(["a", "b"])),
)
def test_exactly_what_came_before_a_departure_is_gone(tmp_path_factory, told, owned, left, merged) -> None:
    people, folder = People(people_left(left), people_merged(merged)), tmp_path_factory.mktemp("left")
    own = pl.DataFrame(
        [(user, f"own{n}", at) for n, (user, at) in enumerate(owned)],
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64},
        orient="row",
    )
    log = log_frame([(f"e{n}", user, at, at + later) for n, (user, at, later) in enumerate(told)])
    tally = written(folder, DatasetSchema(), people, own, log)
    before = [(merged.get(user, user), at) for user, at in owned]
    before += [(merged.get(user, user), at + later) for user, at, later in told]
    kept = sorted(user for user, at in before if at > left.get(user, -1))
    parts = sorted((folder / "d" / "events").iterdir())
    assert sorted(user for part in parts for user in pl.read_parquet(part)["user_id"]) == kept
    assert (tally.events, tally.forgotten) == (len(kept), len(before) - len(kept))
    assert tally.forgotten_users == len({user for user, at in before if at <= left.get(user, -1)})


def test_users_of_a_dataset_stay_the_files_they_are_where_nobody_of_them_left(seeded: NightWorld) -> None:
    seeded.identities.bury("stranger", ONE_AM)
    report = seeded.night(ONE_AM).report
    assert seeded.files(report.night)["users.csv"] == USERS.encode()
