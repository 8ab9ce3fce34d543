"""Folding in: the normal equations written out, and a user of the training set recovered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval.als
from contracts.fitted import AlsArrays
from retrieval.als import fold_in, fold_in_many
from tests.toy_world import toy_model

MODEL = toy_model(n_items=60)
FACTORS = MODEL.items.als

likes = st.floats(0.125, 4, width=32)
signed = likes | st.floats(-4, -0.125, width=32) | st.just(0.0)
histories = st.lists(st.tuples(st.integers(-1, 59), signed), max_size=30)
liked = st.lists(st.tuples(st.integers(0, 59), likes), min_size=1, max_size=30)


def by_the_formula(als, history):
    matrix = als.gram.astype(float) + als.regularisation * np.eye(16)
    target = np.zeros(16)
    for row, weight in history:
        if row >= 0:
            matrix += als.alpha * abs(weight) * np.outer(FACTORS[row], FACTORS[row].astype(float))
            target += (1 + als.alpha * weight) * FACTORS[row] if weight > 0 else 0
    return np.linalg.solve(matrix, target)


def of_history(history):
    """Factors and weights as `fold_in` wants them."""
    rows = np.array([row for row, _ in history], np.int32)
    return FACTORS[rows], np.array([weight for _, weight in history], np.float32)


@given(st.lists(histories, max_size=8), st.sampled_from([1, 3_000, 4_000_000]))
@settings(max_examples=100, deadline=None)
def test_one_and_many_are_the_formula(users, block):
    flat = [event for history in users for event in history]
    rows, weights = np.array([r for r, _ in flat], np.int32), np.array([w for _, w in flat], np.float32)
    offsets = np.cumsum([0, *map(len, users)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.als, "BLOCK_FLOATS", block)
        many = fold_in_many(MODEL.als, FACTORS, rows, weights, offsets)
    assert many.shape == (len(users), 16)
    for user, history in enumerate(users):
        events = slice(offsets[user], offsets[user + 1])
        known = rows[events] >= 0
        one = fold_in(MODEL.als, FACTORS[rows[events][known]], weights[events][known])
        np.testing.assert_allclose(one, by_the_formula(MODEL.als, history), atol=1e-6)
        np.testing.assert_allclose(many[user], one, atol=1e-6)
        assert one.dtype == many.dtype == np.float32


@given(liked)
@settings(max_examples=100, deadline=None)
def test_what_is_liked_folds_to_the_same_bits_as_before_there_were_signs(history):
    factors, weights = of_history(history)
    vectors, confidence = factors.astype(np.float64), MODEL.als.alpha * weights.astype(np.float64)
    base = MODEL.als.gram.astype(np.float64)
    base.flat[:: len(base) + 1] += MODEL.als.regularisation
    matrix = base + (vectors.T * confidence) @ vectors
    unsigned = np.linalg.solve(matrix, (1 + confidence) @ vectors).astype(np.float32)
    assert fold_in(MODEL.als, factors, weights).tobytes() == unsigned.tobytes()


@given(liked, st.integers(0, 59), st.floats(0.5, 4))
@settings(max_examples=100, deadline=None)
def test_a_dislike_pulls_the_score_of_its_item_to_zero(history, row, dislike):
    before = FACTORS[row] @ fold_in(MODEL.als, *of_history(history))
    after = FACTORS[row] @ fold_in(MODEL.als, *of_history([*history, (row, -dislike)]))
    assert abs(after) <= abs(before) + 1e-6
    if abs(before) > 1e-3:
        assert abs(after) < abs(before)


def test_a_dislike_lowers_what_is_like_it_and_a_like_raises_it():
    """In the toy world the rows of a category, r % 5, have factors around one axis."""
    history, books = [(0, 1.0), (1, 1.0), (3, 1.0)], np.arange(1, 40, 5)
    scores = {weight: FACTORS @ fold_in(MODEL.als, *of_history([*history, (6, weight)])) for weight in (-1.0, 0.0, 1.0)}
    assert (scores[-1.0][books] < scores[0.0][books]).all()
    assert (scores[0.0][books] < scores[1.0][books]).all()


def test_a_weight_of_nothing_says_nothing():
    history = [(0, 1.0), (7, 2.0)]
    assert np.array_equal(
        fold_in(MODEL.als, *of_history([*history, (3, 0.0)])), fold_in(MODEL.als, *of_history(history))
    )


def test_nothing_and_nothing_but_dislikes_fold_to_zeros():
    assert not fold_in(MODEL.als, FACTORS[:0], np.empty(0, np.float32)).any()
    assert not fold_in(MODEL.als, *of_history([(3, -1.0), (4, -2.0)])).any()


def test_a_user_whose_items_were_factorised_is_recovered():
    """With item factors fixed, alternating least squares' own user step is the fold-in, so residuals vanish there."""
    rng = np.random.default_rng(0)
    als = AlsArrays(FACTORS.T @ FACTORS, alpha=3.0, regularisation=0.1)
    rows, weights = rng.choice(60, 12, replace=False).astype(np.int32), np.ones(12, np.float32)
    x = fold_in(als, FACTORS[rows], weights).astype(float)
    wanted = np.zeros(60)
    wanted[rows] = 1
    confidence = 1 + als.alpha * wanted
    gradient = FACTORS.T.astype(float) @ (confidence * (FACTORS @ x - wanted)) + als.regularisation * x
    assert np.abs(gradient).max() < 1e-4
