"""Profiles from the files of a dataset, part by part: the same as from all of it at once, in one process and in two."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

import batch_job.folder_backfill
import batch_job.user_buckets
from batch_job.backfill import backfill_profiles
from batch_job.folder_backfill import Target, backfill_folder
from contracts.errors import DatasetError, LeaseLost, ProfilesUnavailable
from contracts.profile import HistoryEvent, Profile
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from data_sources.dataset import open_dataset, write_tables
from data_sources.indexed import index_dataset
from local_mode.dynamodb_local.server import create_profiles_table
from stores.dynamodb_profiles import DynamoDBProfiles, patient_profiles
from stores.profiles import Profiles, SqliteProfiles
from tests.stores.profile_worlds import client_of

USERS = [f"u{n:03}" for n in range(200)]
SCHEMA = DatasetSchema(users={"gender": FeatureKind.CATEGORICAL})


def dataset(folder: Path, schema: DatasetSchema = SCHEMA) -> Path:
    """150 users with up to 20 events, a hundred with features, 50 of them without events."""
    told = [(n, k) for n in range(150) for k in range(n % 20)]
    rows = [(USERS[n], f"i{(n * 7 + k) % 30}", 1_000 + n + k * 300) for n, k in told]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    users = pl.DataFrame({"user_id": USERS[100:], "gender": ["f", "m"] * 50}) if schema.users else None
    times = ["timestamp"] if schema.ordered else []
    (folder / "d").mkdir()
    frames = {"events": events.select("user_id", "item_id", *times), "users": users, "items": None}
    write_tables(folder / "d", schema, frames)
    return folder / "d"


def all_of(profiles: Profiles) -> dict[str, Profile]:
    return {user: profiles.get(user) for user in USERS}


@pytest.mark.parametrize(
    "schema", [SCHEMA, DatasetSchema(), DatasetSchema(time=TimeMeaning.ORDER), DatasetSchema(time=TimeMeaning.NONE)]
)
def test_part_by_part_is_as_all_at_once(tmp_path, monkeypatch, schema) -> None:
    monkeypatch.setattr(batch_job.user_buckets, "FLUSH_ROWS", 100)
    folder = dataset(tmp_path, schema)
    live = [HistoryEvent("live", 1_150), HistoryEvent("live", 9_999)]  # the first: after what its own user did before
    with SqliteProfiles(tmp_path / "a") as whole, SqliteProfiles(tmp_path / "b") as parted:
        for profiles in (whole, parted):
            profiles.append("u001", live, ["e1", "e2"])
        loaded = backfill_profiles(index_dataset(open_dataset(folder)), whole)
        target = Target(lambda: SqliteProfiles(tmp_path / "b"))
        for _ in range(2):
            assert backfill_folder(folder, target) == loaded
            assert all_of(parted) == all_of(whole)
    assert loaded == (195 if schema.users else 142)


@pytest.fixture
def table(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    name = f"profiles-{uuid4().hex}"
    with closing(client_of(moto_endpoint)) as client:
        create_profiles_table(client, name)
        yield name


def test_two_processes_write_what_one_writes(table: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(batch_job.folder_backfill, "ALONE", 0)
    folder = dataset(tmp_path)
    assert backfill_folder(folder, Target(partial(patient_profiles, table), processes=2)) == 195
    with SqliteProfiles(tmp_path / "p") as there, closing(DynamoDBProfiles(table)) as written:
        backfill_profiles(index_dataset(open_dataset(folder)), there)
        assert all_of(written) == all_of(there)


def test_a_failure_in_another_process_keeps_its_name_and_what_to_do() -> None:
    error = pickle.loads(pickle.dumps(ProfilesUnavailable("table t: no.", fix="Do it.")))  # noqa: S301  # our own
    assert (str(error), error.fix, type(error)) == ("table t: no. Do it.", "Do it.", ProfilesUnavailable)


def test_a_lease_that_is_lost_ends_it_between_two_parts(tmp_path) -> None:
    def lost(done: int, total: int, text: str) -> None:
        if text == "profiles written" and done > 50:
            raise LeaseLost(text)

    folder = dataset(tmp_path)
    with SqliteProfiles(tmp_path / "p") as profiles:
        with pytest.raises(LeaseLost):
            backfill_folder(folder, Target(lambda: SqliteProfiles(tmp_path / "p")), lost)
        some = sum(profile.version for profile in all_of(profiles).values())
        assert 0 < some < 195
        assert backfill_folder(folder, Target(lambda: SqliteProfiles(tmp_path / "p"))) == 195
        assert {profile.version for profile in all_of(profiles).values()} - {0} == {1}  # none is written twice


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    target = Target(lambda: SqliteProfiles(tmp_path / "p"))
    with pytest.raises(DatasetError, match="there is no such folder"):
        backfill_folder(tmp_path / "none", target)
    folder = dataset(tmp_path)
    (folder / "events.parquet").unlink()
    with pytest.raises(DatasetError, match="there is no table events"):
        backfill_folder(folder, target)
    (folder / "events.csv").write_text("user_id,item_id,timestamp\nu,i,1\nu,i,soon\n")
    with pytest.raises(DatasetError, match=r"events\.csv, column timestamp, row 2 \('soon'\)"):
        backfill_folder(folder, target)
