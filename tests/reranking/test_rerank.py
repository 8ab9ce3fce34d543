"""The whole of re-ranking: what must hold of any slate, and what each step does to it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Candidates, Degraded, Source
from contracts.deadline import Deadline
from contracts.slate import Route
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import DIVERSITIES, RerankSettings
from tests.toy_world import DAY, NOW, toy_model

ITEMS = toy_model().items
PLAIN = RerankSettings(diversity="none", recency_weight=0.0)


def candidates(rows, scores, **kwargs):
    return Candidates(np.array(rows, np.int32), np.array(scores, np.float32), Route.MODEL, "two_tower", **kwargs)


scores_of_any_kind = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def slates(draw):
    n = draw(st.integers(0, 60))
    rows = draw(st.permutations(range(200)))[:n]
    scores = draw(st.lists(scores_of_any_kind, min_size=n, max_size=n))
    settings_ = RerankSettings(
        diversity=draw(st.sampled_from(DIVERSITIES)),
        category_cap=draw(st.integers(0, 3)),
        recency_weight=draw(st.sampled_from([0.0, 0.1, 1.0])),
        category_penalty=draw(st.sampled_from([0.0, 0.2, 1.0])),
    )
    barred, promoted = np.zeros(200, bool), np.zeros(200, bool)
    barred[draw(st.lists(st.integers(0, 199), max_size=100))] = True
    promoted[draw(st.lists(st.integers(0, 199), max_size=100))] = True
    rules = SlateRules(
        places=draw(st.integers(1, 30)),
        barred=barred,
        promoted=promoted,
        promoted_share=draw(st.sampled_from([0.0, 0.25, 1.0])),
        explain=draw(st.booleans()),
    )
    return candidates(rows, scores), rules, settings_


@given(slates())
@settings(max_examples=400, deadline=None)
def test_any_slate_is_full_unique_eligible_and_keeps_its_promotions(case):
    found, rules, settings_ = case
    ranked = rerank(found, ITEMS, rules, settings_, NOW)
    usable = found.rows[np.isfinite(found.scores) & ~rules.barred[found.rows]]
    assert len(ranked.rows) == min(rules.places, len(usable))
    assert len(set(ranked.rows.tolist())) == len(ranked.rows)
    assert set(ranked.rows.tolist()) <= set(usable.tolist())
    assert np.isfinite(ranked.scores).all()
    quota = math.ceil(rules.promoted_share * rules.places)
    assert rules.promoted[ranked.rows].sum() >= min(quota, rules.promoted[usable].sum())
    for part in ranked.parts.values():
        assert part.shape == ranked.rows.shape
        assert np.isfinite(part).all()


@given(slates())
@settings(max_examples=100, deadline=None)
def test_explaining_changes_nothing_and_adds_up(case):
    found, rules, settings_ = case
    plain = rerank(found, ITEMS, replace(rules, explain=False), settings_, NOW)
    told = rerank(found, ITEMS, replace(rules, explain=True), settings_, NOW)
    assert plain.rows.tolist() == told.rows.tolist()
    assert plain.parts == {}
    total = told.parts["normalised"] + told.parts["recency"] + told.parts["diversity"]
    np.testing.assert_allclose(total, told.scores, atol=1e-5)


def test_without_penalties_the_order_is_that_of_the_scores():
    ranked = rerank(candidates([5, 9, 3], [0.1, 0.9, 0.5]), ITEMS, SlateRules(3), PLAIN, NOW)
    assert ranked.rows.tolist() == [9, 3, 5]
    assert ranked.scores.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("factor", [1.0, 1e-4, 1e6])
def test_the_scale_of_a_route_does_not_decide_how_diverse_its_slate_is(factor):
    """On raw scores a fixed penalty would vanish beside counts and decide alone beside probabilities."""
    rows = np.concatenate([np.arange(0, 100, 5), np.arange(1, 100, 5)])  # categories 0 and 1
    scores = np.linspace(1, 0, 40) * factor
    settings_ = RerankSettings(category_penalty=0.05, recency_weight=0.0)
    ranked = rerank(candidates(rows, scores), ITEMS, SlateRules(10), settings_, NOW)
    expected = rerank(candidates(rows, scores / factor), ITEMS, SlateRules(10), settings_, NOW)
    assert ranked.rows.tolist() == expected.rows.tolist()
    assert {0, 1} == set(ITEMS.category[ranked.rows].tolist())


def test_fresh_items_pass_equal_old_ones():
    items = replace(ITEMS, published=np.where(np.arange(200) == 7, NOW, NOW - 300 * DAY))
    ranked = rerank(candidates([3, 7, 8], [0.5, 0.5, 0.4]), items, SlateRules(3), RerankSettings(diversity="none"), NOW)
    assert ranked.rows.tolist() == [7, 3, 8]


def test_no_time_left_gives_up_diversity_and_says_so():
    rules = SlateRules(4, deadline=Deadline(0))
    settings_ = RerankSettings(category_penalty=1.0, recency_weight=0.0, category_cap=2)
    ranked = rerank(candidates([0, 5, 10, 1], [4, 3, 2, 1]), ITEMS, rules, settings_, NOW)
    assert ranked.degraded == (Degraded.DIVERSITY_SKIPPED,)
    assert ranked.rows.tolist() == [0, 5, 1, 10]  # the cap is a rule and still holds


def test_explain_names_source_and_promotion():
    found = candidates(
        [0, 1], [1.0, 0.5], parts={"model": np.array([7, 8], np.float32)}, sources=np.array([0, 5], np.int8)
    )
    promoted = np.zeros(200, bool)
    promoted[1] = True
    rules = SlateRules(2, promoted=promoted, promoted_share=0.1, explain=True)
    parts = rerank(found, ITEMS, rules, PLAIN, NOW).parts
    assert [Source(int(number)) for number in parts["source"]] == [Source.MODEL, Source.FILL]
    assert parts["promoted"].tolist() == [0, 1]
    assert parts["model"].tolist() == [7, 8]
    assert parts["raw"].tolist() == [1.0, 0.5]


def test_the_input_is_left_as_it_was():
    found = candidates([0, 1, 2], [1.0, 0.5, 0.2])
    rerank(found, ITEMS, SlateRules(3), RerankSettings(diversity="mmr"), NOW)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.scores.tolist() == pytest.approx([1.0, 0.5, 0.2])


@given(slates(), st.lists(st.integers(0, 199), unique=True, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_explored_takes_the_last_places_and_nothing_that_was_promised(case, drawn):
    found, rules, settings_ = case
    explored = np.array([row for row in drawn if row not in found.rows], np.int32)
    ranked = rerank(replace(found, explored=explored), ITEMS, rules, settings_, NOW)
    usable = found.rows[np.isfinite(found.scores) & ~rules.barred[found.rows]]
    shown = np.isin(ranked.rows, explored)
    n = int(shown.sum())
    assert ranked.rows[len(ranked.rows) - n :].tolist() == [row for row in explored.tolist() if row in ranked.rows]
    assert not rules.barred[ranked.rows].any()
    assert len(ranked.rows) == min(rules.places, len(usable) + n)
    quota = math.ceil(rules.promoted_share * rules.places)
    assert rules.promoted[ranked.rows].sum() >= min(quota, rules.promoted[usable].sum())
    assert (ranked.scores[shown] <= ranked.scores[~shown].min(initial=0)).all()
    if not settings_.category_cap and not quota:
        assert n == min(rules.places, len(explored) - int(rules.barred[explored].sum()))
        alone = rerank(found, ITEMS, replace(rules, places=rules.places - n), settings_, NOW)
        assert ranked.rows[: len(ranked.rows) - n].tolist() == alone.rows.tolist()
    for part in ranked.parts.values():
        assert part.shape == ranked.rows.shape
    if rules.explain:
        total = ranked.parts["normalised"] + ranked.parts["recency"] + ranked.parts["diversity"]
        np.testing.assert_allclose(total, ranked.scores, atol=1e-5)
        assert (ranked.parts["source"][shown] == Source.EXPLORED).all()
        assert ranked.parts["promoted"].astype(bool).tolist() == rules.promoted[ranked.rows].tolist()


@pytest.mark.parametrize("diversity", DIVERSITIES)
def test_the_cap_counts_what_is_explored(diversity):
    rows = [0, 5, 10, 1, 6, 2, 3]  # categories 0, 0, 0, 1, 1, 2, 3
    scores = np.linspace(1, 0, 7)
    found = replace(candidates(rows, scores), explored=np.array([15, 20, 11], np.int32))  # categories 0, 0, 1
    capped = RerankSettings(diversity=diversity, category_cap=1, recency_weight=0.0, category_penalty=0.0)
    ranked = rerank(found, ITEMS, SlateRules(4), capped, NOW)
    assert ranked.rows[2:].tolist() == [15, 11], "the second of category 0 would be one too many"
    assert ranked.rows[:2].tolist() == [2, 3]


def test_the_explored_alone_are_a_slate():
    found = replace(candidates([], []), explored=np.array([7, 8, 9], np.int32))
    assert rerank(found, ITEMS, SlateRules(2), PLAIN, NOW).rows.tolist() == [7, 8]
