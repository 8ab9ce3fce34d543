"""Every profile store: what a user did is there once, in order and bounded, beside other writers and nightly loads.

One suite over SQLite, DynamoDB as moto knows it, and Amazon's own local engine, which enforces what moto lets through.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.deadline import Deadline
from contracts.errors import IdInvalid, ProfileTooLarge, StateBusy
from contracts.profile import HISTORY_LIMIT, MAX_PROFILE_BYTES, HistoryEvent, Profile
from stores.profile_records import Stored
from stores.profile_rules import MAX_FEATURES_BYTES
from stores.profiles import Addition
from tests.stores.profile_worlds import interactions, several_writers

NOW = 1_700_000_000


def items_of(events):
    return [event.item_id for event in events]


def test_a_stranger_has_an_empty_profile(profiles):
    assert profiles.get("nobody") == Profile(user_id="nobody")
    assert profiles.read(["nobody", "noone"]) == {
        "nobody": Stored(Profile(user_id="nobody")),
        "noone": Stored(Profile(user_id="noone")),
    }
    assert profiles.read([]) == {}


def test_events_come_back_oldest_first(profiles):
    assert profiles.append("u", [HistoryEvent("a", 10), HistoryEvent("b", 20, 2.0)]) == 2
    assert profiles.append("u", [HistoryEvent("c", 15)]) == 1  # arrives late
    profile = profiles.get("u", Deadline(60_000))
    assert items_of(profile.history) == ["a", "c", "b"]
    assert profile.history[2].weight == 2.0
    assert (profile.n_events, set(profile.seen), profile.version) == (3, {"a", "b", "c"}, 2)


def test_without_times_the_order_of_arrival_stands(profiles):
    profiles.append("u", [HistoryEvent("a"), HistoryEvent("b", 5), HistoryEvent("c"), HistoryEvent("d", 1)])
    assert items_of(profiles.get("u").history) == ["a", "b", "c", "d"]


def test_an_event_that_comes_twice_counts_once(profiles):
    event = HistoryEvent("a", 10)
    assert profiles.append("u", [event, event], ["e1", "e1"]) == 1
    assert profiles.append("u", [event], ["e1"]) == 0
    assert profiles.append("v", [event], ["e1"]) == 1  # another user's
    assert profiles.append("u", [event], ["e2"]) == 1
    stored = profiles.read(["u"])["u"]
    assert (stored.profile.n_events, stored.profile.seen, stored.profile.version) == (2, ["a"], 2)
    assert stored.knows("e1")
    assert stored.knows("e2")
    assert not stored.knows("e3")


def test_ids_must_fit_the_events(profiles):
    with pytest.raises(ValueError, match="shorter"):
        profiles.append("u", [HistoryEvent("a"), HistoryEvent("b")], ["e1"])
    assert profiles.get("u").n_events == 0


def test_a_request_adds_to_several_users_at_once(profiles):
    additions = [
        Addition("u", [HistoryEvent("a", 1), HistoryEvent("b", 2)], ["e1", "e2"], ["s", "s"]),
        Addition("v", [HistoryEvent("a", 1)], ["e1"]),
        Addition("u", [HistoryEvent("b", 2), HistoryEvent("c", 3)], ["e2", "e3"], ["s", None]),
    ]
    outcomes = profiles.append_all(additions, NOW)
    assert sum(outcomes) == 4  # e2 counts in whichever of the two came first
    read = profiles.read(["u", "v", "w"])
    u = read["u"].profile
    assert (u.n_events, items_of(u.history), u.session_id, items_of(u.session)) == (3, ["a", "b", "c"], "s", ["a", "b"])
    assert (u.minute, u.in_minute) == (NOW // 60, 3)
    assert profiles.append_all([Addition("u", [HistoryEvent("d", 4)]), additions[1]], NOW + 60, read) == [1, 0]
    u = profiles.get("u")
    assert (u.minute, u.in_minute, u.n_events) == (NOW // 60 + 1, 1, 4)
    assert profiles.append_all([], NOW) == []


def test_what_was_read_may_be_old(profiles):
    known = profiles.read(["u"])
    for number in range(3):
        assert profiles.append_all(
            [Addition("u", [HistoryEvent(f"i{number}", number)], [f"e{number}"])], NOW, known
        ) == [1]
    assert profiles.append_all([Addition("u", [HistoryEvent("i0", 0)], ["e0"])], NOW, known) == [0]
    assert items_of(profiles.get("u").history) == ["i0", "i1", "i2"]


def test_one_user_who_cannot_be_stored_fails_alone(profiles):
    long = "ü" * 65  # 130 bytes
    wrong = [
        Addition(long, [HistoryEvent("a", 1)]),
        Addition("u", [HistoryEvent(long, 1)]),
        Addition("", [HistoryEvent("a")]),
    ]
    outcomes = profiles.append_all([*wrong, Addition("v", [HistoryEvent("a", 1)])], NOW)
    assert [type(outcome) for outcome in outcomes] == [IdInvalid, IdInvalid, IdInvalid, int]
    assert long not in str(outcomes[0])
    assert (profiles.get("v").n_events, profiles.get("u").n_events) == (1, 0)


@pytest.mark.parametrize("unstorable", ["", "x" * 129, "ü" * 65, "\ud800"])
def test_an_id_that_no_store_holds_is_a_strangers_and_is_never_written(profiles, unstorable):
    assert profiles.get(unstorable) == Profile(user_id=unstorable)
    assert profiles.read([unstorable]) == {unstorable: Stored(Profile(user_id=unstorable))}
    with pytest.raises(IdInvalid):
        profiles.append(unstorable, [HistoryEvent("a")])
    with pytest.raises(IdInvalid):
        profiles.append("u", [HistoryEvent(unstorable)])
    with pytest.raises(IdInvalid):
        profiles.put_features(unstorable, {})
    with pytest.raises(IdInvalid):
        profiles.bulk_load([unstorable], ["a"], interactions([[0]]))
    with pytest.raises(IdInvalid):
        profiles.bulk_load(["u"], [unstorable], interactions([[0]]))


def test_the_longest_ids_and_everything_full_fit_a_record(profiles):
    longest = "u" * 128
    items = [f"{number:0>4}".ljust(128, "x") for number in range(400)]
    profiles.put_features(longest, {"text": "x" * (MAX_FEATURES_BYTES - 20)})
    for start in range(0, 400, 100):
        events = [HistoryEvent(item, NOW + start + place) for place, item in enumerate(items[start : start + 100])]
        profiles.append_all([Addition(longest, events, items[start : start + 100], ["s"] * 100)], NOW)
    stored = profiles.read([longest])[longest]
    kept = len(stored.profile.history)
    assert 40 < kept < HISTORY_LIMIT
    assert items_of(stored.profile.history) == items[-kept:]
    assert stored.profile.n_events == 400
    assert len(stored.event_ids) >= 100 * 8
    assert stored.knows(items[-1])


def test_features_are_replaced_and_events_stay(profiles):
    profiles.append("u", [HistoryEvent("a")])
    profiles.put_features("u", {"gender": "F", "age": 30, "tags": ["x", "y"]})
    profiles.put_features("u", {"gender": "M"})
    assert (profiles.get("u").features, profiles.get("u").n_events) == ({"gender": "M"}, 1)


def test_what_a_client_told_of_a_user_outlives_the_nights(profiles):
    """A dataset is as old as its export; a client that says "moved to the north" today means it."""
    profiles.put_features("told", {"region": "north"})
    for night in range(2):
        features = [{"region": "south"}, {"region": f"south {night}"}]
        profiles.bulk_load(["told", "silent"], ["a"], interactions([[0], [0]]), features)
    assert profiles.get("told").features == {"region": "north"}
    assert profiles.get("silent").features == {"region": "south 1"}
    profiles.forget("told", 10_000)
    assert not profiles.get("told").features_told


def test_features_that_leave_no_room_are_refused(profiles):
    with pytest.raises(ProfileTooLarge):
        profiles.put_features("u", {"text": "x" * MAX_FEATURES_BYTES})
    with pytest.raises(ProfileTooLarge):
        profiles.bulk_load(["u"], [], interactions([[]]), [{"text": "x" * MAX_PROFILE_BYTES}])
    assert profiles.get("u") == Profile(user_id="u")


def test_a_failed_write_leaves_the_record_as_it_was(profiles):
    profiles.append("u", [HistoryEvent("a")])
    with pytest.raises(TypeError):
        profiles.put_features("u", {"f": object()})
    assert profiles.get("u").features == {}
    assert profiles.append("u", [HistoryEvent("b")]) == 1


ids = st.text(min_size=1, max_size=20).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@given(ids, ids, st.dictionaries(ids, st.one_of(ids, st.integers(-(2**60), 2**60), st.booleans()), max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_unicode_survives(profiles, user, item, features):
    profiles.append(user, [HistoryEvent(item, 5)], [item])
    profiles.put_features(user, features)
    found = profiles.get(user)
    assert found.user_id == user
    assert HistoryEvent(item, 5) in found.history
    assert (found.features, found.seen[-1:]) == (features, items_of(found.history[-1:]))


def test_a_bulk_load_gives_what_appending_gives(profiles, monkeypatch):
    monkeypatch.setattr("stores.profiles.CHUNK_USERS", 2)
    monkeypatch.setattr("stores.dynamodb_profiles.READ_KEYS", 2)
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 3_000, n).tolist() for n in (0, 1, 7, 150, 700)]
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
        assert (loaded.history, loaded.n_events, set(loaded.seen)) == (one.history, one.n_events, set(one.seen))


def test_a_bulk_load_keeps_live_events_on_top(profiles):
    live = [HistoryEvent("a", 100), HistoryEvent("x", 5_000), HistoryEvent("y", 6_000)]
    profiles.append_all([Addition("u", live, ["e1", "e2", "e3"], ["s", "s", "s"])], NOW)
    names, dataset = ["a", "b"], interactions([[1, 0]], first_time=99)  # b, then a at 100
    for _ in range(2):  # a second night on the same data changes nothing
        assert profiles.bulk_load(["u"], names, dataset, [{"f": 1}], watermark=100) == 1
        u = profiles.get("u")
        assert (items_of(u.history), u.n_events) == (["b", "a", "x", "y"], 4)
        assert (u.features, u.version) == ({"f": 1}, 2)
        assert (u.session_id, items_of(u.session)) == ("s", ["x", "y"])
        assert set(u.seen) == {"a", "b", "x", "y"}
    assert profiles.append("u", [HistoryEvent("y", 6_000)], ["e3"]) == 0


@pytest.mark.parametrize("timed", [True, False])
def test_without_a_watermark_the_longer_story_wins(profiles, timed):
    for number in range(3):
        profiles.append("live", [HistoryEvent("a", 10 + number)], [f"e{number}"])
    profiles.append("loaded", [HistoryEvent("a", 10)], ["e"])
    profiles.put_features("live", {"f": 1})
    names, dataset = ["a", "b"], interactions([[1, 0], [1, 0]])
    profiles.bulk_load(["live", "loaded"], names, dataset, timed=timed, watermark=None if timed else 1)
    live, loaded = profiles.get("live"), profiles.get("loaded")
    assert (items_of(live.history), live.n_events, live.features) == (["a", "a", "a"], 3, {"f": 1})
    assert (items_of(loaded.history), loaded.n_events) == (["b", "a"], 2)
    assert (loaded.history[0].timestamp is None) is not timed
    assert profiles.append("loaded", [HistoryEvent("a", 10)], ["e"]) == 0


@several_writers
def test_a_load_beside_appends_loses_none(profiles):
    users = [f"u{number}" for number in range(30)]
    dataset = interactions([[0, 1]] * len(users))
    failed: list[BaseException] = []

    def append() -> None:
        try:
            for number in range(5):
                additions = [Addition(user, [HistoryEvent("c", NOW + number)], [f"e{number}"]) for user in users]
                failed.extend(found for found in profiles.append_all(additions, NOW) if not isinstance(found, int))
        except BaseException as error:
            failed.append(error)
            raise

    writer = threading.Thread(target=append)
    writer.start()
    for _ in range(3):
        profiles.bulk_load(users, ["a", "b"], dataset, watermark=100)
    writer.join()
    assert failed == []
    found = profiles.read(users)
    assert {stored.profile.n_events for stored in found.values()} <= {2 + 5, 5}
    profiles.bulk_load(users, ["a", "b"], dataset, watermark=100)
    assert {stored.profile.n_events for stored in profiles.read(users).values()} == {2 + 5}


@several_writers
def test_writers_of_several_threads_lose_nothing(profiles):
    refused: list[str] = []

    def write(writer: int) -> None:
        for number in range(12):
            for item, event_id in ((f"{writer}-{number}", f"{writer}-{number}"), ("shared", f"shared-{number}")):
                try:
                    profiles.append("u", [HistoryEvent(item)], [event_id])
                except StateBusy as error:  # bounded patience is allowed, a lost event is not
                    refused.append(str(error))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert profiles.get("u").n_events == 4 * 12 + 12
