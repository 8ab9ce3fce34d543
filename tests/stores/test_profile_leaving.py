"""Every profile store: who left is gone however slow the others are, and a session is one user's, once and for good."""

from __future__ import annotations

import threading
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import IdInvalid, SessionMerged, StateBusy
from contracts.profile import HistoryEvent, Profile
from stores.profile_leaving import handed_over_id, since_departure
from stores.profile_records import DEPARTURE_BYTES, Stored, is_departure, pack, unpack
from stores.profile_rules import with_load
from stores.profiles import Addition, SqliteProfiles
from tests.stores.profile_worlds import interactions, several_writers

NOW = 1_700_000_000
SESSION = "anonymous:s"


def items_of(events):
    return [event.item_id for event in events]


def added(user, item, received_at, time=None, event_id=None, **more):
    time = received_at if time is None else time
    return Addition(user, [HistoryEvent(item, time)], [event_id or f"{item}-{time}"], received_at=received_at, **more)


def departure(user, at, version):
    return Stored(Profile(user_id=user, deleted_at=at, version=version))


def test_nothing_is_left_of_a_user_but_that_they_left(profiles):
    profiles.append_all([added("u", "a", NOW, session_ids=["visit"])], NOW)
    profiles.put_features("u", {"age": 30})
    assert profiles.forget("u", NOW + 1)
    assert profiles.read(["u"]) == {"u": departure("u", NOW + 1, 3)}
    assert not profiles.forget("u", NOW + 1)
    assert profiles.get("u").version == 3  # nothing was written
    assert not profiles.forget("u", NOW + 5)  # again: the latest departure counts
    assert profiles.read(["u"]) == {"u": departure("u", NOW + 5, 4)}
    assert not profiles.forget("u", NOW)  # a message that was long under way
    assert profiles.get("u").deleted_at == NOW + 5


def test_a_user_who_never_existed_leaves_too(profiles):
    assert not profiles.forget("nobody", NOW)
    assert profiles.append_all([added("nobody", "a", NOW)], NOW) == [0]
    assert profiles.get("nobody") == departure("nobody", NOW, 1).profile
    with pytest.raises(IdInvalid):
        profiles.forget("x" * 129, NOW)


def test_what_arrived_before_is_not_added_and_later_events_begin_anew(profiles):
    profiles.append("u", [HistoryEvent("old", NOW)], ["e1"])
    known = profiles.read(["u"])  # by a writer that is slower than the departure
    profiles.forget("u", NOW + 10)
    late = [added("u", "before", NOW + 9), added("u", "then", NOW + 10), added("u", "after", NOW + 11)]
    assert profiles.append_all(late, NOW + 11, known) == [0, 0, 1]
    assert profiles.append_all([Addition("u", [HistoryEvent("as of now", NOW)])], NOW + 10) == [0]
    u = profiles.get("u")
    assert (items_of(u.history), u.n_events, u.seen, u.deleted_at) == (["after"], 1, ["after"], NOW + 10)
    assert profiles.append("u", [HistoryEvent("old", NOW)], ["e1"]) == 1  # told anew by who came back


def test_features_that_were_under_way_are_not_put(profiles):
    profiles.forget("u", NOW)
    profiles.put_features("u", {"age": 30}, received_at=NOW)
    assert profiles.get("u") == departure("u", NOW, 1).profile
    profiles.put_features("u", {"age": 31}, received_at=NOW + 1)
    profiles.put_features("u", {"age": 32})
    assert (profiles.get("u").features, profiles.get("u").deleted_at) == ({"age": 32}, NOW)
    assert list(profiles.user_ids()) == ["u"]


def test_a_nightly_load_brings_nothing_back(profiles):
    names, dataset = ["a", "b", "c"], interactions([[0, 1, 2]], first_time=NOW)
    for user in ("u", "v", "w"):
        profiles.append(user, [HistoryEvent("a", NOW)])
    profiles.forget("u", NOW + 10)  # after all of the dataset
    profiles.forget("v", NOW + 1)  # before its last event
    profiles.forget("w", NOW - 1)  # before all of it
    for _ in range(2):
        for user in ("u", "v", "w"):
            profiles.bulk_load([user], names, dataset, [{"age": 30}], watermark=NOW + 2)
        assert profiles.get("u") == departure("u", NOW + 10, 2).profile
        v, w = profiles.get("v"), profiles.get("w")
        assert (items_of(v.history), v.n_events, v.seen, v.features) == (["c"], 1, ["c"], {"age": 30})
        assert (items_of(w.history), w.n_events, v.deleted_at) == (["a", "b", "c"], 3, NOW + 1)
    profiles.bulk_load(["u"], names, dataset, [{"age": 30}], timed=False)
    assert profiles.get("u") == departure("u", NOW + 10, 2).profile


def test_a_nightly_load_leaves_what_came_since(profiles):
    profiles.forget("u", NOW)
    profiles.append_all([added("u", "mine", NOW + 20)], NOW + 20)
    profiles.put_features("u", {"age": 31})
    profiles.bulk_load(["u"], ["a"], interactions([[0]], first_time=NOW - 9), [{"age": 30}], watermark=NOW - 9)
    profiles.bulk_load(["u"], ["a"], interactions([[0]]), timed=False)
    u = profiles.get("u")
    assert (items_of(u.history), u.n_events, u.features, u.deleted_at) == (["mine"], 1, {"age": 31}, NOW)


def test_a_session_is_claimed_once(profiles):
    told = [added(SESSION, "a", NOW, session_ids=["s"]), added(SESSION, "b", NOW + 1, session_ids=["s"])]
    assert profiles.append_all(told, NOW) == [1, 1]
    held = profiles.claim(SESSION, "u")
    assert (items_of(held.history), held.n_events, held.merged_into, held.version) == (["a", "b"], 2, "u", 3)
    assert profiles.claim(SESSION, "u") == held
    with pytest.raises(SessionMerged) as caught:
        profiles.claim(SESSION, "v")
    assert caught.value.user_id == "u"
    assert "u'" not in str(caught.value)
    assert profiles.get(SESSION) == held


def test_a_claimed_session_takes_no_more_events_and_others_are_not_hindered(profiles):
    known = profiles.read([SESSION])
    assert profiles.claim(SESSION, "u") == Profile(user_id=SESSION, merged_into="u", version=1)  # never heard of before
    refused, ours = profiles.append_all([added(SESSION, "a", NOW), added("v", "a", NOW)], NOW, known)
    assert (type(refused), ours) == (SessionMerged, 1)
    assert refused.user_id == "u"
    with pytest.raises(SessionMerged):
        profiles.append(SESSION, [HistoryEvent("a", 1)])
    (rebuilt,) = profiles.append_all([added(SESSION, "a", NOW, replaces=True)], NOW)
    assert type(rebuilt) is SessionMerged
    with pytest.raises(SessionMerged):
        profiles.put_features(SESSION, {})
    assert profiles.get(SESSION).n_events == 0


def test_what_a_session_held_is_taken_away_and_whose_it_is_stays(profiles):
    profiles.append_all([added(SESSION, "a", NOW, event_id="e", session_ids=["s"])], NOW)
    profiles.hand_over(SESSION)  # nobody's yet
    assert profiles.get(SESSION).n_events == 1
    profiles.claim(SESSION, "u")
    for _ in range(2):
        profiles.hand_over(SESSION)
        stored = profiles.read([SESSION])[SESSION]
        assert stored.profile == Profile(user_id=SESSION, merged_into="u", version=3)
        assert stored.knows("e")  # and is a duplicate where it is sent again
    profiles.forget(SESSION, NOW)
    assert profiles.read([SESSION]) == {SESSION: departure(SESSION, NOW, 4)}


@pytest.mark.parametrize(
    ("session", "user"), [("", "u"), ("anonymous:" + "s" * 119, "u"), (SESSION, ""), (SESSION, "\ud800")]
)
def test_an_id_that_no_store_holds_is_not_claimed(profiles, session, user):
    with pytest.raises(IdInvalid):
        profiles.claim(session, user)


def test_a_nightly_load_leaves_sessions_alone(profiles):
    profiles.claim(SESSION, "u")
    profiles.append("anonymous:t", [HistoryEvent("a", NOW)])
    before = profiles.read([SESSION, "anonymous:t"])
    users = [SESSION, "anonymous:t", "anonymous:new", "u"]
    assert profiles.bulk_load(users, ["b"], interactions([[0]] * 4), [{"f": 1}] * 4, watermark=10) == 1
    assert profiles.read([SESSION, "anonymous:t"]) == before
    assert profiles.get("anonymous:new").version == 0
    assert profiles.get("u").n_events == 1


def test_every_user_is_listed_once_but_sessions_and_who_left(profiles, monkeypatch):
    monkeypatch.setattr("stores.profiles.PAGE_USERS", 2)
    staying = ["anonymou", "anonymous", "anonymous;", "b", "ü", "z" * 128]
    left = ["a", "c", "d", "zz"]
    for user in (*staying, *left, "back", SESSION, "anonymous:"):
        profiles.append(user, [HistoryEvent("a", 1)])
    profiles.put_features("only features", {"f": 1})
    for user in (*left, "back", "never was"):
        profiles.forget(user, NOW)
    profiles.append_all([added("back", "a", NOW + 1)], NOW + 1)
    profiles.claim("anonymous:t", "b")
    assert sorted(profiles.user_ids()) == sorted([*staying, "back", "only features"])


steps = st.lists(st.sampled_from(["arrive", "read", "append", "leave"]), min_size=2, max_size=14)
names = map("user-{}".format, count())


@given(steps, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whenever_a_user_leaves_nothing_from_before_is_there_afterwards(profiles, steps, chance):
    """Requests arrive, read and append in any interleaving; each may have read long before it writes."""
    user, now, last_left = next(names), NOW, 0
    arrived, known = [], {}
    for step in [*steps, *["append"] * len(steps)]:
        now += 1
        if step == "arrive":
            arrived.append(now)
        elif step == "read" and arrived:
            known[chance.choice(arrived)] = profiles.read([user])
        elif step == "append" and arrived:
            at = arrived.pop(chance.randrange(len(arrived)))
            profiles.append_all([added(user, f"i{at}", at)], now, known.get(at, {}))
        elif step == "leave":
            profiles.forget(user, now)
            last_left = now
        u = profiles.get(user)
        assert all(event.timestamp > last_left for event in u.history)
        assert {*u.seen} == {*items_of(u.history)}
        assert u.n_events == len(u.history)
        assert u.deleted_at == last_left


@several_writers
def test_of_many_users_at_once_one_gets_the_session_and_no_event_is_lost(profiles):
    won, lost, refused, took = [], [], [], []

    def claim(user):
        try:
            won.append((user, profiles.claim(SESSION, user).n_events))
        except SessionMerged as error:
            lost.append(error.user_id)

    def append(number):
        try:
            took.append(profiles.append(SESSION, [HistoryEvent(f"i{number}", number)], [f"e{number}"]))
        except SessionMerged:
            refused.append(number)
        except StateBusy:  # bounded patience is allowed, a lost event is not
            refused.append(number)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(6)]
    threads[3:3] = [threading.Thread(target=claim, args=(f"u{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((winner, n_events),) = won
    assert lost == [winner] * 2
    assert n_events == sum(took) == 6 - len(refused)


def test_only_a_record_that_says_more_is_of_the_new_format():
    def record(**more):
        return msgspec.msgpack.decode(pack(Stored(Profile(user_id="u", **more))).profile)

    assert record(n_events=3)["format"] == 2
    assert record() == {"format": 2}
    assert record(deleted_at=5) == {"format": 3, "deleted_at": 5}
    assert record(merged_into="v") == {"format": 3, "merged_into": "v"}


@given(st.integers(1, 2**62), st.integers(0, 2**62))
def test_a_departure_is_told_by_its_record(deleted_at, version):
    record = pack(departure("u", deleted_at, version)).profile
    assert len(record) <= DEPARTURE_BYTES
    assert is_departure(record)
    assert unpack("u", record) == departure("u", deleted_at, version)


def test_what_is_no_departure_is_not_taken_for_one():
    for stored in (Stored(Profile()), Stored(Profile(deleted_at=5, n_events=1)), Stored(Profile(merged_into="v"))):
        assert not is_departure(pack(stored).profile)
    assert not is_departure(b"\xc1")


def test_a_damaged_record_is_a_users_until_somebody_reads_it(tmp_path):
    with SqliteProfiles(tmp_path / "p.sqlite") as profiles:
        profiles.append("u", [HistoryEvent("a", 1)])
        with profiles._file.writing() as connection:
            connection.execute("UPDATE profiles SET profile = x'c1'")
        assert list(profiles.user_ids()) == ["u"]


events = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=25)


@given(events, st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_a_load_has_nothing_from_before_the_departure_and_is_the_same_again(told, deleted_at, timed):
    watermark = max((time for _, time in told), default=1)
    history = [HistoryEvent(f"i{item}", time if timed else None) for item, time in sorted(told, key=lambda one: one[1])]
    loaded = Profile(
        history=history[-5:], n_events=len(history), seen=sorted(set(items_of(history))), features={"f": 1}
    )
    stored = departure("u", deleted_at, 1)
    newest = watermark if timed else None
    once = with_load(stored, loaded, newest, has_features=True)
    kept = [event for event in history[-5:] if timed and event.timestamp > deleted_at]
    assert once.profile.history == kept
    assert {*once.profile.seen} == {*items_of(kept)}
    assert once.profile.n_events == len(kept)
    assert once.profile.features == ({"f": 1} if timed and watermark > deleted_at else {})
    assert once.profile.deleted_at == deleted_at
    assert with_load(once, loaded, newest, has_features=True) is once


def test_of_who_came_back_the_count_stays():
    old = Profile(user_id="u", n_events=300, deleted_at=NOW, history=[HistoryEvent("x", NOW + 5)])
    loaded = Profile(history=[HistoryEvent("a", NOW - 1), HistoryEvent("b", NOW + 1)], n_events=900, seen=["a", "b"])
    assert with_load(Stored(old), loaded, NOW + 3, has_features=False).profile.n_events == 300
    assert since_departure(loaded, msgspec.structs.replace(old, deleted_at=0), NOW) is loaded


def test_the_id_of_an_event_that_is_handed_over_is_that_of_its_content():
    event = HistoryEvent("a", 5, 2.0)
    told = handed_over_id(SESSION, event, "x")
    assert told == handed_over_id(SESSION, HistoryEvent("a", 5, 2.0), "y")
    others = [HistoryEvent("b", 5, 2.0), HistoryEvent("a", 6, 2.0), HistoryEvent("a", 5, 1.0)]
    assert (
        len({told, handed_over_id("anonymous:t", event, "x"), *(handed_over_id(SESSION, o, "x") for o in others)}) == 5
    )
    assert handed_over_id(SESSION, HistoryEvent("a"), "x") == "x"
