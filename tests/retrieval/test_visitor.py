"""Who asks: stored and inline knowledge become rows, once, and telling what is stored changes nothing."""

from __future__ import annotations

import msgspec
import pytest

from contracts.profile import HistoryEvent, Profile
from contracts.request import Interaction, RecommendationRequest, Session
from contracts.schema import EventWeights
from retrieval.visitor import meet
from tests.toy_world import item_id, toy_model

MODEL = toy_model()
NOBODY = Profile()
ASK = RecommendationRequest()


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
    assert visitor.session_rows.tolist() == [3, 8]
    assert not visitor.anonymous


def test_only_a_session_is_anonymous_until_a_user_is_named():
    session = Session(history=told(1))
    assert meet(MODEL, NOBODY, RecommendationRequest(session=session)).anonymous
    assert not meet(MODEL, NOBODY, RecommendationRequest(session=session, user_id="u")).anonymous
    assert not meet(MODEL, NOBODY, RecommendationRequest(history=told(1))).anonymous


def test_inline_features_lie_over_the_stored_ones():
    profile = stored(1, features={"gender": "F", "age": 30, "shoe": 44})
    visitor = meet(MODEL, profile, RecommendationRequest(features={"gender": "M", "age": None}))
    assert visitor.features == {"gender": "M"}


def test_excluded_items_are_barred():
    request = RecommendationRequest(exclude_ids=[item_id(17), "no such"])
    assert set(meet(MODEL, stored(1), request).barred.tolist()) == {1, 17, -1}
