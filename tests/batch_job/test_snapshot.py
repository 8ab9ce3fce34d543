"""Night after night: what is in the dataset that a night trains on, and what the night is told to do with it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from contracts.errors import DatasetError, LeaseLost, NightIncomplete, NotEnoughData, SchemaError
from contracts.night import BASE_KEY, Accept, Decision, SnapshotReport, Step, snapshot_listing, snapshot_prefix
from data_sources.doctor import diagnose
from stores.mirrored_folder import fetch, listed
from stores.s3_bucket import Bucket
from tests.batch_job.night_world import DAY, EVENTS, FILES, ITEMS, MIDNIGHT, SCHEMA, USERS, NightWorld, event

ONE_AM = MIDNIGHT + 3_600


@pytest.fixture
def seeded(world: NightWorld) -> NightWorld:
    """With the dataset, and three events of the day before."""
    world.seed()
    world.arrive(event(1, at=MIDNIGHT - 100), event(2, "new", "i9", at=MIDNIGHT - 90, session_id="s", value=2.0))
    world.arrive(event(3, at=MIDNIGHT - 80, known_item=False), name="b", parquet=True)
    return world


def ids(world: NightWorld, night: str) -> list[str]:
    """The event ids of a snapshot, of those that have one."""
    return sorted(world.dataset(night).events["event_id"].drop_nulls().to_list())


def test_a_first_night_holds_the_dataset_and_the_log(seeded: NightWorld) -> None:
    made = seeded.night(ONE_AM)
    dataset, report = seeded.dataset(made.report.night), made.report
    assert (report.events, report.users, report.items) == (23, 6, 8)
    assert (len(dataset.events), report.log_events, report.new_events, report.repeated) == (23, 3, 3, 0)
    assert (report.base, report.read_from, report.position) == (None, "2026-11-19", "2026-11-19")
    assert report.newest_event == MIDNIGHT - 85
    assert report.arrivals == {"2026-11-19T23": 3}
    new = dataset.events.filter(pl.col("user_id") == "new").row(0, named=True)
    told = {"item_id": "i9", "event_type": "view", "timestamp": MIDNIGHT - 95, "value": 2.0, "session_id": "s"}
    assert new == {"user_id": "new", "event_id": "e2"} | told
    assert made.verdict.decision is Decision.GO
    assert made.sent.keys() == report.files.keys() == seeded.files(report.night).keys()


def test_what_the_nights_leave_passes_the_doctor(seeded: NightWorld, tmp_path) -> None:
    night = seeded.night(ONE_AM).report.night
    entries = listed(seeded.bucket, snapshot_listing(night))
    fetch(seeded.bucket, snapshot_prefix(night), entries, tmp_path / "d")
    failed = {check.name for check in diagnose(tmp_path / "d", ONE_AM).checks if check.status == "FAIL"}
    assert failed <= {"events-enough", "users-warm", "items-warm", "users-known"}  # it is a toy


def test_a_second_night_grows_from_the_first(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    seeded.arrive(event(3, at=MIDNIGHT - 80), event(4, at=MIDNIGHT - 70), name="late")  # one of them again
    seeded.arrive(event(5, at=MIDNIGHT + 7_200), event(5, at=MIDNIGHT + 7_201), event("x", "newer", "i10", ONE_AM + 1))
    seeded.seed({"items.csv": ITEMS + "i10,3\n"})
    second = seeded.night(ONE_AM + DAY).report
    assert ids(seeded, second.night) == ["e1", "e2", "e3", "e4", "e5", "ex"]
    assert (second.base, second.read_from, second.position) == (first.night, "2026-11-18", "2026-11-20")
    assert (second.log_events, second.new_events, second.repeated) == (6, 3, 5)
    assert (second.events, second.users) == (26, 7)
    assert second.arrivals == {"2026-11-19T23": 4, "2026-11-20T01": 1, "2026-11-20T02": 1}
    dataset = seeded.dataset(second.night)
    assert dataset.items["item_id"].to_list()[-1] == "i10"
    assert dataset.events.filter(pl.col("event_id").is_null())["value"].sum() == sum(range(20))  # as it was seeded
    assert first.catalogue != second.catalogue


def test_a_night_that_was_refused_leaves_no_trace_in_the_next(seeded: NightWorld) -> None:
    seeded.night(ONE_AM, adopt=False)
    second = seeded.night(ONE_AM + DAY).report
    assert (second.base, second.events, second.log_events, second.repeated) == (None, 23, 3, 0)


def test_other_event_files_start_anew_and_keep_the_log(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    seeded.arrive(event(4, at=ONE_AM))
    fewer = "\n".join(EVENTS.splitlines()[:11]) + "\n"
    seeded.seed(
        {"events.csv": "", "events/part-0.csv": fewer, "events/part-1.csv": "item_id,timestamp,user_id\ni1,5,a\n"}
    )
    second = seeded.night(ONE_AM + DAY).report
    assert (second.base, second.events, second.log_events, second.new_events) == (None, 11 + 4, 4, 4)
    assert second.base_events != first.base_events
    third = seeded.night(ONE_AM + 2 * DAY).report
    assert (third.base, third.events, third.log_events, third.new_events) == (second.night, 15, 4, 4)


def test_ids_of_the_dataset_keep_the_log_from_telling_it_twice(seeded: NightWorld) -> None:
    header, first, *rest = EVENTS.splitlines()
    lines = [f"{header},event_id", f"{first},e1", *(f"{line}," for line in rest)]  # u00, whose e1 is in the log too
    seeded.seed({"events.csv": "\n".join(lines) + "\n"})
    report = seeded.night(ONE_AM).report
    assert (report.events, report.log_events, report.repeated) == (22, 2, 1)
    assert ids(seeded, report.night) == ["e1", "e2", "e3"]


def test_nothing_new_ends_the_night_and_sends_nothing(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report
    seeded.publish(first.night)
    idle = seeded.night(ONE_AM + 3_600, adopt=False)
    assert (idle.verdict.decision, idle.verdict.code) == (Decision.STOP, "nothing-new")
    assert (idle.report.unchanged, idle.report.new_events, idle.sent) == (True, 0, {})
    assert seeded.files(idle.report.night) == {}
    assert seeded.nights.verdict(idle.report.night, Step.SNAPSHOT) == idle.verdict
    seeded.seed({"users.csv": USERS + "u02,f\n"})
    assert seeded.night(ONE_AM + 7_200).verdict.decision is Decision.GO


def test_for_a_seeded_release_the_log_is_what_is_new(world: NightWorld) -> None:
    world.seed()
    world.publish(None)
    assert world.night(ONE_AM, adopt=False).verdict.code == "nothing-new"
    world.arrive(event(1, at=ONE_AM))
    made = world.night(ONE_AM + DAY)
    assert (made.verdict.decision, made.report.new_events) == (Decision.GO, 1)


def test_a_tenth_of_the_usual_events_is_refused_before_anything_changed(world: NightWorld) -> None:
    world.seed()
    for day in range(5):
        numbers = range(100 if day < 4 else 10)
        at = MIDNIGHT + day * DAY + 1
        world.arrive(*(event(f"{day}-{number}", f"u{number}", at=at + number) for number in numbers), name=str(day))
    made = world.night(MIDNIGHT + 5 * DAY, adopt=False)
    assert (made.verdict.decision, made.verdict.code) == (Decision.REFUSE, "too-few-events")
    assert "10 events came in the last 24 hours; usual are 100 (median of 4 days)" in made.verdict.reason
    assert world.files(made.report.night) == {}
    accepted = world.night(MIDNIGHT + 5 * DAY, Accept.FEW_EVENTS)
    assert (accepted.verdict.decision, accepted.report.log_events) == (Decision.GO, 410)


def test_the_window_of_the_history_drops_what_is_older(seeded: NightWorld) -> None:
    seeded.settings = replace(seeded.settings, history_days=10)
    seeded.arrive(event("old", at=MIDNIGHT - 50, timestamp=MIDNIGHT - 30 * DAY), name="old")
    report = seeded.night(MIDNIGHT + 10).report  # ten of the dataset's events are older by then
    assert (report.events, report.too_old, report.log_events) == (10 + 3, 11, 3)
    later = seeded.night(MIDNIGHT + DAY).report
    assert (later.events, later.too_old, later.log_events, later.new_events) == (3, 11, 3, 3)
    with pytest.raises(NotEnoughData, match="7 are older than 10 days"):
        seeded.night(MIDNIGHT + 30 * DAY)


def test_damage_in_the_log_is_named_and_stops_nothing(seeded: NightWorld) -> None:
    whole = seeded.bucket.read(seeded.arrive(event(8), name="c", parquet=True), 1 << 20).data
    seeded.put("events/dt=2026-11-20/cut.parquet", whole[: len(whole) // 2])
    seeded.put("events/dt=2026-11-20/lines", b'{"event_id": "e9"}\nnonsense\n')
    made = seeded.night(ONE_AM)
    assert made.verdict.decision is Decision.GO
    assert made.report.log_events == 4
    cut, lines = sorted(made.report.damaged)
    assert cut.startswith("dt=2026-11-20/cut.parquet: ")
    assert lines.startswith("dt=2026-11-20/lines: ")
    assert lines.endswith("(2 lines)")


def test_killed_and_run_again_it_gives_the_same_bytes_and_sends_the_rest(
    seeded: NightWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    sent: list[str] = []
    upload = Bucket.upload

    def dies(self, key, path, expected):
        if len(sent) == 3:
            raise KilledError
        upload(self, key, path, expected)
        sent.append(key)

    facts = seeded.begin(ONE_AM)
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "upload", dies)
        with pytest.raises(KilledError):
            seeded.snapshot(facts)
    half = seeded.files(facts.night)
    again = seeded.snapshot(facts)
    whole = seeded.files(facts.night)
    assert len(half) == 3
    assert half.items() <= whole.items()
    assert again.sent.keys() == whole.keys() - half.keys()
    once_more = seeded.snapshot(facts)
    assert (once_more.sent, once_more.report) == ({}, again.report)
    seeded.nights.adopt(facts.night)
    assert seeded.snapshot(facts).report == again.report  # it does not grow from itself


def test_without_the_lease_nothing_is_written(seeded: NightWorld) -> None:
    facts = seeded.begin(ONE_AM)
    newer = seeded.begin(ONE_AM + 60)
    with pytest.raises(LeaseLost):
        seeded.snapshot(facts)
    assert seeded.files(facts.night) == {}
    assert seeded.nights.find(facts.night, SnapshotReport) is None
    seeded.snapshot(newer)


def test_a_lease_that_is_lost_on_the_way_writes_no_report(seeded: NightWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = seeded.begin(ONE_AM)
    objects = seeded.log.objects

    def overtaken(since=None):
        seeded.begin(ONE_AM + 60)
        return objects(since)

    monkeypatch.setattr(seeded.log, "objects", overtaken)
    with pytest.raises(LeaseLost):
        seeded.snapshot(facts)
    assert seeded.files(facts.night) == {}
    assert seeded.nights.verdict(facts.night, Step.SNAPSHOT) is None


BAD = {
    "value": ({"events.csv": EVENTS + f"u,i,{MIDNIGHT},view,cheap\n"}, "events.csv, column value, row 21 ('cheap')"),
    "column": ({"events.csv": EVENTS.replace("item_id", "item")}, "events.csv, column item_id: the column is missing"),
    "time": ({"events.csv": EVENTS + "u,i,,view,1\n"}, "events.csv, column timestamp, row 21"),
    "table": ({"events.csv": ""}, "there is no table events"),
    "twice": ({"events.jsonl": '{"user_id":"a"}\n'}, "the table events exists more than once"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_dataset_that_cannot_be_read_is_named(world: NightWorld, case: str) -> None:
    files, expected = BAD[case]
    world.seed(files)
    with pytest.raises(DatasetError) as raised:
        world.night(ONE_AM)
    assert expected in str(raised.value)


def test_what_is_wrong_with_the_catalogue_is_left_for_the_check(world: NightWorld, tmp_path) -> None:
    world.seed({"items.csv": ITEMS + "i7,NaN\ni8,inf\n"})
    night = world.night(ONE_AM).report.night
    with pytest.raises(DatasetError, match=r"items\.csv, column price, row 9 \('inf'\)"):  # NaN says: not known
        world.dataset(night)


def test_a_dataset_that_is_not_whole_is_named(world: NightWorld) -> None:
    facts = world.begin(ONE_AM)
    with pytest.raises(DatasetError, match=r"datasets/shop\.files\.json: there is no listing"):
        world.snapshot(facts)
    world.seed()
    world.put("datasets/shop/items.csv", FILES["items.csv"].replace("1", "2").encode())
    with pytest.raises(DatasetError, match=r"items\.csv: its content is not what its listing says"):
        world.snapshot(facts)
    world.bucket.delete(["datasets/shop/items.csv"])
    with pytest.raises(DatasetError, match=r"items\.csv: the file is missing"):
        world.snapshot(facts)
    world.seed({"schema.toml": ""})
    with pytest.raises(SchemaError, match="there is no schema"):
        world.snapshot(facts)
    world.seed({"schema.toml": SCHEMA + "\nsegmnt = []"})
    with pytest.raises(SchemaError, match=r"s3://.*datasets/shop/schema\.toml"):
        world.snapshot(facts)


def test_a_base_that_is_gone_is_no_reason_to_forget_the_log(seeded: NightWorld) -> None:
    first = seeded.night(ONE_AM).report.night
    part = next(name for name in seeded.files(first) if name.startswith("events/"))
    seeded.bucket.delete([snapshot_prefix(first) + part])
    with pytest.raises(DatasetError, match=f"{part}: the file is missing"):
        seeded.night(ONE_AM + DAY)
    seeded.bucket.delete([f"nights/{first}/snapshot.json"])
    with pytest.raises(NightIncomplete, match=f"names {first}, which has no report"):
        seeded.night(ONE_AM + DAY)
    seeded.bucket.delete([BASE_KEY])
    assert seeded.night(ONE_AM + DAY).report.events == 23


def test_an_event_from_the_future_hides_no_others(seeded: NightWorld) -> None:
    seeded.arrive(event("future", at=MIDNIGHT + 900 * DAY), day="2026-11-20")
    assert seeded.night(ONE_AM).report.position == "2026-11-20"
    seeded.arrive(event(7, at=ONE_AM + 60), name="later")
    assert "e7" in ids(seeded, seeded.night(ONE_AM + DAY).report.night)
