"""The profile store: what a user did is there once, in order, bounded, and survives writers, restarts and damage."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stores.profiles
from contracts.errors import ProfilesUnavailable, StateBusy
from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT, SEEN_LIMIT, HistoryEvent, Profile
from stores.profiles import EVENT_IDS_LIMIT, SqliteProfiles

ids = st.text(min_size=1, max_size=20).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@pytest.fixture
def profiles(tmp_path):
    with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
        yield store


def test_a_stranger_has_an_empty_profile(profiles):
    assert profiles.get("nobody") == Profile(user_id="nobody")


def test_events_come_back_oldest_first(profiles):
    assert profiles.append("u", [HistoryEvent("a", 10), HistoryEvent("b", 20, 2.0)]) == 2
    assert profiles.append("u", [HistoryEvent("c", 15)]) == 1  # arrives late
    profile = profiles.get("u")
    assert [event.item_id for event in profile.history] == ["a", "c", "b"]
    assert profile.history[2].weight == 2.0
    assert (profile.n_events, profile.seen) == (3, ["a", "b", "c"])


def test_without_times_the_order_of_arrival_stands(profiles):
    profiles.append("u", [HistoryEvent("a"), HistoryEvent("b", 5), HistoryEvent("c"), HistoryEvent("d", 1)])
    assert [event.item_id for event in profiles.get("u").history] == ["a", "b", "c", "d"]


def test_an_event_that_comes_twice_counts_once(profiles):
    event = HistoryEvent("a", 10)
    assert profiles.append("u", [event, event], ["e1", "e1"]) == 1
    assert profiles.append("u", [event], ["e1"]) == 0
    assert profiles.append("v", [event], ["e1"]) == 1  # another user's
    assert profiles.append("u", [event], ["e2"]) == 1
    assert profiles.get("u").n_events == 2
    assert profiles.get("u").seen == ["a"]


def test_ids_must_fit_the_events(profiles):
    with pytest.raises(ValueError, match="shorter"):
        profiles.append("u", [HistoryEvent("a"), HistoryEvent("b")], ["e1"])
    assert profiles.get("u").n_events == 0


def test_only_the_newest_are_kept(profiles):
    total = SEEN_LIMIT + 50
    profiles.append("u", [HistoryEvent(f"i{n}", n) for n in range(total)], [f"e{n}" for n in range(total)])
    profile = profiles.get("u")
    assert profile.history[0].item_id == f"i{total - HISTORY_LIMIT}"
    assert len(profile.history) == HISTORY_LIMIT
    assert (len(profile.seen), profile.seen[0], profile.seen[-1]) == (SEEN_LIMIT, "i50", f"i{total - 1}")
    assert profile.n_events == total
    newest_ids = [f"e{n}" for n in range(total - EVENT_IDS_LIMIT, total)]
    assert profiles.append("u", [HistoryEvent("x")] * EVENT_IDS_LIMIT, newest_ids) == 0


def test_features_are_replaced_and_events_stay(profiles):
    profiles.append("u", [HistoryEvent("a")])
    profiles.put_features("u", {"gender": "F", "age": 30, "tags": ["x", "y"]})
    profiles.put_features("u", {"gender": "M"})
    assert (profiles.get("u").features, profiles.get("u").n_events) == ({"gender": "M"}, 1)


@given(ids, ids, st.dictionaries(ids, st.one_of(ids, st.integers(-(2**60), 2**60), st.booleans()), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_unicode_survives(tmp_path_factory, user, item, features):
    with SqliteProfiles(tmp_path_factory.mktemp("p") / "profiles.sqlite") as store:
        store.append(user, [HistoryEvent(item, 5)], [item])
        store.put_features(user, features)
        assert store.get(user) == Profile(
            user_id=user, history=[HistoryEvent(item, 5)], n_events=1, seen=[item], features=features
        )


def interactions(histories):
    lengths = [len(history) for history in histories]
    items = np.array([row for history in histories for row in history], np.int32)
    return Interactions(
        items,
        np.arange(len(items), dtype=np.int64),
        np.full(len(items), 0.5, np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        10_000,
    )


def test_a_bulk_load_gives_what_appending_gives(profiles, monkeypatch):
    monkeypatch.setattr(stores.profiles, "CHUNK_USERS", 2)
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 3_000, n).tolist() for n in (0, 1, 7, 150, 2_500)]
    names = [f"i{row}" for row in range(3_000)]
    events = interactions(histories)
    users = [f"loaded{n}" for n in range(len(histories))]
    features = [{"n": number, "nothing": None} for number in range(len(histories))]
    assert profiles.bulk_load(users, names, events, features) == len(histories)
    for number, history in enumerate(histories):
        start = int(events.offsets[number])
        told = [HistoryEvent(names[row], start + place, 0.5) for place, row in enumerate(history)]
        profiles.append(f"told{number}", told)
        one, loaded = profiles.get(f"told{number}"), profiles.get(f"loaded{number}")
        assert loaded.features == {"n": number}
        assert (loaded.history, loaded.n_events, loaded.seen) == (one.history, one.n_events, one.seen)


def test_a_bulk_load_replaces_but_remembers_event_ids(profiles):
    profiles.append("u", [HistoryEvent("a", 1)], ["e1"])
    profiles.bulk_load(["u"], ["a", "b"], interactions([[0, 1]]), timed=False)
    assert profiles.get("u").n_events == 2
    assert profiles.get("u").history[0].timestamp is None
    assert profiles.append("u", [HistoryEvent("a", 1)], ["e1"]) == 0


def test_it_is_there_after_a_restart(tmp_path):
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        store.append("u", [HistoryEvent("a", 1)], ["e"])
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        assert store.get("u").n_events == 1
        assert store.append("u", [HistoryEvent("a", 1)], ["e"]) == 0


def test_writers_of_several_threads_lose_nothing(profiles):
    def write(writer):
        for number in range(25):
            profiles.append("u", [HistoryEvent(f"{writer}-{number}")], [f"{writer}-{number}"])
            profiles.append("u", [HistoryEvent("shared")], [f"shared-{number}"])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert profiles.get("u").n_events == 4 * 25 + 25


def test_a_failed_write_leaves_the_record_as_it_was(profiles):
    profiles.append("u", [HistoryEvent("a")])
    with pytest.raises(TypeError):
        profiles.put_features("u", {"f": object()})
    assert profiles.get("u").features == {}
    assert profiles.append("u", [HistoryEvent("b")]) == 1


def test_a_writer_that_waits_too_long_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.profiles, "_BUSY_MS", 10)
    with SqliteProfiles(tmp_path / "p.sqlite") as store:
        blocker = sqlite3.connect(tmp_path / "p.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateBusy, match="another process"):
            store.append("u", [HistoryEvent("a")])
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


@pytest.mark.parametrize("damaged", [b"\xc1", b"\xa1\xb4"])
def test_a_damaged_record_is_named(profiles, tmp_path, damaged):
    profiles.append("u", [HistoryEvent("a")])
    with sqlite3.connect(tmp_path / "profiles.sqlite") as connection:
        connection.execute("UPDATE profiles SET profile = ?", (damaged,))
    connection.close()
    with pytest.raises(ProfilesUnavailable):
        profiles.get("u")
