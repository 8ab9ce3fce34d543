"""Who asks: stored and inline knowledge become rows, once, and telling what is stored changes nothing."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.live import session_user
from contracts.profile import SESSION_LIMIT, HistoryEvent, Profile
from contracts.request import Interaction, RecommendationRequest, Session
from contracts.schema import EventWeights
from retrieval.visitor import SESSION_SECONDS, current_session
from retrieval.visitor import meet as meet_weighing
from tests.toy_world import item_id, toy_model

MODEL = toy_model()
NOBODY = Profile()
ASK = RecommendationRequest()
NOW = 1_700_000_000


def meet(model, profile, request, session_weight=1.0):
    return meet_weighing(model, profile, request, session_weight)


def stored(*rows, **more):
    history = [HistoryEvent(item_id(row), 100 + row, 1.0) for row in rows]
    return Profile(user_id="u", history=history, n_events=len(rows), seen=[item_id(row) for row in rows], **more)


def told(*rows, event_type=None):
    return [Interaction(item_id(row), event_type) for row in rows]


def test_a_stored_history_becomes_rows_oldest_first():
    visitor = meet(MODEL, stored(5, 3, 9), ASK)
    assert visitor.rows.tolist() == [5, 3, 9]
    assert (visitor.events, visitor.anonymous, visitor.unknown_items) == (3, False, 0)
    assert set(visitor.barred.tolist()) == {3, 5, 9}


def test_events_ever_count_beyond_the_history():
    assert meet(MODEL, msgspec.structs.replace(stored(5), n_events=400), ASK).events == 400


def test_an_inline_history_replaces_the_stored_one_but_not_what_was_seen():
    visitor = meet(MODEL, msgspec.structs.replace(stored(5, 3), n_events=50), RecommendationRequest(history=told(7)))
    assert visitor.rows.tolist() == [7]
    assert visitor.events == 1
    assert set(visitor.barred.tolist()) == {3, 5, 7}


def test_an_empty_inline_history_forgets_for_this_request():
    visitor = meet(MODEL, stored(5, 3), RecommendationRequest(history=[]))
    assert (visitor.rows.tolist(), visitor.events) == ([], 0)


def test_event_types_weigh_what_the_schema_says():
    schema = msgspec.structs.replace(MODEL.schema, event_weights=EventWeights(default=1.0, types={"purchase": 3.0}))
    model = type(MODEL)(**{**vars(MODEL), "schema": schema})
    request = RecommendationRequest(history=[*told(1, event_type="purchase"), *told(2)])
    assert meet(model, NOBODY, request).weights.tolist() == [3.0, 1.0]


def test_unknown_items_are_skipped_and_counted():
    request = RecommendationRequest(history=[Interaction("no such"), *told(4), Interaction("nor this")])
    visitor = meet(MODEL, NOBODY, request)
    assert (visitor.rows.tolist(), visitor.unknown_items, visitor.events) == ([4], 2, 1)


def test_a_history_of_unknown_items_is_no_history():
    profile = Profile(user_id="u", history=[HistoryEvent("gone")], n_events=80, seen=["gone"])
    assert meet(MODEL, profile, ASK).events == 0


@pytest.mark.parametrize("where", ["request", "profile", "both"])
def test_a_session_is_the_newest_end_of_the_history(where):
    session = told(3, 8)
    profile = stored(5, 3, 9)
    if where != "request":
        profile = msgspec.structs.replace(profile, session=[HistoryEvent(item_id(3)), HistoryEvent(item_id(8))])
    request = ASK if where == "profile" else RecommendationRequest(session=Session(history=session))
    visitor = meet(MODEL, profile, request)
    assert visitor.rows.tolist() == [5, 9, 3, 8]
    assert not visitor.anonymous


def test_only_a_session_is_anonymous_until_a_user_is_named():
    session = Session(history=told(1))
    assert meet(MODEL, NOBODY, RecommendationRequest(session=session)).anonymous
    assert not meet(MODEL, NOBODY, RecommendationRequest(session=session, user_id="u")).anonymous
    assert not meet(MODEL, NOBODY, RecommendationRequest(history=told(1))).anonymous


def test_a_stored_session_of_nobody_is_anonymous_even_when_it_is_over():
    nobody = msgspec.structs.replace(stored(5, 3), user_id=session_user("s1"))
    assert meet(MODEL, nobody, ASK).anonymous
    assert meet(MODEL, nobody, RecommendationRequest(session=Session(told(7), "s1"))).anonymous
    assert not meet(MODEL, nobody, RecommendationRequest(user_id="u")).anonymous
    assert not meet(MODEL, msgspec.structs.replace(nobody, user_id="s1"), ASK).anonymous
    assert not meet(MODEL, msgspec.structs.replace(nobody, history=[]), ASK).anonymous, "nothing is known of anybody"


def test_a_session_of_which_only_the_id_is_told_is_the_stored_one():
    profile = msgspec.structs.replace(stored(5, 3), session=[HistoryEvent(item_id(3))])
    visitor = meet(MODEL, profile, RecommendationRequest(session=Session(session_id="s1")), 4.0)
    assert (visitor.rows.tolist(), visitor.weights.tolist()) == ([5, 3], [1, 4])


@pytest.mark.parametrize("where", ["request", "profile"])
def test_the_running_session_weighs_more_than_what_came_before_it(where):
    profile, request = stored(5, 3, 9), RecommendationRequest(session=Session(told(3, 8)))
    if where == "profile":
        session = [HistoryEvent(item_id(3)), HistoryEvent(item_id(8), weight=-1.0)]
        profile, request = msgspec.structs.replace(profile, session=session), ASK
    visitor = meet(MODEL, profile, request, 4.0)
    assert visitor.rows.tolist() == [5, 9, 3, 8]
    assert visitor.weights.tolist() == [1, 1, 4, 4 if where == "request" else -4]


def test_a_session_that_is_all_there_is_has_nothing_to_outweigh():
    request = RecommendationRequest(session=Session(told(3, 8)))
    assert meet(MODEL, NOBODY, request, 4.0).weights.tolist() == [1, 1]


def test_what_the_release_does_not_know_leaves_no_gap_in_the_session():
    request = RecommendationRequest(
        session=Session([Interaction("no such"), *told(3), Interaction("nor this"), *told(8)])
    )
    visitor = meet(MODEL, stored(5), request, 4.0)
    assert visitor.rows.tolist() == [5, 3, 8]
    assert visitor.weights.tolist() == [1, 4, 4]


def timed(*ages, session_id=None):
    """A profile whose events were so many seconds before now, oldest first; those after a None are of its session."""
    events = [HistoryEvent(item_id(row), NOW - age) for row, age in enumerate(a for a in ages if a is not None)]
    opened = ages.index(None) if None in ages else len(events)
    return Profile(user_id="u", history=events, session_id=session_id, session=events[opened:])


def test_a_session_lasts_until_half_an_hour_passed_without_an_event():
    assert current_session(going := timed(9_000, None, 5_000, SESSION_SECONDS, session_id="s"), NOW) is going
    over = current_session(timed(9_000, None, 5_000, SESSION_SECONDS + 1, session_id="s"), NOW)
    assert (over.session_id, over.session, len(over.history)) == (None, [], 3)


@pytest.mark.parametrize(
    ("ages", "in_session"),
    [
        ((5_000, 3_000, 1_500, 60), 3),
        ((5_000, 3_100, 1_801), 0),
        ((1_800,), 1),
        ((1_801,), 0),
        ((), 0),
        ((-30,), 1),
        ((90_000, 40, 30), 2),
    ],
)
def test_without_ids_a_session_is_what_followed_without_a_gap(ages, in_session):
    found = current_session(timed(*ages), NOW)
    assert len(found.session) == in_session
    assert found.session == found.history[len(ages) - in_session :]
    assert found.session_id is None


def test_events_without_ids_go_on_where_a_session_with_an_id_is_over():
    profile = timed(9_000, None, 5_000, session_id="s")
    late = [HistoryEvent(item_id(7), NOW - 100), HistoryEvent(item_id(8), NOW - 5)]
    profile = msgspec.structs.replace(profile, history=[*profile.history, *late])
    found = current_session(profile, NOW)
    assert (found.session_id, found.session) == (None, late)


def test_a_session_by_gaps_is_no_longer_than_one_with_an_id():
    assert len(current_session(timed(*range(80, 0, -1)), NOW).session) == SESSION_LIMIT


def test_events_without_times_have_no_gaps():
    untimed = Profile(user_id="u", history=[HistoryEvent(item_id(1)), HistoryEvent(item_id(2))])
    assert current_session(untimed, NOW).session == []
    told = msgspec.structs.replace(untimed, session=untimed.history[1:], session_id="s")
    assert current_session(told, NOW) is told


@given(st.lists(st.integers(0, 10_000), max_size=12), st.integers(0, 5_000))
@settings(max_examples=200, deadline=None)
def test_a_session_by_gaps_is_the_same_however_often_it_is_asked_for(ages, later):
    found = current_session(profile := timed(*sorted(ages, reverse=True)), NOW)
    assert found.history == profile.history
    assert current_session(found, NOW) == found
    moments = [*(event.timestamp for event in found.session), NOW]
    assert all(second - first <= SESSION_SECONDS for first, second in pairwise(moments))
    before = found.history[: len(found.history) - len(found.session)]
    assert not before or moments[0] - before[-1].timestamp > SESSION_SECONDS
    later_on = current_session(found, NOW + later)
    assert later_on.session == current_session(profile, NOW + later).session


def test_inline_features_lie_over_the_stored_ones():
    profile = stored(1, features={"gender": "F", "age": 30, "shoe": 44})
    visitor = meet(MODEL, profile, RecommendationRequest(features={"gender": "M", "age": None}))
    assert visitor.features == {"gender": "M"}


def test_excluded_items_are_barred():
    request = RecommendationRequest(exclude_ids=[item_id(17), "no such"])
    assert set(meet(MODEL, stored(1), request).barred.tolist()) == {1, 17, -1}
