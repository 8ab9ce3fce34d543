"""Random places: what stays, what is drawn how often, what the propensities say, and which promises hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Candidates, Source
from contracts.chance import seed_of
from contracts.slate import Route
from contracts.treatment import RANDOM_POOL
from reranking.random_places import free_places
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import DIVERSITIES, RerankSettings
from tests.toy_world import NOW, toy_model

ITEMS = toy_model().items
PLAIN = RerankSettings(diversity="none", recency_weight=0.0)


def candidates(n: int, **more) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.linspace(1, 0, n).astype(np.float32), Route.MODEL, "als", **more)


def slate(n: int, seed: int = 0, options: RerankSettings = PLAIN, explored=None, **rules):
    found = candidates(n, **({} if explored is None else {"explored": np.array(explored, np.int32)}))
    told = SlateRules(**({"places": 10, "random_places": 3} | rules), seed=seed_of(f"u{seed}", NOW))
    return rerank(found, ITEMS, told, options, NOW)


def test_the_places_before_stay_and_the_last_are_drawn_from_the_next():
    ranked = slate(100)
    assert ranked.rows[:7].tolist() == list(range(7))
    assert set(ranked.rows[7:].tolist()) <= set(range(7, 7 + RANDOM_POOL))
    assert ranked.propensities.tolist() == pytest.approx([1] * 7 + [1 / 20, 1 / 19, 1 / 18])


def test_every_candidate_of_the_pool_is_drawn_as_often_as_its_propensity_says():
    """Chi-square of 2,000 first and of 2,000 last draws over 20 candidates; 0.1 % of 19 degrees are above 43.8."""
    slates = [slate(100, seed).rows for seed in range(2_000)]
    for place in (7, 9):
        counts = Counter(int(rows[place]) for rows in slates)
        assert set(counts) == set(range(7, 27))
        assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 43.8


def test_the_same_visitor_and_hour_draw_the_same():
    assert slate(100, 5).rows.tolist() == slate(100, 5).rows.tolist()
    assert len({tuple(slate(100, seed).rows.tolist()) for seed in range(50)}) > 40


@pytest.mark.parametrize(("n", "random"), [(10, False), (9, False), (11, True), (8, False), (7, False), (0, False)])
def test_a_pool_that_is_no_choice_leaves_the_slate_alone(n, random):
    """Ten places, one of them random: eleven candidates leave two to draw from, ten leave one."""
    ranked = slate(n, random_places=1)
    assert (ranked.propensities is not None) == random
    assert len(ranked.rows) == min(n, 10)
    if not random:
        assert ranked.rows.tolist() == list(range(min(n, 10)))
    else:
        assert ranked.propensities[-1] == pytest.approx(1 / 2)


def test_as_many_places_as_candidates_are_put_in_another_order():
    ranked = slate(10)
    assert sorted(ranked.rows.tolist()) == list(range(10))
    assert ranked.propensities[-3:].tolist() == pytest.approx([1 / 3, 1 / 2, 1])


def test_a_slate_may_be_random_altogether():
    ranked = slate(100, random_places=10)
    assert set(ranked.rows.tolist()) <= set(range(RANDOM_POOL))
    assert (ranked.propensities < 1).all()


def test_what_is_explored_comes_after_with_its_own_propensities():
    found = candidates(100, explored=np.array([150, 151]), explored_propensities=np.array([0.5, 0.25], np.float32))
    rules = SlateRules(10, random_places=2, seed=seed_of("u", NOW), explain=True)
    ranked = rerank(found, ITEMS, rules, PLAIN, NOW)
    assert ranked.rows[-2:].tolist() == [150, 151]
    assert ranked.propensities.tolist() == pytest.approx([1] * 6 + [1 / 20, 1 / 19, 0.5, 0.25])
    sources = [Source(int(source)) for source in ranked.parts["source"]]
    assert sources == [Source.MODEL] * 6 + [Source.RANDOM] * 2 + [Source.EXPLORED] * 2
    alone = rerank(found, ITEMS, SlateRules(10), PLAIN, NOW)
    assert alone.propensities.tolist() == pytest.approx([1] * 8 + [0.5, 0.25])
    assert rerank(candidates(100), ITEMS, SlateRules(10), PLAIN, NOW).propensities is None


def test_a_promised_place_is_not_drawn_anew():
    promoted = np.zeros(200, bool)
    promoted[[90, 91]] = True  # the worst: their places are the last
    for seed in range(30):
        ranked = slate(100, seed, promoted=promoted, promoted_share=0.2)
        assert ranked.rows[-2:].tolist() == [90, 91]
        assert ranked.propensities.tolist() == pytest.approx([1] * 7 + [1 / 20, 1, 1])


@pytest.mark.parametrize(
    ("promoted", "quota", "n", "free"),
    [
        ([0, 0, 0, 0], 0, 2, [0, 0, 1, 1]),
        ([0, 0, 1, 1], 2, 2, [0, 0, 0, 0]),
        ([0, 0, 1, 1], 1, 2, [0, 0, 0, 1]),
        ([1, 0, 1, 0], 1, 2, [0, 0, 1, 1]),
        ([1, 1, 1, 1], 3, 4, [0, 0, 0, 1]),
        ([0, 1, 0, 1], 5, 4, [1, 0, 1, 0]),
        ([0, 0], 0, 10, [1, 1]),
        ([0, 0], 0, 0, [0, 0]),
    ],
)
def test_which_places_may_be_drawn_anew(promoted, quota, n, free):
    told = free_places(np.array(promoted, bool), len(promoted), quota, n)
    assert told.astype(int).tolist() == free
    if not any(promoted):
        assert free_places(None, len(promoted), 0, n).astype(int).tolist() == free


@given(
    n=st.integers(0, 80),
    places=st.integers(1, 20),
    random_places=st.integers(1, 10),
    diversity=st.sampled_from(DIVERSITIES),
    cap=st.integers(0, 3),
    barred=st.sets(st.integers(0, 79), max_size=40),
    promoted=st.sets(st.integers(0, 99), max_size=50),
    share=st.sampled_from([0.0, 0.25, 1.0]),
    explored=st.lists(st.integers(100, 199), unique=True, max_size=3),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=100, deadline=None)
def test_any_slate_keeps_its_rules(n, places, random_places, diversity, cap, barred, promoted, share, explored, seed):
    masks = {name: np.isin(np.arange(200), list(rows)) for name, rows in (("barred", barred), ("promoted", promoted))}
    options = RerankSettings(diversity=diversity, category_cap=cap, recency_weight=0.0)
    told = masks | {"promoted_share": share, "places": places, "explored": explored}
    ranked = slate(n, seed, options, random_places=random_places, **told)
    plain = slate(n, seed, options, random_places=0, **told)
    assert len(ranked.rows) == len(plain.rows) == len(set(ranked.rows.tolist()))
    assert not masks["barred"][ranked.rows].any()
    quota = math.ceil(share * places)
    of_plain = int(masks["promoted"][plain.rows].sum())
    assert masks["promoted"][ranked.rows].sum() >= min(quota, of_plain)
    if ranked.propensities is None:
        assert ranked.rows.tolist() == plain.rows.tolist()
    else:
        assert ((ranked.propensities > 0) & (ranked.propensities <= 1)).all()
        moved = np.flatnonzero(ranked.rows != plain.rows)
        assert (ranked.propensities[moved] < 1).sum() >= min(1, len(moved))
    if cap:
        most = max(Counter(ITEMS.category[plain.rows].tolist()).values(), default=0)
        assert max(Counter(ITEMS.category[ranked.rows].tolist()).values(), default=0) <= max(cap, most)


def test_explaining_changes_nothing_that_is_drawn_and_adds_up():
    plain, told = slate(100), slate(100, explain=True)
    assert plain.rows.tolist() == told.rows.tolist()
    total = told.parts["normalised"] + told.parts["recency"] + told.parts["diversity"]
    np.testing.assert_allclose(total, told.scores, atol=1e-5)


def test_the_input_is_left_as_it_was_drawn_or_not():
    found = candidates(30)
    rerank(found, ITEMS, SlateRules(5, random_places=5), replace(PLAIN, diversity="mmr"), NOW)
    assert found.rows.tolist() == list(range(30))
