"""Repair: what the log has and profiles lack comes into them once, however often; a rebuild is what was lived."""

from __future__ import annotations

import os
import random
import sqlite3
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import msgspec
import numpy as np
import polars as pl
import pytest

import batch_job.user_buckets
from batch_job.event_log_reading import EVENT_SCHEMA
from batch_job.log_sources import FolderSource, S3Source
from batch_job.repair import NEWEST_EVENTS, Plan, repair_profiles
from contracts.errors import ProfilesUnavailable, SessionMerged
from contracts.event import Event
from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT, HistoryEvent
from contracts.schema import DatasetSchema, EventWeights, TimeMeaning
from lambda_user_tower.users import leave, merge
from stores.event_log import LocalEventLog
from stores.identities import SqliteIdentities
from stores.profile_leaving import handed_over_id
from stores.profile_rules import EVENT_IDS_LIMIT
from stores.profiles import Addition, SqliteProfiles

NOON = 1_795_176_000
"""2026-11-20, 12:00 UTC."""
SCHEMA = DatasetSchema(event_weights=EventWeights(types={"buy": 3.0}))
PLAN = Plan(SCHEMA, max_age_days=30)


class World:
    """A log and the profiles that live events have made of it."""

    def __init__(self, folder: Path, profiles=None, schema=SCHEMA):
        self.folder, self.schema = folder, schema
        self.log = LocalEventLog(folder / "events")
        self.profiles = profiles or SqliteProfiles(folder / "profiles.sqlite")
        self.identities = SqliteIdentities(folder / "live.sqlite")

    def live(self, event, *, lost=False, profiles=None):
        """An event as the edge takes it in; `lost`: the process ends between the log and the profile."""
        assert self.log.append([event]) == [""]
        if event.known_item and not lost:
            time = event.timestamp if self.schema.timed else None
            told = HistoryEvent(event.item_id, time, self.schema.event_weights.of(event.event_type))
            addition = Addition(event.user_id, [told], [event.event_id], [event.session_id])
            (outcome,) = (profiles or self.profiles).append_all([addition], event.received_at)
            if isinstance(outcome, SessionMerged):  # as the edge hands it over
                told = handed_over_id(event.user_id, told, event.event_id)
                moved = msgspec.structs.replace(addition, user_id=outcome.user_id, event_ids=[told])
                self.profiles.append_all([moved], event.received_at)

    def repair(self, plan=PLAN, source=None):
        source = source or FolderSource(self.folder / "events")
        return repair_profiles(source, self.profiles, replace(plan, schema=self.schema), identities=self.identities)

    def close(self):
        self.log.close()
        self.profiles.close()
        self.identities.close()


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no disk is cut off here
    made = []

    def new(**facts):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder, **facts))
        return made[-1]

    yield new
    for world in made:
        world.close()


@pytest.fixture
def world(make):
    return make()


def event(number, user="u", **changes):
    facts = {"event_id": f"{user}-{number}", "user_id": user, "item_id": f"i{number}", "event_type": "view"}
    return Event(**{**facts, "timestamp": NOON + number, "received_at": NOON + number, **changes})


def stream(seed, users=12, events=600):
    """Events of users as they come: late ones, items again, some sent twice, visits that do not overlap."""
    chance = random.Random(seed)
    for number in range(events):
        user = f"u{int(users * chance.random() ** 2)}"
        arrived = NOON + number + 100 * (number // 100)
        told = event(
            number,
            user,
            item_id=f"i{chance.randrange(80)}",
            timestamp=arrived - chance.choice((0, 0, 0, 50)),
            received_at=arrived,
            event_type=chance.choice(("view", "buy")),
            session_id=chance.choice((None, f"{user}-{number // 100}")),
        )
        yield told
        if chance.random() < 0.1:
            yield msgspec.structs.replace(told, received_at=told.received_at + 1)


def users_of(world):
    return sorted(f"u{n}" for n in range(12))


def facts(profiles, users):
    """What profiles say, without the order of long-gone seen items and without counts of writes and of a minute."""
    found = {}
    for user, stored in profiles.read(users).items():
        plain = msgspec.structs.replace(
            stored.profile, version=0, minute=0, in_minute=0, seen=sorted(stored.profile.seen)
        )
        digests = {stored.event_ids[at : at + 8] for at in range(0, len(stored.event_ids), 8)}
        found[user] = (plain, digests)
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("time", [TimeMeaning.TIMESTAMP, TimeMeaning.ORDER])
def test_lost_writes_are_repaired_and_twice_changes_nothing(make, seed, time):
    schema = msgspec.structs.replace(SCHEMA, time=time)
    whole, broken = make(schema=schema), make(schema=schema)
    chance, lost = random.Random(seed), 0
    for told in stream(seed):
        whole.live(told)
        is_lost = chance.random() < 0.2
        lost += is_lost
        broken.live(told, lost=is_lost)
    users = users_of(whole)
    assert facts(broken.profiles, users) != facts(whole.profiles, users)
    done = broken.repair()
    assert 0 < done.events_added <= lost
    expected, found = facts(whole.profiles, users), facts(broken.profiles, users)
    if schema.timed:
        assert found == expected
    else:  # without times the order of arrival stands, and what is repaired arrives last
        assert {user: (p.n_events, p.seen, ids) for user, (p, ids) in found.items()} == {
            user: (p.n_events, p.seen, ids) for user, (p, ids) in expected.items()
        }
    before = broken.profiles.read(users)
    again = broken.repair()
    assert (again.users, again.users_changed, again.events_added) == (done.users, 0, 0)
    assert broken.profiles.read(users) == before


@pytest.mark.parametrize("seed", range(4))
def test_a_rebuild_of_a_lost_store_is_what_was_lived(make, seed, monkeypatch):
    monkeypatch.setattr(batch_job.user_buckets, "FLUSH_ROWS", 150)
    world = make()
    for told in stream(seed, events=900):
        world.live(told)
    users = users_of(world)
    lived = facts(world.profiles, users)
    world.profiles.close()
    for path in world.folder.glob("profiles.sqlite*"):
        path.unlink()
    world.profiles = SqliteProfiles(world.folder / "profiles.sqlite")
    done = world.repair(replace(PLAN, rebuild=True))
    assert facts(world.profiles, users) == lived
    assert (done.users, done.users_changed) == (12, 12)
    assert done.repeated > 0
    assert world.repair(replace(PLAN, rebuild=True)).users_changed == 0
    assert world.repair().users_changed == 0


def test_a_rebuild_leaves_features_and_what_came_since_and_nothing_else(world):
    world.profiles.put_features("u", {"gender": "F"})
    for number in range(5):
        world.live(event(number, session_id="s1"))
    world.profiles.append("u", [HistoryEvent("wrong", NOON - 9), HistoryEvent("i1", NOON + 1)])  # of no event
    later = HistoryEvent("later", NOON + 99)  # an event that came after the log was read
    world.profiles.append_all([Addition("u", [later], ["late"], ["s2"])], NOON + 99)
    world.repair(replace(PLAN, rebuild=True))
    profile = world.profiles.get("u")
    assert [one.item_id for one in profile.history] == ["i0", "i1", "i2", "i3", "i4", "later"]
    assert (profile.n_events, profile.features) == (6, {"gender": "F"})
    assert (profile.session_id, profile.session) == ("s2", [later])
    assert "wrong" not in profile.seen
    assert world.profiles.append("u", [later], ["late"]) == 0  # its id is remembered


def test_of_a_busy_user_the_newest_are_repaired_and_a_rebuild_counts_all(make):
    total = EVENT_IDS_LIMIT + 177
    world = make()
    for number in range(total):
        world.live(event(number), lost=number == total - NEWEST_EVENTS or number == total - 20)
    done = world.repair()
    assert done.events_added == 1  # the other one has left the history: only a rebuild sees the whole
    assert world.repair().events_added == 0
    profile = world.profiles.get("u")
    assert [one.item_id for one in profile.history] == [f"i{n}" for n in range(total - HISTORY_LIMIT, total)]
    world.repair(replace(PLAN, rebuild=True))
    assert world.profiles.get("u").n_events == total
    assert world.repair().users_changed == 0


def test_what_a_nightly_load_brought_is_not_added_again(world):
    for number in range(8):
        world.live(event(number), lost=True)
    loaded = Interactions(
        np.arange(6, dtype=np.int32),
        NOON + np.arange(6, dtype=np.int64),
        np.ones(6, np.float32),
        np.array([0, 6], np.int64),
        6,
    )
    world.profiles.bulk_load(["u"], [f"i{n}" for n in range(6)], loaded, watermark=NOON + 5)
    assert world.repair().events_added == 2  # what came after the load
    profile = world.profiles.get("u")
    assert (profile.n_events, [one.item_id for one in profile.history]) == (8, [f"i{n}" for n in range(8)])
    assert world.repair().users_changed == 0


def test_without_times_a_seen_item_of_a_load_is_not_added_again(make):
    world = make(schema=msgspec.structs.replace(SCHEMA, time=TimeMeaning.NONE))
    for number in range(4):
        world.live(event(number), lost=True)
    loaded = Interactions(
        np.arange(3, dtype=np.int32), np.zeros(3, np.int64), np.ones(3, np.float32), np.array([0, 3], np.int64), 3
    )
    world.profiles.bulk_load(["u"], ["i0", "i1", "i2"], loaded, timed=False)
    assert world.repair().events_added == 1
    assert world.profiles.get("u").history[-1] == HistoryEvent("i3", None)


def test_what_is_in_no_profile_stays_out(world):
    day = 86_400
    world.live(event(1))
    world.live(event(2, known_item=False))
    world.live(event(3, timestamp=NOON - 31 * day), lost=True)
    world.live(event(4, timestamp=NOON - 29 * day), lost=True)
    for plan in (PLAN, replace(PLAN, rebuild=True)):
        done = world.repair(plan)
        assert (done.unknown_items, done.too_old) == (1, 1)
        assert [one.item_id for one in world.profiles.get("u").history] == ["i4", "i1"]


def test_weights_are_those_of_the_schema(world):
    world.live(event(1, event_type="buy"), lost=True)
    world.live(event(2, event_type="share"), lost=True)
    world.repair()
    assert world.profiles.get("u").history == [HistoryEvent("i1", NOON + 1, 3.0), HistoryEvent("i2", NOON + 2, 1.0)]


def test_since_a_day(world):
    world.live(event(1), lost=True)
    world.live(event(86_400, "v"), lost=True)
    done = world.repair(replace(PLAN, since=date(2026, 11, 21)))
    assert (done.users, done.reading.events) == (1, 1)
    assert (world.profiles.get("u").n_events, world.profiles.get("v").n_events) == (0, 1)


both = pytest.mark.parametrize("rebuild", [False, True])


@both
@pytest.mark.parametrize("time", [TimeMeaning.TIMESTAMP, TimeMeaning.NONE])
def test_what_came_before_a_user_left_is_never_brought_back(make, rebuild, time):
    world = make(schema=msgspec.structs.replace(SCHEMA, time=time))
    for number in range(4):
        world.live(event(number), lost=number % 2 == 0)
        world.live(event(number, "v"))
    leave("u", world.profiles, world.identities, NOON + 4)
    world.live(event(3.5, timestamp=NOON + 2, received_at=NOON + 4), lost=True)  # under way
    world.live(event(5))
    world.live(event(6, timestamp=NOON + 2), lost=True)  # told late, by who came back
    done = world.repair(replace(PLAN, rebuild=rebuild))
    u = world.profiles.get("u")
    assert (done.departed, {one.item_id for one in u.history}, u.n_events) == (5, {"i5", "i6"}, 2)
    assert ({*u.seen}, u.deleted_at) == ({"i5", "i6"}, NOON + 4)
    assert world.profiles.get("v").n_events == 4
    assert world.repair(replace(PLAN, rebuild=rebuild)).users_changed == 0


@pytest.mark.parametrize("lost_store", ["profiles", "identities"])
def test_either_store_remembers_who_left(make, lost_store):
    world = make()
    for number in range(3):
        world.live(event(number))
    leave("u", world.profiles, world.identities, NOON + 9)
    name = "profiles.sqlite" if lost_store == "profiles" else "live.sqlite"
    getattr(world, lost_store).close()
    for path in world.folder.glob(f"{name}*"):
        path.unlink()
    store = SqliteProfiles if lost_store == "profiles" else SqliteIdentities
    setattr(world, lost_store, store(world.folder / name))
    assert world.repair(replace(PLAN, rebuild=True)).departed == 3
    assert world.profiles.get("u").n_events == 0


def test_who_leaves_while_the_log_is_held_against_records_stays_gone(world, monkeypatch):
    world.live(event(1), lost=True)
    append_all = world.profiles.append_all

    def after_a_departure(*values):
        leave("u", world.profiles, world.identities, NOON + 9)
        return append_all(*values)

    monkeypatch.setattr(world.profiles, "append_all", after_a_departure)
    assert world.repair().events_added == 0
    assert world.profiles.get("u").n_events == 0


SESSION = "anonymous:s"


def of_session(number, **more):
    return event(number, SESSION, session_id="s", **more)


@both
def test_events_of_a_session_that_is_a_users_are_repaired_into_the_user(make, rebuild):
    whole, broken = make(), make()
    for world, lost in ((whole, False), (broken, True)):
        world.live(event(0))
        world.live(of_session(1))
        world.live(of_session(2, event_type="buy"), lost=lost)
        merge("u", SESSION, world.profiles, world.identities, NOON + 3)
        world.live(of_session(4))
        world.live(of_session(5), lost=lost)
        world.live(of_session(5), lost=lost)
        world.live(of_session(6, user_id="anonymous:other"), lost=lost)
    assert broken.repair(replace(PLAN, rebuild=rebuild)).claimed == 0
    users = ["u", "anonymous:other", SESSION]
    expected, found = facts(whole.profiles, users), facts(broken.profiles, users)
    assert {user: profile for user, (profile, _) in found.items()} == {user: p for user, (p, _) in expected.items()}
    assert found["u"][0].n_events == 5
    assert found["u"][1] == expected["u"][1]
    assert broken.repair(replace(PLAN, rebuild=rebuild)).users_changed == 0


def test_a_session_from_before_its_user_left_stays_out(world):
    world.live(of_session(1), lost=True)
    merge("u", SESSION, world.profiles, world.identities, NOON + 2)
    leave("u", world.profiles, world.identities, NOON + 3)
    world.live(of_session(4), lost=True)
    assert (world.repair().departed, world.profiles.get("u").n_events) == (1, 1)
    leave(SESSION, world.profiles, world.identities, NOON + 5)
    assert world.repair(replace(PLAN, rebuild=True)).departed == 2


def test_without_times_a_session_of_a_users_waits_for_the_night_and_a_rebuild_has_it(make):
    world = make(schema=msgspec.structs.replace(SCHEMA, time=TimeMeaning.NONE))
    world.live(event(0))
    world.live(of_session(1), lost=True)
    merge("u", SESSION, world.profiles, world.identities, NOON + 2)
    assert (world.repair().claimed, world.profiles.get("u").n_events) == (1, 1)
    assert (world.repair(replace(PLAN, rebuild=True)).claimed, world.profiles.get("u").n_events) == (0, 2)


def test_a_session_of_nobody_knows_whom_is_counted_and_left(world, monkeypatch):
    world.live(of_session(1), lost=True)
    world.profiles.claim(SESSION, "u")  # and the process ended
    done = world.repair()
    assert (done.claimed, done.failed, world.profiles.get(SESSION).n_events) == (1, {}, 0)
    world.profiles.forget(SESSION, NOON - 99)
    append_all = world.profiles.append_all

    def after_a_sign_in(*values):
        world.profiles.claim(SESSION, "u")
        return append_all(*values)

    monkeypatch.setattr(world.profiles, "append_all", after_a_sign_in)
    done = world.repair()
    assert (done.claimed, done.failed, done.events_added) == (1, {}, 0)


@both
def test_a_dry_run_counts_and_changes_nothing(world, rebuild):
    for number, told in enumerate(stream(3)):
        world.live(told, lost=number % 4 == 0)
    before = world.profiles.read(users_of(world))
    plan = replace(PLAN, rebuild=rebuild)
    dry = world.repair(replace(plan, dry_run=True))
    assert world.profiles.read(users_of(world)) == before
    wet = world.repair(plan)
    assert (dry.users_changed, dry.events_added) == (wet.users_changed, wet.events_added)
    assert wet.users_changed > 5


def test_a_repair_is_no_flood(world):
    world.live(event(0))
    for number in range(1, 40):
        world.live(event(number), lost=True)
    world.repair()
    assert world.profiles.get("u").minute == NOON // 60


def test_a_record_that_cannot_be_read_is_counted_and_the_others_repaired(world):
    for number in range(30):
        world.live(event(number, f"user{number}"))
        world.live(event(number + 100, f"user{number}"), lost=True)
    with sqlite3.connect(world.folder / "profiles.sqlite") as connection:
        connection.execute("UPDATE profiles SET profile = x'c1' WHERE user_id IN ('user3', 'user7')")
    connection.close()
    done = world.repair()
    assert dict(done.failed) == {"profiles-unavailable": 2}
    assert (done.users, done.users_changed, done.events_added) == (30, 28, 28)


def test_a_store_that_does_not_answer_ends_it(world):
    for number in range(30):
        world.live(event(number, f"user{number}"))
    with sqlite3.connect(world.folder / "profiles.sqlite") as connection:
        connection.execute("UPDATE profiles SET profile = x'c1'")
    connection.close()
    with pytest.raises(ProfilesUnavailable):
        world.repair()


def test_a_damaged_log_repairs_what_it_can(world):
    for number in range(6):
        world.live(event(number), lost=True)
    (file,) = (world.folder / "events").rglob("*.jsonl")
    content = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*content[:2], b"%%%\n", *content[2:5], content[5][:-9]]))
    (file.parent / "13-other.jsonl").write_bytes(b"\x1f\x8b damaged")
    done = world.repair()
    assert (done.reading.unfinished, len(done.reading.damaged), done.events_added) == (1, 2, 5)
    assert {damage.object.partition("/")[2] for damage in done.reading.damaged} == {file.name, "13-other.jsonl"}


def test_in_aws_it_is_the_same(make, moto_endpoint):
    """DynamoDB, and Parquet under a prefix of S3 as Glue's table gives it."""
    from boto3.session import Session

    from stores.dynamodb_profiles import DynamoDBProfiles

    name = f"repair-{uuid4().hex}"
    dynamodb, s3 = (Session().client(service, endpoint_url=moto_endpoint) for service in ("dynamodb", "s3"))
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "user_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    local, aws = make(), make(profiles=DynamoDBProfiles(name, dynamodb))
    told = list(stream(11, events=120))
    for number, one in enumerate(told):
        local.live(one)
        aws.live(one, lost=number % 3 == 0)
    rows = [msgspec.structs.asdict(one) | {"known_item": None} for one in told]
    path = aws.folder / "part.parquet"
    pl.DataFrame(rows, schema=EVENT_SCHEMA).write_parquet(path)
    s3.put_object(Bucket=name, Key="events/dt=2026-11-20/part.parquet", Body=path.read_bytes())
    source, users = S3Source(f"s3://{name}/events", s3), users_of(local)
    assert aws.repair(source=source).users_changed > 5
    assert facts(aws.profiles, users) == facts(local.profiles, users)
    assert aws.repair(source=source).users_changed == 0
    aws.profiles.append("u0", [HistoryEvent("wrong", NOON)])
    assert aws.repair(replace(PLAN, rebuild=True), source).users_changed >= 1
    assert facts(aws.profiles, users) == facts(local.profiles, users)
    dynamodb.close()
    s3.close()
