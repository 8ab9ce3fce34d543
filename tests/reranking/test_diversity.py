"""Both diversity methods against the greedy rule written out, item after item, each step over all that is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranking.diversity import CategoryPenalty, MaximalMarginalRelevance, repeats

NOTHING = np.empty(0, np.intp)


def naive(value_of, categories, pool, k, chosen, cap):
    """The rule itself: the best value of what is left under the cap, or of what is left at all; ties to the first."""
    taken = []
    for _ in range(min(k, len(pool))):
        left = [p for p in pool if p not in taken]
        counts = {c: sum(categories[p] == c for p in [*chosen, *taken]) for c in set(categories)}
        open_ = [p for p in left if not cap or categories[p] < 0 or counts[categories[p]] < cap]
        taken.append(max(open_ or left, key=lambda p: (value_of(p, [*chosen, *taken]), -p)))
    return taken


@st.composite
def worlds(draw):
    n = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = np.sort(rng.integers(0, 8, n) / 8 if draw(st.booleans()) else rng.random(n))[::-1].astype(np.float32)
    categories = rng.integers(-1, 4, n).astype(np.int32)
    chosen = np.sort(rng.choice(n, draw(st.integers(0, n // 2)), replace=False))
    pool = np.setdiff1d(np.arange(n), chosen)
    return rng, scores, categories, pool, chosen, draw(st.integers(1, n + 3)), draw(st.sampled_from([0, 1, 2, 3]))


@given(worlds(), st.sampled_from([0.0, 0.05, 0.3, 1.0]))
@settings(max_examples=300)
def test_the_sorted_category_penalty_is_the_greedy_one(world, penalty):
    _, scores, categories, pool, chosen, k, cap = world

    def value(p, before):
        count = sum(categories[b] == categories[p] for b in before) if categories[p] >= 0 else 0
        return scores[p] - np.float32(penalty) * np.float32(count)

    picked, values = CategoryPenalty(categories, penalty, cap).choose(scores, pool, k, chosen)
    assert picked.tolist() == naive(value, categories, pool, k, chosen.tolist(), cap)
    for place, p in enumerate(picked):
        assert values[place] == pytest.approx(value(p, [*chosen, *picked[:place]]))


@given(worlds(), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
@settings(max_examples=300)
def test_lazy_mmr_is_the_greedy_one(world, relevance):
    rng, scores, categories, pool, chosen, k, cap = world
    vectors = rng.standard_normal((len(scores), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def value(p, before):
        nearest = max([0.0, *(float(vectors[p] @ other) for other in vectors[before])])
        return relevance * float(scores[p]) - (1 - relevance) * nearest

    mmr = MaximalMarginalRelevance(vectors, relevance, categories, cap)
    picked, values = mmr.choose(scores, pool, k, chosen)
    taken: list[int] = []
    for p, reported in zip(picked.tolist(), values.tolist(), strict=True):  # equal up to rounding, so ties may differ
        best = naive(value, categories, pool[~np.isin(pool, taken)], 1, [*chosen.tolist(), *taken], cap)[0]
        assert reported == pytest.approx(value(p, [*chosen, *taken]), abs=1e-5)
        assert reported >= value(best, [*chosen, *taken]) - 1e-5
        taken.append(p)
    assert len(set(taken)) == min(k, len(pool))


def test_a_repeat_is_counted_from_the_best():
    assert repeats(np.array([3, 1, 3, -1, 3, -1, 1])).tolist() == [0, 0, 1, 0, 2, 0, 1]


def test_a_category_without_name_is_never_penalised():
    picked, values = CategoryPenalty(np.full(4, -1), 1.0, cap=1).choose(
        np.array([4, 3, 2, 1], np.float32), np.arange(4), 4, NOTHING
    )
    assert picked.tolist() == [0, 1, 2, 3]
    assert values.tolist() == [4, 3, 2, 1]


def test_mmr_prefers_what_is_unlike():
    directions = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    mmr = MaximalMarginalRelevance(directions, 0.5, np.full(3, -1))
    picked, _ = mmr.choose(np.array([1.0, 0.9, 0.5], np.float32), np.arange(3), 3, NOTHING)
    assert picked.tolist() == [0, 2, 1]


def test_a_cap_gives_way_when_nothing_else_is_left():
    categories = np.array([0, 0, 0, 1])
    scores = np.array([1.0, 0.9, 0.8, 0.1], np.float32)
    vectors = np.eye(4, dtype=np.float32)
    for method in (CategoryPenalty(categories, 0.0, cap=1), MaximalMarginalRelevance(vectors, 1.0, categories, cap=1)):
        picked, _ = method.choose(scores, np.arange(4), 4, NOTHING)
        assert picked.tolist() == [0, 3, 1, 2]
