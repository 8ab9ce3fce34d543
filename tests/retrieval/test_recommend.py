"""The one entrance of retrieval: the routes of decision 6 in their order, and what must hold on every one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Degraded, Source
from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable, RequestInvalid
from contracts.profile import HistoryEvent, Profile
from contracts.request import Interaction, Range, RecommendationRequest, Session
from contracts.segments import GLOBAL_KEY, segment_key
from contracts.slate import Route
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.als import fold_in
from retrieval.eligibility import servable
from retrieval.opened import open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.user_tower import encode_user
from tests.toy_world import DAY, NOW, item_id, toy_model

OPEN = open_model(toy_model())
BARE = open_model(toy_model(featureless=True))
DEFAULTS = RetrievalSettings()


def user(*rows, n_events=None, **more):
    history = [HistoryEvent(item_id(row), NOW - 1000 + place) for place, row in enumerate(rows)]
    seen = [event.item_id for event in history]
    return Profile(user_id="u", history=history, n_events=n_events or len(rows), seen=seen, **more)


def session(*rows, **more):
    return RecommendationRequest(session=Session(history=[Interaction(item_id(row)) for row in rows]), **more)


def find(profile, request=None, model=OPEN, options=DEFAULTS, **changes):
    given_ = {"index": model.index, "deadline": Deadline.never()} | changes
    asked = request or RecommendationRequest()
    return find_candidates(model, given_["index"], profile, asked, options, given_["deadline"], NOW)


WARM = user(0, 5, 10, 15, 20, 25)
"""Six events, all of category 0."""
ART = lambda rows: OPEN.items.category[rows] == 0  # noqa: E731  # a name for what the tests look at


@pytest.mark.parametrize(
    ("profile", "request_", "route", "model_name"),
    [
        (Profile(), RecommendationRequest(), Route.UNKNOWN, "popularity"),
        (Profile(), RecommendationRequest(prefer="new"), Route.UNKNOWN, "popularity"),
        (Profile(user_id="stranger"), RecommendationRequest(user_id="stranger"), Route.UNKNOWN, "popularity"),
        (Profile(), RecommendationRequest(features={"shoe": "44"}), Route.UNKNOWN, "popularity"),
        (Profile(), session(1), Route.ANONYMOUS, "als"),
        (Profile(), session(1, prefer="new"), Route.ANONYMOUS, "als"),
        (Profile(), session(1, 2, 3, 4, 5, 6), Route.ANONYMOUS, "als"),
        (user(1), RecommendationRequest(prefer="new"), Route.BOTH_COLD, "popularity"),
        (Profile(), RecommendationRequest(features={"gender": "F"}, prefer="new"), Route.BOTH_COLD, "popularity"),
        (user(1, 2, 3, 4), RecommendationRequest(), Route.COLD_USER, "two_tower"),
        (Profile(), RecommendationRequest(features={"gender": "F"}), Route.COLD_USER, "popularity"),
        (Profile(user_id="u"), session(1), Route.COLD_USER, "two_tower"),
        (user(1, n_events=300), RecommendationRequest(), Route.MODEL, "two_tower"),
        (user(1, 2, 3, 4, 6), RecommendationRequest(prefer="new"), Route.MODEL, "two_tower"),
    ],
)
def test_the_first_matching_route_is_taken(profile, request_, route, model_name):
    candidates = find(profile, request_)
    assert (candidates.route, candidates.model) == (route, model_name)


def test_nothing_known_is_the_global_list():
    candidates = find(Profile())
    assert candidates.rows.tolist() == list(range(100))
    assert candidates.segment == GLOBAL_KEY


@pytest.mark.parametrize("name", ["two_tower", "als"])
def test_a_warm_user_gets_the_models_own_ranking(name):
    options = RetrievalSettings(served_model=name, cold_quota=0)
    candidates = find(WARM, options=options)
    rows, weights = OPEN.items.ids.rows(WARM.seen), np.ones(6, np.float32)
    query = (
        encode_user(OPEN.fitted.tower, OPEN.items, rows, weights)
        if name == "two_tower"
        else fold_in(OPEN.fitted.als, OPEN.items.als[rows], weights)
    )
    scores = getattr(OPEN.items, name) @ query
    scores[rows] = -np.inf
    assert candidates.rows.tolist() == np.argsort(-scores, kind="stable")[:100].tolist()
    np.testing.assert_allclose(candidates.scores, scores[candidates.rows], rtol=1e-5)
    assert ART(candidates.rows[:10]).all()
    assert candidates.model == name


ALS = RetrievalSettings(served_model="als")
"""Blends a short history; the towers do not."""


def test_popularity_can_be_the_served_model():
    candidates = find(replace_features(WARM, gender="M"), options=RetrievalSettings(served_model="popularity"))
    assert (candidates.route, candidates.model) == (Route.MODEL, "popularity")
    assert candidates.segment == segment_key(["gender"], ["M"])
    assert (OPEN.items.category[candidates.rows[:5]] == 1).all()


def replace_features(profile, **features):
    return Profile(
        user_id=profile.user_id,
        history=profile.history,
        n_events=profile.n_events,
        seen=profile.seen,
        features=features,
    )


def test_a_cold_user_leaves_the_segment_step_by_step():
    """gender=M likes category 1; a history in category 0 takes over with every event."""
    shares = []
    for n in range(5):
        candidates = find(replace_features(user(*range(0, 5 * n, 5)), gender="M"), options=ALS)
        assert candidates.segment == segment_key(["gender"], ["M"])
        shares.append(ART(candidates.rows[:10]).mean())
    assert shares[0] <= 0.1  # row 0 is popular with everybody
    assert shares[4] >= 0.7
    assert shares == sorted(shares)


def test_the_towers_answer_a_cold_user_from_the_event_that_they_need():
    """They were trained on users of whom so little is known; a threshold below theirs holds for them, too."""
    one, none = (find(replace_features(user(*rows), gender="M")) for rows in ([0], []))
    assert (one.route, one.model, one.segment) == (Route.COLD_USER, "two_tower", None)
    assert (none.model, none.segment) == ("popularity", segment_key(["gender"], ["M"]))
    three = RetrievalSettings(tower_events=3)
    assert find(replace_features(user(0), gender="M"), options=three).segment == segment_key(["gender"], ["M"])
    assert replace(three, cold_user_events=2).full_history("two_tower") == 2


def test_an_unknown_segment_falls_back_to_everybody():
    candidates = find(Profile(), RecommendationRequest(features={"gender": "unseen"}))
    assert candidates.segment == GLOBAL_KEY
    assert candidates.rows[:3].tolist() == [0, 1, 2]


def test_a_short_session_is_blended_and_a_long_one_is_not():
    short, long = find(Profile(), session(0)), find(Profile(), session(0, 5, 10, 15, 20))
    assert (short.segment, long.segment) == (GLOBAL_KEY, None)
    assert set(range(1, 30)) <= set(short.rows.tolist())
    assert ART(long.rows[:10]).all()


@pytest.mark.parametrize(
    ("profile", "request_", "categories"),
    [
        (user(7), RecommendationRequest(prefer="new"), {2}),
        (user(7), RecommendationRequest(prefer="new", filters={"genre": "eggs"}), {4}),
        (user(7), RecommendationRequest(prefer="new", filters={"genre": ["art", "eggs"]}), {0, 4}),
        (Profile(), RecommendationRequest(prefer="new", features={"gender": "M"}), {0, 1, 2}),
    ],
)
def test_both_cold_is_the_category_with_new_items_first(profile, request_, categories):
    candidates = find(profile, request_)
    new = OPEN.items.published[candidates.rows] >= NOW - 30 * DAY
    n_new = new.sum()
    assert n_new == 4 * len(categories)  # 20 new items in 5 categories
    assert new[:n_new].all()
    assert set(OPEN.items.category[candidates.rows[:20]].tolist()) == categories
    assert (np.diff(OPEN.items.events[candidates.rows[:n_new]]) <= 0).all()


def test_both_cold_without_dates_means_items_without_events():
    candidates = find(user(7), RecommendationRequest(prefer="new"), model=BARE)
    assert candidates.route == Route.BOTH_COLD
    assert set(candidates.rows[:20].tolist()) == set(range(180, 200))


def test_a_cold_item_is_reached_through_its_neighbours():
    cold = OPEN.items.events < 5
    history = [0, 6, 12, 18, int(OPEN.fitted.content.neighbours[190, 0])]
    asked = RecommendationRequest(explain=True, num_items=2)
    few = RetrievalSettings(min_pool=20)
    with_quota = find(user(*history), asked, options=few)
    reached = with_quota.rows[with_quota.sources == Source.NEIGHBOUR]
    assert cold[reached].all()
    assert len(reached) == 1  # a tenth of the slate, rounded up
    assert (with_quota.parts["neighbour"] > 0).sum() == len(reached)
    without = find(user(*history), asked, options=replace(few, cold_quota=0))
    assert (without.sources == Source.MODEL).all()
    assert not set(reached.tolist()) & set(without.rows.tolist())


def test_explain_tells_the_parts():
    blended = find(user(0), RecommendationRequest(explain=True), options=ALS)
    assert set(blended.parts) >= {"model", "popularity"}
    assert set(blended.sources.tolist()) == {Source.MODEL, Source.POPULARITY} | (
        {Source.NEIGHBOUR} & set(blended.sources)
    )
    quiet = find(user(0), options=ALS)
    assert quiet.rows.tolist() == blended.rows.tolist()
    assert quiet.parts == {}


def test_unknown_history_items_are_counted():
    request = RecommendationRequest(history=[Interaction("gone"), Interaction(item_id(1))])
    assert find(Profile(), request).unknown_items == 1


def test_a_filter_reaches_the_index():
    request = RecommendationRequest(filters={"genre": "eggs", "price": Range(gte=10)})
    rows = find(WARM, request).rows
    assert (OPEN.items.category[rows] == 4).all()
    assert (OPEN.items.numbers[rows, 0] >= 10).all()
    assert len(rows) == 20


def test_a_filter_that_nothing_passes_gives_nothing():
    for profile in (Profile(), WARM, user(1)):
        assert len(find(profile, RecommendationRequest(filters={"genre": "unseen"})).rows) == 0


def test_a_wrong_filter_is_named():
    with pytest.raises(RequestInvalid) as caught:
        find(WARM, RecommendationRequest(filters={"colour": "red"}))
    assert caught.value.field == "filters.colour"


class Counting:
    """The model's own index, noting each query."""

    def __init__(self, model):
        self.model, self.asked = model, []

    def search(self, model_name, query, k, restriction, deadline):
        self.asked.append(k)
        return self.model.index.search(model_name, query, k, restriction, deadline)


class Silent:
    """An index that never answers in time."""

    def search(self, model_name, query, k, restriction, deadline):
        raise IndexUnavailable("no answer")


def test_one_query_is_enough_where_eligibility_drops_little():
    index = Counting(OPEN)
    find(WARM, index=index)
    assert index.asked == [106]  # the pool, and what the user has seen


def test_too_few_eligible_are_met_by_one_wider_query_then_by_popularity():
    scarce = replace(OPEN, servable=servable(OPEN.items, hidden=np.arange(0, 195, dtype=np.int32)))
    index = Counting(OPEN)
    options = RetrievalSettings(max_fetch=50)
    candidates = find(user(196, 197, 198, 0, 1, 2), model=scarce, options=options, index=index)
    assert index.asked == [50, 10_000]
    assert sorted(candidates.rows.tolist()) == [195, 199]


def test_popularity_fills_what_the_model_cannot_find():
    class Narrow(Counting):
        def search(self, model_name, query, k, restriction, deadline):
            rows, scores = super().search(model_name, query, k, restriction, deadline)
            return rows[:3], scores[:3]

    asked, options = RecommendationRequest(explain=True), RetrievalSettings(cold_quota=0)
    candidates = find(user(101, 102, 103, 104, 106), asked, index=Narrow(OPEN), options=options)
    filled = candidates.sources == Source.FILL
    popular = [row for row in range(20) if row not in candidates.rows[:3]]
    assert candidates.rows[filled].tolist() == popular[:7]
    assert filled.tolist() == [False] * 3 + [True] * 7
    assert candidates.scores[~filled].min() > candidates.scores[filled].max()


def test_when_every_list_is_spent_the_catalogue_itself_answers():
    seen = [item_id(row) for row in range(195)]
    candidates = find(Profile(user_id="u", seen=seen))
    assert sorted(candidates.rows.tolist()) == [195, 196, 197, 198, 199]


@pytest.mark.parametrize("profile", [WARM, user(1), Profile()])
def test_no_time_left_serves_popularity_and_says_so(profile):
    candidates = find(profile, deadline=Deadline(0))
    assert candidates.model == "popularity"
    assert len(candidates.rows) == 100 - len(profile.history)  # the list has 100, without what was seen
    assert candidates.degraded == ((Degraded.MODEL_SKIPPED,) if profile.history else ())


def test_an_index_that_does_not_answer_is_replaced_by_the_embedded_vectors():
    candidates = find(WARM, index=Silent())
    assert candidates.degraded == (Degraded.INDEX_UNAVAILABLE,)
    assert candidates.rows.tolist() == find(WARM).rows.tolist()


def test_time_that_runs_out_in_the_query_costs_only_what_comes_after():
    moment = [0.0]

    class Slow(Counting):
        def search(self, model_name, query, k, restriction, deadline):
            answer = super().search(model_name, query, k, restriction, deadline)
            moment[0] = 1.0
            return answer

    scarce = replace(OPEN, servable=servable(OPEN.items, hidden=np.arange(0, 190, dtype=np.int32)))
    late = Deadline(150, clock=lambda: moment[0])
    options = RetrievalSettings(max_fetch=20)
    index = Slow(OPEN)
    candidates = find(WARM, model=scarce, options=options, index=index, deadline=late)
    assert set(candidates.degraded) == {Degraded.WIDER_QUERY_SKIPPED, Degraded.NEIGHBOURS_SKIPPED}
    assert index.asked == [20]
    assert sorted(candidates.rows.tolist()) == list(range(190, 200))


@st.composite
def requests(draw):
    rows = st.lists(st.integers(0, 199), max_size=40)
    ids = st.one_of(st.integers(0, 199).map(item_id), st.text(min_size=1, max_size=4))
    told = st.lists(ids.map(Interaction), max_size=12)
    filters = {}
    if draw(st.booleans()):
        filters["genre"] = draw(st.lists(st.sampled_from(["art", "books", "unseen"]), min_size=1, max_size=2))
    if draw(st.booleans()):
        filters["price"] = Range(gte=draw(st.integers(0, 20)), lte=draw(st.integers(0, 20)))
    request = RecommendationRequest(
        num_items=draw(st.integers(1, 100)),
        history=draw(st.none() | told),
        session=draw(st.none() | st.builds(Session, history=told)),
        exclude_ids=draw(st.lists(ids, max_size=150)),
        features=draw(st.none() | st.just({"gender": "F", "age": 12})),
        filters=filters,
        prefer=draw(st.sampled_from([None, "new"])),
        explain=draw(st.booleans()),
    )
    return user(*draw(rows), features=draw(st.sampled_from([{}, {"gender": "M"}]))), request


TROUBLED = open_model(toy_model(unavailable=range(0, 200, 7), expired=range(3, 200, 11)))


@given(
    requests(),
    st.sampled_from(["two_tower", "als", "popularity"]),
    st.sampled_from([0.0, 1e9]),
    st.sampled_from(["category", "mmr", "none"]),
)
@settings(max_examples=300, deadline=None)
def test_every_answer_is_eligible_unique_and_as_full_as_can_be(case, served_model, budget_ms, diversity):
    profile, request = case
    options = RetrievalSettings(served_model=served_model)
    candidates = find(profile, request, model=TROUBLED, options=options, deadline=Deadline(budget_ms))
    assert len(set(candidates.rows.tolist())) == len(candidates.rows)
    assert np.isfinite(candidates.scores).all()
    assert (np.diff(candidates.scores) <= 0).all()
    allowed = eligible_rows(profile, request)
    assert set(candidates.rows.tolist()) <= allowed
    assert len(candidates.rows) >= min(request.num_items, len(allowed))
    rules = SlateRules(request.num_items, explain=request.explain)
    ranked = rerank(candidates, TROUBLED.items, rules, RerankSettings(diversity=diversity), NOW)
    assert len(ranked.rows) == min(request.num_items, len(allowed))


def eligible_rows(profile, request):
    """Decision 8 in plain words."""
    told = [*(request.history or []), *(request.session.history if request.session else [])]
    barred = {*profile.seen, *request.exclude_ids, *(event.item_id for event in told)}
    if request.history is None:
        barred |= {event.item_id for event in profile.history}
    genres, price = request.filters.get("genre"), request.filters.get("price")
    return {
        row
        for row in range(200)
        if item_id(row) not in barred
        and row % 7
        and (row - 3) % 11
        and (genres is None or TROUBLED.fitted.categories[row % 5] in genres)
        and (price is None or price.gte <= row % 20 <= price.lte)
    }


@pytest.mark.parametrize("featureless", [False, True])
@pytest.mark.parametrize(("n_items", "n_cold"), [(1, 0), (2, 0), (2, 2), (5, 1), (30, 30)])
def test_the_smallest_worlds_answer_on_every_route(n_items, n_cold, featureless):
    model = open_model(toy_model(n_items, dim=8, n_cold=n_cold, featureless=featureless))
    new = RecommendationRequest(prefer="new")
    for profile, request in (
        (Profile(), None),
        (Profile(), session(0)),
        (user(0), new),
        (user(0), None),
        (user(*[0] * 5), None),
    ):
        for served_model in ("two_tower", "als", "popularity"):
            candidates = find(profile, request, model=model, options=RetrievalSettings(served_model=served_model))
            known = bool(profile.history or (request and request.session))
            assert len(candidates.rows) >= min(10, n_items - known)
