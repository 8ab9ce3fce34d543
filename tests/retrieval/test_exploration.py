"""The share of a slate that finds out whom new items please: how much of it, of what, for whom, and never twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Source
from contracts.chance import seed_of
from contracts.deadline import Deadline
from contracts.live import LiveItem
from contracts.profile import HistoryEvent, Profile
from contracts.request import Interaction, Range, RecommendationRequest, Session
from contracts.slate import Route
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.exploration import draw, explored_places
from retrieval.fresh import with_fresh
from retrieval.opened import open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from tests.retrieval.fresh_worlds import RELEASE, art, encoded, replaced, told
from tests.toy_world import CATEGORIES, NOW, item_id, toy_model

OPEN = open_model(toy_model())
LIVE = encoded(
    OPEN.fitted, [told(f"new{k:02d}", art(k, genre=CATEGORIES[k % 5]), created_at=NOW - 100 + k) for k in range(40)]
)
GALLERY = with_fresh(OPEN, LIVE, RELEASE, 100)
FRESH = np.arange(200, 240)
SHARE = RetrievalSettings(exploration_share=0.2)


def warm(name: str) -> Profile:
    history = [HistoryEvent(item_id(row), NOW - 1000 + row) for row in range(0, 30, 5)]
    return Profile(user_id=name, history=history, n_events=6, seen=[event.item_id for event in history])


def find(profile=None, request=None, options=SHARE, model=GALLERY, now=NOW, deadline=None):
    asked = request or RecommendationRequest()
    return find_candidates(model, model.index, profile or Profile(), asked, options, deadline or Deadline.never(), now)


def explored_by(profile, **more) -> list[int]:
    rows = find(profile, **more).explored
    return [] if rows is None else rows.tolist()


# how many


@pytest.mark.parametrize(("share", "places"), [(0.05, 10), (0.05, 1), (0.25, 10), (0.13, 100), (1.0, 7), (0.0, 10)])
def test_on_the_average_the_share_is_explored(share, places):
    counts = [explored_places(share, places, seed_of(f"u{number}", NOW)) for number in range(4_000)]
    assert set(counts) <= {int(share * places), int(share * places) + 1}
    assert np.mean(counts) == pytest.approx(share * places, abs=0.03)


def test_a_share_of_nothing_explores_nothing_and_all_of_it_everything():
    request = RecommendationRequest(num_items=10)
    assert find(warm("u"), request, RetrievalSettings(exploration_share=0.0)).explored is None
    assert len(explored_by(warm("u"), request=request, options=RetrievalSettings(exploration_share=1.0))) == 10


def test_of_a_single_place_only_as_often_as_the_share_asks():
    request, options = RecommendationRequest(num_items=1), RetrievalSettings(exploration_share=0.25)
    given_ = [len(explored_by(warm(f"u{number}"), request=request, options=options)) for number in range(400)]
    assert set(given_) == {0, 1}
    assert np.mean(given_) == pytest.approx(0.25, abs=0.07)


# of what


def test_only_what_nobody_touched_is_explored_and_only_what_is_fresh():
    live = {name: replaced(item, events=int(name > "new04")) for name, item in LIVE.items()}
    model = with_fresh(OPEN, live, RELEASE, 100)
    everything = RetrievalSettings(exploration_share=1.0)
    rows = explored_by(Profile(), request=RecommendationRequest(num_items=50), options=everything, model=model)
    assert sorted(model.items.ids.texts(np.array(rows))) == [f"new{k:02d}" for k in range(5)]
    assert find(warm("u"), model=OPEN, options=everything).explored is None


def test_what_pleases_this_visitor_most_is_drawn_most():
    options = RetrievalSettings(exploration_share=0.2, cold_quota=0)
    drawn = Counter(row for n in range(300) for row in explored_by(warm(f"u{n}"), options=options))
    categories = GALLERY.items.category[np.array(list(drawn))]
    counts = np.array(list(drawn.values()))
    assert counts[categories == 0].sum() > 0.4 * counts.sum(), "art is a fifth of the items"
    assert len(drawn) > 30, "and nearly all have their chance"


def test_where_nothing_is_known_all_have_the_same_chance():
    seconds = range(2_000)
    drawn = Counter(row for second in seconds for row in explored_by(None, now=NOW + second))
    assert len(drawn) == 40
    assert max(drawn.values()) < 2 * min(drawn.values())


def test_weights_are_those_of_the_ranks():
    keys, rows = np.arange(50, dtype=np.uint64) * 977, np.arange(50, dtype=np.int32)
    scores = -np.arange(50, dtype=np.float32)
    first = Counter(int(draw(rows, keys, scores, 1, seed_of(f"u{n}", 0)).rows[0]) for n in range(8_000))
    expected = 1 / np.arange(1, 51)
    expected /= expected.sum()
    assert first[0] / 8_000 == pytest.approx(expected[0], abs=0.02)
    assert first[4] / 8_000 == pytest.approx(expected[4], abs=0.01)


@pytest.mark.parametrize("n", [0, 1, 7, 50, 80])
def test_a_draw_has_each_once(n):
    keys, rows = np.arange(50, dtype=np.uint64), np.arange(100, 150, dtype=np.int32)
    drawn = draw(rows, keys, None, n, seed_of("u", 0)).rows.tolist()
    assert len(drawn) == len(set(drawn)) == min(n, 50)
    assert set(drawn) <= set(rows.tolist())
    assert drawn == draw(rows, keys, None, 50, seed_of("u", 0)).rows.tolist()[:n], "one more place changes no other"


def test_propensities_are_how_often_each_is_drawn_given_those_before():
    """Successive draws by weight: of each beginning, the next one's share of all that begin so."""
    rows, keys = np.arange(4, dtype=np.int32), np.arange(4, dtype=np.uint64) * 31
    scores = -np.arange(4, dtype=np.float32)
    n = 20_000
    drawn = [draw(rows, keys, scores, 3, seed_of(f"u{number}", 0)) for number in range(n)]
    begun = Counter(tuple(one.rows[:length].tolist()) for one in drawn for length in range(4))
    told = {
        tuple(one.rows[:length].tolist()): float(one.propensities[length - 1]) for one in drawn for length in (1, 2, 3)
    }
    assert len(told) == 4 + 12 + 24
    for line, propensity in told.items():
        times = begun[line[:-1]]
        assert begun[line] / times == pytest.approx(
            propensity, abs=4.5 * (propensity * (1 - propensity) / times) ** 0.5
        )


@pytest.mark.parametrize("scored", [True, False])
def test_propensities_of_all_that_could_be_drawn_sum_to_one(scored):
    rows, keys = np.arange(30, dtype=np.int32), np.arange(30, dtype=np.uint64)
    scores = np.linspace(0, 1, 30).astype(np.float32) if scored else None
    whole = draw(rows, keys, scores, 30, seed_of("u", 0))
    assert whole.propensities[-1] == pytest.approx(1)
    weights = 1 / (30 - whole.rows.astype(float)) if scored else np.ones(30)
    left = weights[::-1].cumsum()[::-1]
    np.testing.assert_allclose(whole.propensities, weights / left, rtol=1e-5)
    few = draw(rows, keys, scores, 5, seed_of("u", 0))
    np.testing.assert_allclose(few.propensities, whole.propensities[:5], rtol=1e-5)


def test_candidates_carry_the_propensities_of_what_is_explored():
    found = find(warm("u"))
    assert found.explored_propensities.shape == found.explored.shape
    assert ((found.explored_propensities > 0) & (found.explored_propensities < 1)).all()
    slate = rerank(found, GALLERY.items, SlateRules(10), RerankSettings(), NOW)
    assert slate.propensities.tolist() == pytest.approx([1.0] * 8 + found.explored_propensities.tolist())
    assert find(warm("u"), options=RetrievalSettings(exploration_share=0.0)).explored_propensities is None


# for whom


def test_within_the_hour_the_same_visitor_sees_the_same_and_others_others():
    hour = NOW - NOW % 3_600
    one = explored_by(warm("u1"), now=hour)
    assert one == explored_by(warm("u1"), now=hour + 3_599)
    assert len({tuple(explored_by(warm("u1"), now=hour + n * 3_600)) for n in range(20)}) > 10
    assert len({tuple(explored_by(warm(f"u{n}"), now=hour)) for n in range(20)}) > 10


def test_a_session_is_told_by_its_id_and_who_has_none_by_the_second():
    def asked(session_id):
        return RecommendationRequest(session=Session([Interaction(item_id(0))], session_id))

    assert explored_by(None, request=asked("s")) == explored_by(None, request=asked("s"), now=NOW + 1)
    assert len({tuple(explored_by(None, request=asked(f"s{n}"))) for n in range(10)}) > 5
    assert len({tuple(explored_by(None, request=asked(None), now=NOW + n)) for n in range(10)}) > 5


def test_an_id_that_is_no_unicode_has_a_draw_too():
    assert seed_of("\ud800", 0) != seed_of("", 0)


# on every route but one


def test_who_asks_for_new_items_needs_no_exploring():
    everything = RetrievalSettings(exploration_share=1.0)
    found = find(warm("u"), RecommendationRequest(prefer="new"), everything)
    assert (found.route, len(found.explored)) == (Route.MODEL, 10)
    few = Profile(user_id="u", history=[HistoryEvent(item_id(0))], n_events=1)
    found = find(few, RecommendationRequest(prefer="new"), everything)
    assert (found.route, found.explored) == (Route.BOTH_COLD, None)


@given(
    name=st.sampled_from(["u1", "u2", "u3"]),
    share=st.sampled_from([0.05, 0.3, 1.0]),
    places=st.sampled_from([1, 5, 30, 100]),
    events=st.integers(0, 8),
    filters=st.sampled_from([{}, {"genre": "art"}, {"price": Range(lte=3.0)}, {"genre": "nothing"}]),
    hidden=st.sets(st.integers(0, 39), max_size=40),
    excluded=st.sets(st.integers(0, 39), max_size=10),
    served=st.sampled_from(["two_tower", "als", "popularity"]),
)
@settings(max_examples=80, deadline=None)
def test_what_is_explored_is_eligible_last_and_never_there_twice(
    name, share, places, events, filters, hidden, excluded, served
):
    live = {n: replaced(item, hidden=int(n[3:]) in hidden) for n, item in LIVE.items()}
    model = with_fresh(OPEN, live, RELEASE, 100)
    history = [HistoryEvent(item_id(row * 5)) for row in range(events)]
    profile = Profile(user_id=name, history=history, n_events=events)
    barred = [f"new{k:02d}" for k in excluded]
    request = RecommendationRequest(num_items=places, filters=filters, exclude_ids=barred)
    found = find(profile, request, RetrievalSettings(exploration_share=share, served_model=served), model)
    explored = [] if found.explored is None else found.explored.tolist()
    assert len(explored) == len(set(explored)) <= int(share * places) + 1
    assert not set(explored) & set(found.rows.tolist())
    assert set(explored) <= set(FRESH.tolist())
    texts = model.items.ids.texts(np.array(explored, np.int64))
    assert not set(texts) & {*barred, *(f"new{k:02d}" for k in hidden)}
    mask = model.filters.mask(filters)
    assert mask is None or mask[explored].all()
    slate = rerank(found, model.items, SlateRules(places), RerankSettings(), NOW)
    assert len(slate.rows) == len(set(slate.rows.tolist())) <= places
    assert slate.rows.tolist()[len(slate.rows) - len(explored) :] == explored
    eligible = model.servable.for_request(model.items.ids.rows([*(e.item_id for e in history), *barred]), mask, NOW)
    assert len(slate.rows) == min(places, len(eligible.all_rows())), "exploring costs nobody a place"


def test_an_item_that_leads_by_its_own_score_is_not_put_last():
    request = RecommendationRequest(num_items=40)
    leading = find(warm("u"), request, RetrievalSettings(exploration_share=0.0)).rows[:40]
    assert np.isin(leading, FRESH).any()
    for number in range(20):
        found = find(warm(f"u{number}"), request, RetrievalSettings(exploration_share=0.2))
        assert found.rows[:40].tolist() == leading.tolist()
        assert len(found.explored) == 8


def test_a_request_that_is_late_explores_without_a_query():
    found = find(warm("u"), deadline=Deadline(0.0))
    assert found.degraded
    assert len(found.explored) == 2


def test_explained_the_explored_say_so():
    found = find(warm("u"), RecommendationRequest(explain=True))
    slate = rerank(found, GALLERY.items, SlateRules(10, explain=True), RerankSettings(), NOW)
    assert slate.parts["source"][-2:].tolist() == [Source.EXPLORED] * 2
    assert (slate.parts["source"][:-2] != Source.EXPLORED).all()


def test_state_alone_is_nothing_to_explore():
    model = with_fresh(OPEN, {"x": LiveItem(item_id="x", available=True)}, RELEASE, 10)
    assert find(warm("u"), model=model, options=RetrievalSettings(exploration_share=1.0)).explored is None
