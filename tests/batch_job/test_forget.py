"""Forgetting a user, on this machine and in S3 alike: nothing of them is left, everything else is what it was."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pytest

import batch_job.forget_places
from batch_job.event_log_reading import EVENT_SCHEMA, read_events
from batch_job.forget import Asked, Stores, forget_everywhere
from batch_job.forget_datasets import places_of
from batch_job.forget_journal import BucketJournals, FolderJournals, Journals
from batch_job.forget_places import LocalLog, Place, dataset_folder, local_logs
from batch_job.log_sources import FolderSource, LogSource, S3Source
from contracts.certificate import Certificate
from contracts.errors import DatasetError, ForgetIncomplete, NightRunning
from contracts.event import encode_event
from contracts.live import session_user
from contracts.night import Decision, dataset_listing, dataset_prefix
from contracts.profile import HistoryEvent
from contracts.served import encode_served
from data_sources.dataset import Dataset, open_dataset
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE
from stores.mirrored_folder import fetch, listed
from stores.profiles import SqliteProfiles
from tests.batch_job.night_world import DAY, FILES, MIDNIGHT, NightWorld, event
from tests.stores.served_rows import exposure, slate, write_parquet

LEFT = MIDNIGHT + 3_600
SESSION = session_user("s")


class ForgetPlace(Protocol):
    """One way to keep a log and a dataset."""

    log: LogSource
    journals: Journals

    def put(self, name: str, data: bytes, log: str = "events") -> None:
        """A file of a log."""

    def get(self, name: str, log: str = "events") -> bytes: ...

    def places(self) -> list[Place]: ...

    def dataset(self) -> Dataset: ...


class OnThisMachine:
    def __init__(self, world: NightWorld, folder: Path) -> None:
        self._home, self._data = folder, folder / "shop"
        self.log, self.journals = FolderSource(folder / "events"), FolderJournals(folder / "forgotten")
        self._data.mkdir()
        for name, text in FILES.items():
            (self._data / name).write_text(text)

    def put(self, name: str, data: bytes, log: str = "events") -> None:
        path = self._home / log / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (MIDNIGHT - DAY, MIDNIGHT - DAY))

    def get(self, name: str, log: str = "events") -> bytes:
        return (self._home / log / name).read_bytes()

    def places(self) -> list[Place]:
        return [*local_logs(self._home, LEFT), dataset_folder(self._data)]

    def dataset(self) -> Dataset:
        return open_dataset(self._data)


class InABucket:
    def __init__(self, world: NightWorld, folder: Path) -> None:
        self._world, self._folder = world, folder
        self.log: S3Source = world.log
        self.journals = BucketJournals(world.bucket)
        world.seed()

    def put(self, name: str, data: bytes, log: str = "events") -> None:
        self._world.put(f"{log}/{name}", data)

    def get(self, name: str, log: str = "events") -> bytes:
        return self._world.bucket.read(f"{log}/{name}", 1 << 20).data

    def places(self) -> list[Place]:
        return places_of(self._world.nights)

    def dataset(self) -> Dataset:
        out = self._folder / f"read-{len(list(self._folder.iterdir()))}"
        fetch(self._world.bucket, dataset_prefix("shop"), listed(self._world.bucket, dataset_listing("shop")), out)
        return open_dataset(out)


@pytest.fixture(params=[OnThisMachine, InABucket])
def place(request: pytest.FixtureRequest, world: NightWorld, tmp_path: Path) -> ForgetPlace:
    (tmp_path / "place").mkdir()
    made: ForgetPlace = request.param(world, tmp_path / "place")
    return made


@pytest.fixture
def stores(place: ForgetPlace, tmp_path: Path) -> Iterator[Stores]:
    with ExitStack() as opened:
        profiles = opened.enter_context(SqliteProfiles(tmp_path / "profiles.sqlite"))
        yield Stores(profiles, opened.enter_context(SqliteIdentities(tmp_path / LIVE_FILE)), place.journals)


def lines(*events: Any) -> bytes:
    return b"".join(encode_event(one) + b"\n" for one in events)


def parquet(folder: Path, *events: Any) -> bytes:
    pl.read_ndjson(lines(*events), schema=EVENT_SCHEMA).write_parquet(folder / "x.parquet", compression="snappy")
    return (folder / "x.parquet").read_bytes()


OTHERS = [event(n, f"u0{n}", at=MIDNIGHT) for n in (1, 2)]
LOG = {
    "2026-11-18/a.jsonl": lines(*OTHERS),
    "2026-11-18/b.jsonl": lines(event(3), *OTHERS, event(4, at=LEFT)) + b'{"event_id":"torn","user_id":"u00"\n',
    "2026-11-18/c.jsonl": lines(event(5, SESSION), event(6, "u01", "u00")),
    "2026-11-19/d": gzip.compress(lines(event(7), OTHERS[0]), mtime=0),
    "2026-11-19/e": gzip.compress(lines(*OTHERS), mtime=0),
    "2026-11-19/f.jsonl": lines(event(8, at=LEFT + 1), OTHERS[1]),
}


@pytest.fixture
def full(place: ForgetPlace, stores: Stores, tmp_path: Path) -> ForgetPlace:
    """With a user who is in everything, under the id of a session too."""
    for name, data in LOG.items():
        place.put(name, data)
    place.put("2026-11-19/g", parquet(tmp_path, event(9), OTHERS[0], event(10, SESSION)))
    place.put("2026-11-19/h", parquet(tmp_path, *OTHERS))
    stores.profiles.append("u00", [HistoryEvent("i1", MIDNIGHT)], ["x"])
    stores.profiles.append("u01", [HistoryEvent("i1", MIDNIGHT)], ["y"])
    stores.profiles.append(SESSION, [HistoryEvent("i2", MIDNIGHT)], ["z"])
    stores.profiles.claim(SESSION, "u00")
    stores.identities.merge(SESSION, "u00", MIDNIGHT)
    stores.identities.merge(session_user("t"), "u01", MIDNIGHT)
    return place


def run(place: ForgetPlace, stores: Stores, user: str = "u00", **asked: Any) -> Certificate:
    return forget_everywhere(Asked(user, LEFT, **asked), stores, place.places())


def rows_of_log(place: ForgetPlace) -> dict[str, int]:
    users = pl.concat([frame["user_id"] for frame in read_events(place.log)])
    return dict(users.value_counts().sort("user_id").iter_rows())


def by_kind(certificate: Certificate) -> dict[str, tuple[int, int]]:
    return {one.kind: (one.files, one.rows) for one in certificate.removed if one.rows}


def test_nothing_is_left_and_the_certificate_says_what_there_was(full: ForgetPlace, stores: Stores) -> None:
    files = {name: full.get(name) for name in LOG} | {"2026-11-19/h": full.get("2026-11-19/h")}
    done = run(full, stores)
    assert rows_of_log(full) == {"u00": 1, "u01": 7, "u02": 5}  # u00: of after they left
    dataset = full.dataset()
    assert "u00" not in {*dataset.events["user_id"], *dataset.users["user_id"]}
    assert len(dataset.events) == 16
    assert by_kind(done) == {"event log": (4, 3 + 1 + 1 + 2), "dataset": (2, 4 + 1)}
    assert [one.rows_since for one in done.checked if one.kind == "event log"] == [1]
    assert (done.sessions, done.profile, done.complete) == (1, True, True)
    for user_id in ("u00", SESSION):
        profile = stores.profiles.get(user_id)
        assert (profile.history, profile.merged_into, profile.deleted_at) == ([], None, LEFT)
        assert stores.identities.tombstone(user_id) is not None
    assert [merge.user_id for merge in stores.identities.merges()] == ["u01"]
    assert stores.profiles.get("u01").history
    for name in ("2026-11-18/a.jsonl", "2026-11-19/e", "2026-11-19/f.jsonl", "2026-11-19/h"):
        assert full.get(name) == files[name]
    assert full.get("2026-11-18/b.jsonl") == lines(*OTHERS)
    assert full.get("2026-11-18/c.jsonl") == lines(event(6, "u01", "u00"))


SERVED = {
    "exposures": [
        exposure("u00", MIDNIGHT),
        exposure(SESSION, MIDNIGHT, country="de"),
        exposure("u01", MIDNIGHT, degraded=True),
        exposure("u00", LEFT + 1),
    ],
    "slates": [
        slate("s1", MIDNIGHT, user_id="u00"),
        slate("s2", MIDNIGHT, user_id=SESSION, items=[], scores=[], propensities=[]),
        slate("s3", MIDNIGHT, user_id="u01", items=["u00", "b"], teams=[0, 1], variants=["x:y"]),
        slate("s4", LEFT + 1, user_id="u00"),
        slate("s5", MIDNIGHT, user_id=""),
    ],
}


@pytest.mark.parametrize("log", ["exposures", "slates"])
def test_what_they_were_served_is_forgotten_too_and_that_of_their_sessions(
    full: ForgetPlace, stores: Stores, tmp_path: Path, log: str
) -> None:
    rows: Any = SERVED[log]
    kept = rows[2:]  # of somebody else, of after they left, of nobody that can be told
    full.put("2026-11-20/a.jsonl", b"".join(encode_served(row) + b"\n" for row in rows), log)
    full.put("2026-11-20/b", write_parquet(tmp_path / "x.parquet", rows).read_bytes(), log)
    full.put("2026-11-20/c", write_parquet(tmp_path / "x.parquet", kept).read_bytes(), log)
    untouched = full.get("2026-11-20/c", log)
    done = run(full, stores)
    assert by_kind(done)[log] == (2, 4)
    assert [(one.files, one.rows_since) for one in done.checked if one.kind == log] == [(3, 3)]
    assert full.get("2026-11-20/a.jsonl", log) == b"".join(encode_served(row) + b"\n" for row in kept)
    assert pl.read_parquet(full.get("2026-11-20/b", log)).equals(pl.read_parquet(untouched))
    assert full.get("2026-11-20/c", log) == untouched


def test_forgotten_again_the_certificate_is_the_same_and_nothing_changes(full: ForgetPlace, stores: Stores) -> None:
    first = run(full, stores)
    before = {name: full.get(name) for name in LOG}
    assert run(full, stores) == first
    assert {name: full.get(name) for name in LOG} == before


class KilledError(Exception):
    """In place of the end of the process."""


def steps_of(place: ForgetPlace, stores: Stores) -> Iterator[tuple[object, str]]:
    """What a run changes something by."""
    yield from ((stores.identities, "bury"), (stores.profiles, "forget"), (stores.journals, "write"))
    yield stores.identities, "forget_merge"
    yield batch_job.forget_places, "write_without"
    if isinstance(place, InABucket):
        yield place._world.bucket, "overwrite"
        yield place._world.bucket, "replace"


def test_killed_before_or_after_any_step_it_goes_on_and_counts_everything(
    full: ForgetPlace, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run after run dies at the next step, until one comes through; no run has anything in memory of the one before."""
    runs = 0
    while True:
        with monkeypatch.context() as patch:
            deadly = [0]

            def dying(step: Any, limit: int, deadly: list[int] = deadly) -> Any:
                def call(*arguments: Any, **more: Any) -> Any:
                    deadly[0] += 1
                    if deadly[0] == 2 * limit:
                        raise KilledError
                    answer = step(*arguments, **more)
                    if deadly[0] == 2 * limit - 1:
                        raise KilledError
                    return answer

                return call

            for owner, name in steps_of(full, stores):
                patch.setattr(owner, name, dying(getattr(owner, name), runs // 2 + 1))
            runs += 1
            try:
                done = run(full, stores)
            except KilledError:
                continue
        break
    assert runs > 5
    assert by_kind(done) == {"event log": (4, 7), "dataset": (2, 5)}
    assert (done.sessions, done.profile) == (1, True)
    assert "u00" not in set(full.dataset().events["user_id"])
    assert rows_of_log(full) == {"u00": 1, "u01": 7, "u02": 5}


def test_what_is_still_there_afterwards_is_found_and_named(
    full: ForgetPlace, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = full.places()
    taken = places[0].take_out

    def forgetful(name: str, *more: Any) -> None:
        if name != "2026-11-18/c.jsonl":
            taken(name, *more)

    monkeypatch.setattr(places[0], "take_out", forgetful)
    with pytest.raises(ForgetIncomplete, match=r"2026-11-18/c\.jsonl \(1 rows\)"):
        forget_everywhere(Asked("u00", LEFT), stores, places)
    assert next(stores.identities.merges()).session  # not yet: it names what is still to be found
    assert run(full, stores).complete


def test_a_profile_that_comes_back_is_found(full: ForgetPlace, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores.profiles, "forget", lambda *_: False)
    with pytest.raises(ForgetIncomplete, match="the profile"):
        run(full, stores)


def test_a_user_who_never_was_is_certified_too(full: ForgetPlace, stores: Stores) -> None:
    before = {name: full.get(name) for name in LOG}
    done = run(full, stores, "stranger")
    assert (by_kind(done), done.profile, done.sessions, done.complete) == ({}, False, 0, True)
    assert {name: full.get(name) for name in LOG} == before


def test_who_came_back_keeps_what_they_did_since_unless_they_leave_again(full: ForgetPlace, stores: Stores) -> None:
    run(full, stores)
    stores.profiles.append("u00", [HistoryEvent("i5", LEFT + 5)], ["new"])
    done = forget_everywhere(Asked("u00", LEFT + DAY), stores, full.places())
    assert done.left_at == run(full, stores).left_at
    assert stores.profiles.get("u00").history
    done = forget_everywhere(Asked("u00", LEFT + DAY, again=True), stores, full.places())
    assert by_kind(done) == {"event log": (1, 1)}
    assert (stores.profiles.get("u00").history, rows_of_log(full)) == ([], {"u01": 7, "u02": 5})


def test_a_damaged_file_is_pending_and_told(full: ForgetPlace, stores: Stores) -> None:
    full.put("2026-11-19/cut", gzip.compress(lines(*OTHERS))[:-9])
    done = run(full, stores)
    assert not done.complete
    assert "2026-11-19/cut is damaged" in done.pending[0]


def test_events_that_are_still_on_their_way_are_told(full: ForgetPlace, stores: Stores) -> None:
    assert "run this again then" in run(full, stores, late_seconds=900).pending[0]


def test_a_log_that_is_being_written_loses_lines_and_no_later_event(tmp_path: Path) -> None:
    """A server holds its file open and goes on appending to the very same file."""
    path = tmp_path / "events" / "2026-11-20" / "01-1-x.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(lines(event(1), *OTHERS, event(2)))
    with path.open("ab", buffering=0) as writer, ExitStack() as opened:
        stores = Stores(
            opened.enter_context(SqliteProfiles(tmp_path / "profiles.sqlite")),
            opened.enter_context(SqliteIdentities(tmp_path / LIVE_FILE)),
            FolderJournals(tmp_path / "forgotten"),
        )
        now = int(path.stat().st_mtime)
        done = forget_everywhere(Asked("u00", now), stores, [LocalLog(tmp_path / "events", now)])
        writer.write(lines(event(3, "u03")))
    assert by_kind(done) == {"event log": (1, 2)}
    found = [row for frame in read_events(FolderSource(tmp_path / "events")) for row in frame["event_id"]]
    assert found == ["e1", "e2", "e3"]  # of u01, u02 and u03
    assert b"u00" not in path.read_bytes()


def test_a_night_goes_on_from_a_dataset_that_has_one_user_fewer(world: NightWorld, tmp_path: Path) -> None:
    world.seed()
    world.arrive(event(1, at=MIDNIGHT - 100), event(2, "new", at=MIDNIGHT - 90))
    first = world.night(MIDNIGHT).report
    world.publish(first.night)
    world.bucket.delete([key for key, _ in world.bucket.listing("events/")])  # expired: only the snapshot has them
    with ExitStack() as opened:
        profiles = opened.enter_context(SqliteProfiles(tmp_path / "profiles.sqlite"))
        stores = Stores(profiles, world.identities, BucketJournals(world.bucket))
        done = forget_everywhere(Asked("u00", LEFT), stores, places_of(world.nights))
    assert by_kind(done) == {"dataset": (2, 5), "snapshot": (2, 4 + 1 + 1)}
    second = world.night(LEFT + 60)
    assert second.verdict.decision is Decision.GO
    assert (second.report.base, second.report.forgotten_events) == (first.night, 0)
    events = world.dataset(second.report.night).events
    assert (len(events), set(events["user_id"]) & {"u00", "new"}) == (17, {"new"})
    third = world.begin(LEFT + DAY)
    with pytest.raises(NightRunning, match=third.night):
        places_of(world.nights)


def test_a_dataset_that_is_not_whole_is_no_place(world: NightWorld) -> None:
    world.seed()
    world.bucket.delete(["datasets/shop/schema.toml"])
    with pytest.raises(DatasetError, match="the file is missing"):
        places_of(world.nights)
