"""Items that came after a release: rows like any other, found where their score puts them, and gone when hidden."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Source
from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import NEVER_EXPIRES, UNKNOWN_TIME, ContentArrays, from_bundle, to_bundle
from contracts.interactions import Interactions
from contracts.live import Encoding, LiveItem, features_digest
from contracts.profile import HistoryEvent, Profile
from contracts.request import Interaction, Range, RecommendationRequest, Session
from contracts.schema import FeatureKind
from contracts.slate import Route
from retrieval.fresh import FreshEncoder, with_fresh
from retrieval.opened import OpenModel, cold_neighbours, newest_by_category, open_model
from retrieval.popular import popular_items, trending_items
from retrieval.query import query_vector
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.similar import similar_items
from retrieval.user_tower import encode_user, encode_users
from retrieval.visitor import meet
from tests.retrieval.fresh_worlds import RELEASE, art, encoded, gallery, laid_over, replaced, told
from tests.toy_world import CATEGORIES, DAY, NOW, item_id, toy_model

FITTED = toy_model()
OPEN = open_model(FITTED)
BARE = open_model(toy_model(featureless=True))
GALLERY = gallery()
FRESH = np.arange(200, 212)
STILL = RetrievalSettings(exploration_share=0.0, cold_quota=0.0)
"""Nothing but the model and popularity."""


def user(*ids: str, **more) -> Profile:
    history = [HistoryEvent(one, NOW - 1000 + place) for place, one in enumerate(ids)]
    return Profile(user_id="u", history=history, n_events=len(ids), seen=list(ids), **more)


WARM = user(*map(item_id, (0, 5, 10, 15, 20, 25)))
"""Six events, all of category 0, which is art."""


def find(model: OpenModel, profile: Profile = WARM, request=None, options=STILL, **places):
    asked = request or RecommendationRequest(user_id="u")
    index = places.get("index", model.index)
    return find_candidates(model, index, profile, asked, options, Deadline.never(), NOW)


def same_answers(one, other) -> bool:
    return (
        one.rows.tolist() == other.rows.tolist()
        and one.scores.tolist() == other.scores.tolist()
        and (one.route, one.model, one.segment, one.degraded)
        == (other.route, other.model, other.segment, other.degraded)
    )


REQUESTS = {
    "unknown": (Profile(), RecommendationRequest()),
    "anonymous": (
        Profile(),
        RecommendationRequest(session=Session([Interaction(item_id(0)), Interaction(item_id(5))])),
    ),
    "anonymous, only fresh": (Profile(), RecommendationRequest(session=Session([Interaction("new01")]))),
    "both cold": (user(item_id(0)), RecommendationRequest(prefer="new", num_items=100)),
    "cold user": (user(item_id(0), item_id(5)), RecommendationRequest(num_items=100)),
    "cold user, only fresh": (user("new01"), RecommendationRequest()),
    "model": (WARM, RecommendationRequest(num_items=100)),
    "model, fresh among the history": (user("new00", *map(item_id, range(0, 30, 5))), RecommendationRequest()),
    "filtered": (WARM, RecommendationRequest(filters={"genre": "art"}, num_items=100)),
}


# where their score puts them


@pytest.mark.parametrize("name", ["two_tower", "als"])
@pytest.mark.parametrize("filters", [{}, {"price": Range(gte=5)}])
def test_released_and_fresh_items_are_one_list_by_score(name, filters):
    request = RecommendationRequest(user_id="u", filters=filters)
    found = find(GALLERY, WARM, request, replace(STILL, served_model=name))
    visitor = meet(GALLERY.fitted, WARM, request, 1.0)
    scores = GALLERY.items.vectors(name, np.arange(212)) @ query_vector(GALLERY, visitor, name)
    barred = set(visitor.barred.tolist())
    prices = [*FITTED.items.numbers[:, 0], *(float(k % 20) for k in range(12))]
    passing = [r for r in range(212) if r not in barred and prices[r] >= (5 if filters else 0)]
    best = sorted(passing, key=lambda row: -scores[row])[: len(found.rows)]
    assert found.rows.tolist() == best
    np.testing.assert_allclose(found.scores, scores[best], rtol=1e-5)
    assert set(found.rows.tolist()) & set(FRESH.tolist()), "none of them was near enough to be compared"


def test_explained_a_fresh_item_says_so():
    found = find(GALLERY, request=RecommendationRequest(user_id="u", explain=True))
    fresh = np.isin(found.rows, FRESH)
    assert fresh.any()
    assert (found.sources[fresh] == Source.FRESH).all()
    assert not (found.sources[~fresh] == Source.FRESH).any()
    np.testing.assert_array_equal(found.parts["model"], found.scores)


def test_who_is_unknown_sees_no_fresh_item_by_its_score():
    found = find(GALLERY, Profile(), RecommendationRequest(num_items=100))
    assert found.route == Route.UNKNOWN
    assert not np.isin(found.rows, FRESH).any()


class Engine:
    """A search engine as `VectorIndex` has it, which holds the release alone and holds its callers to that."""

    def __init__(self, model: OpenModel, *, away: bool = False) -> None:
        self.model, self.away = model, away

    def search(self, model_name, query, k, restriction, deadline):
        assert restriction is None or restriction.mask.shape == (self.model.items.released,)
        if self.away:
            raise IndexUnavailable("away.")
        return self.model.index.search(model_name, query, k, restriction, deadline)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("filters", [{}, {"genre": "art"}])
def test_an_engine_is_asked_for_the_release_alone(away, filters):
    request = RecommendationRequest(user_id="u", filters=filters)
    found = find(GALLERY, WARM, request, index=Engine(GALLERY, away=away))
    assert found.rows.tolist() == find(GALLERY, WARM, request).rows.tolist()
    assert np.isin(found.rows, FRESH).any()
    assert similar_items(GALLERY, 205, 5, NOW, Engine(GALLERY, away=away)).rows.tolist() == (
        similar_items(GALLERY, 205, 5, NOW).rows.tolist()
    )


def test_they_are_found_where_the_head_alone_is_in_memory():
    bundle = to_bundle(toy_model(head_items=60))
    part = from_bundle(replace(bundle, tensors={n: t for n, t in bundle.tensors.items() if n != "vectors"}))
    model = laid_over(open_model(part), [told("new", art(1)), told("other", art(2))])
    assert model.items.head_only
    assert np.isin([200, 201], find(model).rows).all()
    history = user("new", item_id(150), *map(item_id, range(0, 20, 5)))
    assert 201 in find(model, history).rows


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"genre": "art"}, {"a", "b"}),
        ({"genre": ["books", "art"]}, {"a", "b", "c"}),
        ({"tags": "red"}, {"b", "c"}),
        ({"price": Range(gte=7.0, lte=9.0)}, {"b"}),
        ({"published": Range(gte=NOW - DAY)}, {"c"}),
        ({"genre": "never seen"}, set()),
    ],
)
def test_filters_hold_for_fresh_items(filters, expected):
    items = [
        told("a", {"genre": "art"}),
        told("b", {"genre": "art", "tags": ["red", "old"], "price": 8.0}),
        told("c", {"genre": "books", "tags": "red|big", "published": NOW}),
        told("d", {"genre": "never seen", "price": "no number"}),
    ]
    model = laid_over(OPEN, items)
    mask = model.filters.mask(filters)
    assert mask.shape == (204,)
    assert set(model.items.ids.texts(np.flatnonzero(mask[200:]) + 200)) == expected
    np.testing.assert_array_equal(mask[:200], OPEN.filters.mask(filters))


# what is known of them


def test_every_array_has_a_line_for_every_item():
    items = GALLERY.items
    assert (len(items), items.released) == (212, 200)
    for name in ("pool_weight", "events", "category", "published", "expires", "available"):
        assert getattr(items, name).shape == (212,), name
        assert getattr(items, name).dtype == getattr(FITTED.items, name).dtype, name
        np.testing.assert_array_equal(getattr(items, name)[:200], getattr(FITTED.items, name))
    assert items.fresh.two_tower.shape == items.fresh.als.shape == (12, 16)
    assert items.ids.texts(np.array([0, 200, 211])) == [item_id(0), "new00", "new11"]
    assert items.ids.row("new05") == 205
    assert (items.pool_weight[200:] == FITTED.items.pool_weight[FITTED.items.events.argmin()]).all()
    assert GALLERY.is_cold(200)


def test_roles_of_the_schema_are_read_from_what_was_told():
    soon = NOW + 60
    items = [
        told("a", art(1, published=NOW - DAY, expires=soon), created_at=NOW - 9, events=7),
        told("b", {"genre": "never seen", "available": False}, created_at=NOW - 8),
        told("c", {"tags": ["red"], "available": "false"}, created_at=NOW - 7, available=True),
        told("d", {"genre": 5, "published": "no time", "expires": None, "title": ["no", "text"]}, created_at=0),
    ]
    model = laid_over(OPEN, items)
    order = model.items.ids.rows(["a", "b", "c", "d"])
    arrays = model.items
    assert [CATEGORIES[c] if c >= 0 else None for c in arrays.category[order]] == ["art", None, None, None]
    assert arrays.published[order].tolist() == [NOW - DAY, NOW - 8, NOW - 7, UNKNOWN_TIME]
    assert arrays.expires[order].tolist() == [soon, NEVER_EXPIRES, NEVER_EXPIRES, NEVER_EXPIRES]
    assert arrays.events[order].tolist() == [7, 0, 0, 0]
    assert model.is_cold(order[0]), "events of today moved no vector"
    for now, served in ((soon - 1, [True, False, True, True]), (soon, [False, False, True, True])):
        assert model.servable.for_request(np.empty(0, np.int32), None, now).of(order).tolist() == served


def test_of_several_categories_the_first_counts():
    schema = replaced_schema(category="tags")
    model = laid_over(
        open_model(replace(FITTED, schema=schema, categories=["old", "red"], golden=[])),
        [told("a", {"tags": ["red", "old"]}), told("b", {"tags": "old|red"}), told("c", {"tags": []})],
    )
    assert model.items.category[200:].tolist() == [1, 0, -1]


def replaced_schema(**changes):
    values = {name: getattr(FITTED.schema, name) for name in FITTED.schema.__struct_fields__}
    return type(FITTED.schema)(**(values | changes))


def test_a_world_without_features_takes_items_too():
    model = laid_over(BARE, [told("new", {}), told("other", {"shoe": 44})])
    assert len(model.items) == 202
    found = find(model, request=RecommendationRequest(user_id="u", num_items=100))
    assert len(set(found.rows.tolist())) == len(found.rows) >= 100


def test_newest_items_are_in_order_with_the_fresh_at_their_places():
    items = [
        told(f"n{k}", {"genre": ["art", "books", "none"][k % 3], "published": NOW - k * 20 * DAY}) for k in range(30)
    ]
    model = laid_over(OPEN, items)
    whole = newest_by_category(model.items, len(FITTED.categories), 5)
    for group in range(6):
        rows = model.newest.of(group)
        assert sorted(rows.tolist()) == sorted(whole.of(group).tolist())
        assert (np.diff(model.items.published[rows]) <= 0).all()
    assert len(model.newest.of(0)) == 10, "those of no known category"


def test_where_the_release_has_no_dates_fresh_items_are_the_newest():
    model = laid_over(BARE, [told("new", {}), told("older", {}, created_at=NOW - 5)])
    assert model.items.ids.texts(model.newest.of(0)[:2]) == ["new", "older"]
    assert sorted(model.newest.of(0)[2:].tolist()) == sorted(BARE.newest.of(0).tolist())


def test_fresh_items_are_reached_from_their_neighbours_as_cold_ones_are():
    model, rows = GALLERY, np.full((212, 10), -1, np.int32)
    similarities = np.zeros((212, 10), np.float32)
    rows[:200], similarities[:200] = FITTED.content.neighbours, FITTED.content.similarities
    for place, encoding in enumerate(model.fresh.encodings):
        rows[200 + place, : len(encoding.neighbours)] = encoding.neighbours
        similarities[200 + place, : len(encoding.neighbours)] = encoding.similarities
    whole = cold_neighbours(ContentArrays(FITTED.content.idf, rows, similarities), model.items, 5)
    np.testing.assert_array_equal(model.cold.rows, whole.rows[:200])
    np.testing.assert_array_equal(model.cold.similarities, whole.similarities[:200])
    assert np.isin(model.cold.rows, FRESH).any()


def test_what_a_history_asks_for_is_the_same_with_and_without_an_overlay():
    """Rows of the release mean what they meant."""
    for name in ("two_tower", "als"):
        visitor = meet(OPEN.fitted, WARM, RecommendationRequest(), 1.0)
        np.testing.assert_array_equal(query_vector(GALLERY, visitor, name), query_vector(OPEN, visitor, name))


def test_many_users_with_fresh_items_in_their_histories_are_one_after_the_other():
    random = np.random.default_rng(0)
    rows, lengths = random.integers(0, 212, 60), np.array([0, 30, 1, 29])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    weights = random.uniform(0.5, 2, 60).astype(np.float32)
    events = Interactions.from_events(np.repeat(np.arange(4), lengths), rows, np.arange(60), weights, 4, 212)
    bag = FITTED.user_encoder.encode({}, 4)
    many = encode_users(FITTED.tower, GALLERY.items, events.items, events.weights, events.offsets, bag)
    for number in range(4):
        own = slice(offsets[number], offsets[number + 1])
        one = encode_user(FITTED.tower, GALLERY.items, rows[own], weights[own])
        np.testing.assert_allclose(many[number], one, atol=1e-5)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("served", ["two_tower", "als", "popularity"])
def test_every_route_takes_histories_that_hold_fresh_items(name, served):
    profile, request = REQUESTS[name]
    found = find(GALLERY, profile, request, RetrievalSettings(served_model=served))
    assert len(set(found.rows.tolist())) == len(found.rows)
    assert found.unknown_items == 0
    touched = [event.item_id for event in profile.history]
    assert not set(GALLERY.items.ids.texts(found.rows)) & set(touched)


def test_a_fresh_item_alone_is_taste_enough():
    found = find(GALLERY, Profile(), RecommendationRequest(session=Session([Interaction("new01")])))
    assert found.route == Route.ANONYMOUS
    by_model = find(GALLERY, Profile(user_id="u", history=[HistoryEvent("new01")], n_events=9))
    assert by_model.route == Route.MODEL
    assert (GALLERY.items.category[by_model.rows[:10]] == 0).all()


# what is similar


def test_what_is_like_a_fresh_item_is_of_its_kind_and_it_is_like_that():
    found = similar_items(GALLERY, 203, 10, NOW)
    assert 203 not in found.rows
    assert (GALLERY.items.category[found.rows] == 0).all()
    reached = similar_items(GALLERY, int(GALLERY.fresh.encodings[3].neighbours[0]), 100, NOW)
    assert 203 in reached.rows
    assert len(set(reached.rows.tolist())) == 100
    assert (reached.sources[np.isin(reached.rows, FRESH)] != Source.MODEL).all()


def test_neighbours_of_any_row():
    rows, similarities = GALLERY.neighbours_of(203)
    encoding = GALLERY.fresh.encodings[3]
    assert (rows.tolist(), similarities.tolist()) == (encoding.neighbours, pytest.approx(encoding.similarities))
    rows, similarities = GALLERY.neighbours_of(42)
    assert rows.tolist() == FITTED.content.neighbours[42][FITTED.content.neighbours[42] >= 0].tolist()
    assert len(similarities) == len(rows)


# who gets a row


def test_no_vector_of_another_release_or_of_other_features_is_used():
    ready = encoded(FITTED, [told("ready", art(1))])["ready"]
    ours = ready.encodings[RELEASE]
    short = Encoding(ours.digest, ours.two_tower[:-4], ours.als, ours.neighbours, ours.similarities)
    live = {
        "ready": ready,
        "elsewhere": replaced(ready, item_id="elsewhere", encodings={"r0": ours}),
        "none": replaced(ready, item_id="none", encodings={}),
        "anew": replaced(ready, item_id="anew", digest=features_digest(art(2)), features=art(2)),
        "short": replaced(ready, item_id="short", encodings={RELEASE: short}),
        "stateful": LiveItem(item_id="stateful", available=True),
    }
    model = with_fresh(OPEN, live, RELEASE, 10)
    assert model.items.ids.texts(np.arange(200, len(model.items))) == ["ready"]
    assert len(with_fresh(OPEN, live, "r0", 10).items) == 201
    assert with_fresh(OPEN, live, "r2", 10).items is OPEN.items


def test_beyond_the_limit_the_earliest_have_a_row_then_those_of_the_first_ids():
    items = encoded(FITTED, [told(f"n{k}", art(k), created_at=NOW - (k // 3)) for k in range(9)])
    shuffled = {name: items[name] for name in sorted(items, key=lambda name: hash((name, 7)))}
    model = with_fresh(OPEN, shuffled, RELEASE, 5)
    assert model.items.ids.texts(np.arange(200, 205)) == ["n6", "n7", "n8", "n3", "n4"]
    assert len(model.items) == 205
    room = {name: item for name, item in items.items() if name != "n7"}
    assert with_fresh(OPEN, room, RELEASE, 5).items.ids.row("n5") == 204
    assert with_fresh(OPEN, items, RELEASE, 0).items is OPEN.items


def test_a_known_item_gets_no_second_row():
    live = encoded(FITTED, [told("new", art(1))])
    live[item_id(3)] = replaced(live["new"], item_id=item_id(3))
    model = with_fresh(OPEN, live, RELEASE, 10)
    assert len(model.items) == 201
    assert model.items.ids.row(item_id(3)) == 3


@given(st.sampled_from(sorted(REQUESTS)), st.booleans())
@settings(max_examples=30, deadline=None)
def test_without_live_items_no_answer_changes(name, waiting):
    """Nor with those that have nothing for this release."""
    live = {"a": told("a", art(1)), item_id(3): told(item_id(3), art(3))} if waiting else {}
    profile, request = REQUESTS[name]
    over = with_fresh(OPEN, live, RELEASE, 10)
    options = RetrievalSettings()
    assert same_answers(find(OPEN, profile, request, options), find(over, profile, request, options))
    assert same_answers(similar_items(OPEN, 42, 10, NOW), similar_items(over, 42, 10, NOW))
    assert same_answers(popular_items(OPEN, 10, NOW), popular_items(over, 10, NOW))


changes = st.lists(
    st.tuples(
        st.integers(0, 9), st.sampled_from(["put", "hide", "show", "sold", "touched", "gone"]), st.integers(0, 3)
    ),
    max_size=25,
)


@given(changes)
@settings(max_examples=40, deadline=None)
def test_change_after_change_the_overlay_is_the_one_of_a_process_that_has_just_started(steps):
    model, live = open_model(FITTED), {}
    for number, change, variant in steps:
        name = item_id(number) if number < 3 else f"n{number}"
        if change == "gone":
            live = {other: item for other, item in live.items() if other != name}
        else:
            live = live | {name: _changed(live.get(name), name, change, variant)}
        kept = with_fresh(model, live, RELEASE, 5)
    if not steps:
        return
    anew = with_fresh(open_model(FITTED), live, RELEASE, 5)
    for field in fields(anew.items):
        if field.name not in ("ids", "features", "coarse", "fresh"):
            np.testing.assert_array_equal(getattr(kept.items, field.name), getattr(anew.items, field.name))
    assert kept.items.ids.texts(np.arange(len(kept.items))) == anew.items.ids.texts(np.arange(len(anew.items)))
    np.testing.assert_array_equal(kept.servable.rows, anew.servable.rows)
    np.testing.assert_array_equal(kept.newest.rows, anew.newest.rows)
    np.testing.assert_array_equal(kept.cold.rows, anew.cold.rows)
    for filters in ({"genre": "art"}, {"price": Range(gte=1.0)}):
        np.testing.assert_array_equal(kept.filters.mask(filters), anew.filters.mask(filters))
    if anew.fresh is not None:
        np.testing.assert_array_equal(kept.items.fresh.two_tower, anew.items.fresh.two_tower)
        np.testing.assert_array_equal(kept.fresh.untouched, anew.fresh.untouched)


ENCODER = FreshEncoder(FITTED, RELEASE)


def _changed(item: LiveItem | None, name: str, change: str, variant: int) -> LiveItem:
    if change == "put" or item is None:
        features = art(variant, genre=CATEGORIES[variant])
        return told(name, features, created_at=NOW + variant, encodings={RELEASE: ENCODER.encode(features)})
    states = {"hide": {"hidden": True}, "show": {"hidden": False}, "sold": {"available": variant > 1}}
    return replaced(item, **states.get(change, {"events": item.events + 1}))


# who is served


def answers(model: OpenModel) -> list[set[str]]:
    """Everything that any route gives."""
    found = [find(model, *REQUESTS[name], RetrievalSettings(exploration_share=0.3)) for name in REQUESTS]
    found += [similar_items(model, row, 100, NOW) for row in (0, 42, 203) if row < len(model.items)]
    found += [popular_items(model, 100, NOW), popular_items(model, 100, NOW, category="art")]
    found.append(trending_items(model, 100, NOW, "1d", {"new03": 5.0, "new04": 4.0, item_id(30): 3.0}))
    rows = [np.concatenate([one.rows, [] if one.explored is None else one.explored]) for one in found]
    return [set(model.items.ids.texts(served.astype(np.int64))) for served in rows]


@given(hidden=st.sets(st.integers(0, 211), max_size=60), sold_out=st.sets(st.integers(0, 211), max_size=60))
@settings(max_examples=25, deadline=None)
def test_what_is_hidden_or_sold_out_is_served_nowhere(hidden, sold_out):
    live = dict(GALLERY_LIVE)
    for numbers, state in ((hidden, {"hidden": True}), (sold_out, {"available": False})):
        for name in GALLERY.items.ids.texts(np.array(sorted(numbers), np.int64)):
            live[name] = replaced(live.get(name) or LiveItem(item_id=name), **state)
    gone = set(GALLERY.items.ids.texts(np.array(sorted(hidden | sold_out), np.int64)))
    for served in answers(with_fresh(OPEN, live, RELEASE, 5_000)):
        assert not served & gone
        assert len(served) >= 10


GALLERY_LIVE = encoded(FITTED, [told(f"new{k:02d}", art(k), created_at=NOW - 100 + k) for k in range(12)])


def test_what_was_hidden_comes_back():
    hidden = {name: replaced(item, hidden=True) for name, item in GALLERY_LIVE.items()}
    hidden[item_id(30)] = LiveItem(item_id=item_id(30), hidden=True)
    model = open_model(FITTED)
    without = set().union(*answers(with_fresh(model, hidden, RELEASE, 50)))
    assert not without & {*GALLERY_LIVE, item_id(30)}
    shown = GALLERY_LIVE | {item_id(30): LiveItem(item_id=item_id(30))}
    assert {*GALLERY_LIVE, item_id(30)} <= set().union(*answers(with_fresh(model, shown, RELEASE, 50)))


@pytest.mark.parametrize(
    ("state", "served"),
    [
        (LiveItem(item_id=item_id(3), available=True), True),
        (LiveItem(item_id=item_id(3), available=True, hidden=True), False),
        (LiveItem(item_id=item_id(3)), False),
        (told(item_id(3), {"genre": "dogs", "available": True}), True),
        (told(item_id(3), {"genre": "dogs"}), False),
        (told(item_id(3), {"available": "true"}, available=False), False),
    ],
)
def test_live_stock_overrules_that_of_training(state, served):
    model = open_model(toy_model(unavailable=[3]))
    over = with_fresh(model, {state.item_id: state}, RELEASE, 10)
    assert over.servable.for_request(np.empty(0, np.int32), None, NOW).of(np.array([3, 4])).tolist() == [served, True]
    assert not model.servable.rows[3], "the release itself stays what it was"


# what encoding is asked for


def test_missing_is_what_the_release_neither_knows_nor_has_encoded_as_it_is_now():
    ready = encoded(FITTED, [told("ready", art(1))])["ready"]
    other = {"r0": ready.encodings[RELEASE]}
    live = {
        "ready": ready,
        "new": told("new", art(2)),
        "anew": replaced(ready, item_id="anew", features=art(3), digest=features_digest(art(3))),
        "elsewhere": replaced(ready, item_id="elsewhere", encodings=other),
        item_id(7): told(item_id(7), art(7)),
        "stateful": LiveItem(item_id="stateful", hidden=True),
    }
    found = FreshEncoder(FITTED, RELEASE).missing(live)
    assert sorted(found) == ["anew", "elsewhere", "new"]
    assert all(found[name].digest == live[name].digest for name in found)
    assert found["elsewhere"] == ready.encodings[RELEASE]


@given(
    st.dictionaries(
        st.sampled_from([*FITTED.schema.items, "never heard of"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(st.text(max_size=5) | st.integers() | st.none(), max_size=4),
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_was_told_an_item_gets_finite_vectors_and_a_row(features):
    encoding = ENCODER.encode(features)
    vector = np.frombuffer(encoding.two_tower, "<f4")
    assert np.isfinite(vector).all()
    assert 0 < np.linalg.norm(vector) <= FITTED.tower.cold_norm * 1.001
    assert np.isfinite(np.frombuffer(encoding.als, "<f4")).all()
    item = told("new", features, encodings={RELEASE: encoding})
    model = with_fresh(OPEN, {"new": item}, RELEASE, 5)
    assert len(model.items) == 201
    assert model.items.published[200] == NOW or isinstance(features.get("published"), bool | int | float)


def test_a_value_that_fits_no_longer_counts_as_missing():
    """Told while a release held the feature to be of another kind."""
    assert FITTED.schema.items["price"] is FeatureKind.NUMERIC
    odd = ENCODER.encode({"genre": "art", "price": "cheap", "title": 5, "tags": 7})
    plain = ENCODER.encode({"genre": "art"})
    assert (odd.two_tower, odd.als, odd.neighbours) == (plain.two_tower, plain.als, plain.neighbours)
