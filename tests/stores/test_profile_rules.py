"""The rules of a record: whatever the order, the portions and the sizes, it is the same, and it fits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ProfileTooLarge
from contracts.profile import HISTORY_LIMIT, MAX_PROFILE_BYTES, SEEN_LIMIT, SESSION_LIMIT, HistoryEvent, Profile
from contracts.schema import MAX_ID_BYTES
from stores.profile_records import DIGEST_BYTES, EVENT_IDS_FLOOR, Packed, Stored, digest_of, pack, unpack
from stores.profile_rules import (
    EVENT_IDS_LIMIT,
    MAX_FEATURES_BYTES,
    Addition,
    with_events,
    with_features,
    with_load,
)

NOW = 1_700_000_000
STRANGER = Stored(Profile(user_id="u"))

events = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400), st.sampled_from([0.5, 1.0])), max_size=300)


def history_events(told):
    return [HistoryEvent(f"i{item}", time, weight) for item, time, weight in told]


def after(stored, portions, **more):
    for portion in portions:
        stored, _ = with_events(stored, Addition("u", portion, **more), NOW)
        stored = unpack("u", *pack(stored))  # as a store would
    return stored


def in_portions(data, told):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=5)))
    return [told[one:other] for one, other in zip([0, *cuts], [*cuts, len(told)], strict=True)]


@given(events, st.data())
@settings(deadline=None, max_examples=150)
def test_the_history_is_the_newest_whatever_the_order_and_the_portions(told, data):
    told = history_events(told)
    one = after(STRANGER, in_portions(data, told)).profile
    other = after(STRANGER, in_portions(data, data.draw(st.permutations(told)))).profile
    assert one.history == other.history
    assert one.history == sorted(told, key=lambda e: (e.timestamp, e.item_id, e.weight))[-HISTORY_LIMIT:]
    assert one.n_events == other.n_events == len(told)
    assert set(one.seen) == set(other.seen) == {event.item_id for event in told}
    assert len(one.seen) == len(set(one.seen))


@given(events, st.data())
@settings(deadline=None, max_examples=75)
def test_events_that_come_again_in_any_order_count_once(told, data):
    told = history_events(told)
    stored, arrivals = STRANGER, list(enumerate(told))
    for portion in (*in_portions(data, arrivals), *in_portions(data, data.draw(st.permutations(arrivals)))):
        addition = Addition("u", [event for _, event in portion], [f"e{place}" for place, _ in portion])
        stored, _ = with_events(stored, addition, NOW)
        assert all(stored.knows(event_id) for event_id in addition.event_ids)
    assert stored.profile.n_events == len(told)


def test_an_event_older_than_a_full_history_counts_and_is_seen():
    stored = after(STRANGER, [[HistoryEvent(f"i{n}", 100 + n) for n in range(HISTORY_LIMIT)]])
    changed, new = with_events(stored, Addition("u", [HistoryEvent("late", 1)]), NOW)
    assert new == 1
    assert changed.profile.history == stored.profile.history
    assert "late" in changed.profile.seen
    assert changed.profile.n_events == HISTORY_LIMIT + 1


def test_nothing_new_changes_nothing():
    stored = after(STRANGER, [[HistoryEvent("a", 1)]], event_ids=["e"])
    assert with_events(stored, Addition("u", [HistoryEvent("a", 1)], ["e"]), NOW) == (stored, 0)
    assert with_events(stored, Addition("u", []), NOW)[0] is stored


def test_only_the_newest_ids_and_seen_items_are_kept():
    total = SEEN_LIMIT + 50
    told = [HistoryEvent(f"{n:x}", n) for n in range(total)]
    stored, _ = with_events(STRANGER, Addition("u", told, [f"e{n}" for n in range(total)]), NOW)
    assert stored.profile.seen == [event.item_id for event in told[-SEEN_LIMIT:]]
    assert len(stored.event_ids) == EVENT_IDS_LIMIT * DIGEST_BYTES
    assert not stored.knows(f"e{total - EVENT_IDS_LIMIT - 1}")
    assert all(stored.knows(f"e{n}") for n in range(total - EVENT_IDS_LIMIT, total))


def test_an_id_across_two_others_is_not_known():
    assert not Stored(Profile(), b"x" + digest_of("c") + b"y" * 7).knows("c")
    assert Stored(Profile(), b"x" + digest_of("c") + b"y" * 7 + digest_of("c")).knows("c")


def visited(stored, *told):
    addition = Addition("u", [HistoryEvent(item, time) for item, time, _ in told], (), [visit for *_, visit in told])
    return unpack("u", *pack(with_events(stored, addition, NOW)[0]))


def session_of(stored):
    return stored.profile.session_id, [event.item_id for event in stored.profile.session]


def test_a_newer_visit_starts_the_session_anew():
    stored = visited(STRANGER, ("a", 1, "s"), ("b", 2, None), ("c", 3, "s"))
    assert session_of(stored) == ("s", ["a", "c"])
    stored = visited(stored, ("d", 2, "s"), ("e", 1, "older"))
    assert session_of(stored) == ("s", ["a", "d", "c"])
    stored = visited(stored, ("f", 9, "newer"))
    assert session_of(stored) == ("newer", ["f"])
    assert session_of(visited(stored, ("g", 8, "s"), ("h", 10, None))) == ("newer", ["f"])


def test_a_session_keeps_its_newest_events_as_long_as_the_history_has_them():
    stored = visited(STRANGER, *[(f"i{n}", n, "s") for n in range(SESSION_LIMIT + 5)])
    assert [event.item_id for event in stored.profile.session] == [f"i{n}" for n in range(5, SESSION_LIMIT + 5)]
    stored = visited(stored, *[("x", 1_000 + n, None) for n in range(HISTORY_LIMIT)])
    assert session_of(stored) == (None, [])


def test_arrivals_are_counted_by_the_minute():
    def arrive(stored, count, now):
        return with_events(stored, Addition("u", [HistoryEvent("a", 1)] * count), now)[0]

    stored = arrive(arrive(STRANGER, 3, 600), 2, 659)
    assert (stored.profile.minute, stored.profile.in_minute) == (10, 5)
    assert arrive(stored, 1, 599).profile.in_minute == 6  # a clock that lags
    stored = arrive(stored, 4, 660)
    assert (stored.profile.minute, stored.profile.in_minute) == (11, 4)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_ID_BYTES).filter(
    lambda text: len(text.encode()) <= MAX_ID_BYTES
)


@given(texts, st.lists(texts, min_size=1, max_size=5), st.integers(0, 2_100), st.integers(0, MAX_FEATURES_BYTES - 20))
@settings(deadline=None, max_examples=60)
def test_a_record_fits_whatever_is_in_it(user, stems, count, features_bytes):
    items = [f"{n}{stems[n % len(stems)]}".encode()[:MAX_ID_BYTES].decode(errors="ignore") for n in range(count)]
    stored = with_features(Stored(Profile(user_id=user)), {"f": "x" * features_bytes})
    addition = Addition(
        user, [HistoryEvent(item, NOW + n) for n, item in enumerate(items)], [f"e{n}" for n in range(count)]
    )
    stored, new = with_events(stored, addition, NOW)
    packed = pack(stored)
    assert item_bytes(user, packed, stored.profile.version) <= MAX_PROFILE_BYTES
    found = unpack(user, *packed)
    assert new == found.profile.n_events == count
    assert found.profile.features == {"f": "x" * features_bytes}
    assert found.profile.history == stored.profile.history[len(stored.profile.history) - len(found.profile.history) :]
    assert found.event_ids == stored.event_ids[len(stored.event_ids) - len(found.event_ids) :]
    whole_history = len(found.profile.history) == len(stored.profile.history)
    beyond = len(found.profile.seen) > len({event.item_id for event in found.profile.history})
    assert whole_history or (not beyond and len(found.event_ids) == min(count, EVENT_IDS_FLOOR) * DIGEST_BYTES)
    assert len(found.event_ids) == len(stored.event_ids) or not beyond
    assert pack(found) == packed


def item_bytes(user, packed: Packed, version):
    """As DynamoDB counts: names, strings, bytes, and a number as a byte for two digits and one more."""
    names = sum(map(len, ("user_id", "profile", "event_ids", "version", "updated_at", "expires")))
    numbers = sum(len(str(number)) // 2 + 2 for number in (version, NOW, NOW))
    return names + len(user.encode()) + len(packed.profile) + len(packed.event_ids) + numbers


def test_features_that_leave_no_room_are_refused():
    with pytest.raises(ProfileTooLarge):
        with_features(STRANGER, {"f": "x" * MAX_FEATURES_BYTES})
    with pytest.raises(ProfileTooLarge):
        with_load(STRANGER, Profile(features={"f": "x" * MAX_FEATURES_BYTES}), None, has_features=True)
    with pytest.raises(ProfileTooLarge):  # written by hand
        pack(Stored(Profile(user_id="u", features={"f": "x" * MAX_PROFILE_BYTES})))


def test_a_load_of_what_is_stored_writes_nothing_even_where_it_did_not_fit():
    items = [f"{n}".ljust(40, "x") for n in range(1_000)]
    loaded = Profile(
        history=[HistoryEvent(item, n) for n, item in enumerate(items)][-HISTORY_LIMIT:], n_events=1_000, seen=items
    )
    first = with_load(STRANGER, loaded, 999, has_features=False)
    stored = unpack("u", *pack(first))
    assert len(stored.profile.seen) < len(items)
    assert with_load(stored, loaded, 999, has_features=False) is stored
    assert with_load(STRANGER, Profile(), None, has_features=False) is STRANGER


def test_what_was_seen_stays_seen_over_a_load():
    stored = after(STRANGER, [[HistoryEvent("gone", 1)]])
    loaded = with_load(stored, Profile(history=[HistoryEvent("a", 5)], n_events=1, seen=["a"]), 5, has_features=False)
    assert (loaded.profile.seen, loaded.profile.n_events) == (["gone", "a"], 1)


def test_a_record_of_the_first_format_opens():
    old = {"user_id": "u", "history": [["a", 1, 1.0], ["b", 2, 2.0]], "n_events": 3, "seen": ["x", "a", "b"]}
    old |= {"features": {"f": 1}, "session": []}
    found = unpack("u", msgspec.msgpack.encode(old), b"").profile
    assert found == Profile(
        user_id="u",
        history=[HistoryEvent("a", 1), HistoryEvent("b", 2, 2.0)],
        n_events=3,
        seen=["x", "a", "b"],
        features={"f": 1},
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xc1",
        b"\xa1\xb4",
        msgspec.msgpack.encode({"format": 4}),
        msgspec.msgpack.encode({"in_session": [7]}),
        msgspec.msgpack.encode({"history": [["\u00fc" * 3, "x"]]}),
    ],
)
def test_a_damaged_or_newer_record_is_said(damaged):
    with pytest.raises(msgspec.DecodeError):
        unpack("u", damaged)


def test_cut_event_ids_are_said():
    with pytest.raises(msgspec.DecodeError, match="cut"):
        unpack("u", pack(STRANGER).profile, b"123")
