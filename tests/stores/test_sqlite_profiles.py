"""Profiles in a SQLite file: restarts, old files, damage, and writers of other processes."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

import stores.sqlite_file
from contracts.errors import ProfilesUnavailable, StateBusy
from contracts.profile import HistoryEvent
from stores.profiles import Addition, SqliteProfiles


@pytest.fixture
def profiles(tmp_path):
    with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
        yield store


def test_it_is_there_after_a_restart(tmp_path):
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        store.append("u", [HistoryEvent("a", 1)], ["e"])
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        assert store.get("u").n_events == 1
        assert store.append("u", [HistoryEvent("a", 1)], ["e"]) == 0


def test_a_file_of_the_first_version_opens_and_is_written_on(tmp_path):
    old = {
        "user_id": "u",
        "history": [["a", 1, 1.0]],
        "n_events": 1,
        "seen": ["a"],
        "features": {"f": 1},
        "session": [],
    }
    with sqlite3.connect(tmp_path / "p.sqlite") as connection:
        connection.execute(
            "CREATE TABLE profiles (user_id TEXT PRIMARY KEY NOT NULL, profile BLOB NOT NULL, "
            "event_ids BLOB NOT NULL DEFAULT x'')"
        )
        connection.execute("INSERT INTO profiles (user_id, profile) VALUES ('u', ?)", (msgspec.msgpack.encode(old),))
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    for expected in (2, 3):
        with SqliteProfiles(tmp_path / "p.sqlite") as store:
            assert store.append("u", [HistoryEvent("b", expected)]) == 1
            u = store.get("u")
            assert (u.n_events, u.features, set(u.seen), u.version) == (expected, {"f": 1}, {"a", "b"}, expected - 1)


def test_a_writer_that_waits_too_long_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.sqlite_file, "_BUSY_MS", 10)
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        blocker = sqlite3.connect(tmp_path / "p.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateBusy, match="another process"):
            store.append("u", [HistoryEvent("a")])
        outcomes = store.append_all([Addition("u", [HistoryEvent("a")]), Addition("v", [HistoryEvent("a")])], 0)
        assert [type(outcome) for outcome in outcomes] == [StateBusy, StateBusy]
        assert store.get("u").n_events == 0  # readers do not wait
        blocker.close()


def test_a_file_that_is_no_store_is_named(tmp_path):
    path = tmp_path / "p.sqlite"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(ProfilesUnavailable, match=r"p\.sqlite"):
        SqliteProfiles(path)


def test_another_version_is_refused(tmp_path):
    SqliteProfiles(tmp_path / "p.sqlite").close()
    with sqlite3.connect(tmp_path / "p.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ProfilesUnavailable, match="version 99"):
        SqliteProfiles(tmp_path / "p.sqlite")


@pytest.mark.parametrize("damaged", [b"\xc1", b"\xa1\xb4", msgspec.msgpack.encode({"format": 99})])
def test_a_damaged_record_is_named_and_fails_alone(profiles, tmp_path, damaged):
    profiles.append("u", [HistoryEvent("a")])
    with sqlite3.connect(tmp_path / "profiles.sqlite") as connection:
        connection.execute("UPDATE profiles SET profile = ?", (damaged,))
    connection.close()
    with pytest.raises(ProfilesUnavailable):
        profiles.get("u")
    with pytest.raises(ProfilesUnavailable):
        profiles.put_features("u", {})
    event = HistoryEvent("a")
    outcomes = profiles.append_all([Addition("u", [event]), Addition("v", [event])], 0)
    assert [type(outcome) for outcome in outcomes] == [ProfilesUnavailable, int]
    assert profiles.get("v").n_events == 1
