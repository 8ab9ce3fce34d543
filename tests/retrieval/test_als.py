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

histories = st.lists(st.tuples(st.integers(-1, 59), st.floats(0.125, 4, width=32)), max_size=30)


def by_the_formula(als, history):
    matrix = als.gram.astype(float) + als.regularisation * np.eye(16)
    target = np.zeros(16)
    for row, weight in history:
        if row >= 0:
            matrix += als.alpha * weight * np.outer(FACTORS[row], FACTORS[row].astype(float))
            target += (1 + als.alpha * weight) * FACTORS[row]
    return np.linalg.solve(matrix, target)


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


def test_nothing_folds_to_zeros():
    assert not fold_in(MODEL.als, FACTORS[:0], np.empty(0, np.float32)).any()


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
