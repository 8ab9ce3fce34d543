"""The forward pass against the formula written out in Python, one user or many, and on the edges of a history."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval.user_tower
from contracts.feature_encoder import Bag
from retrieval.user_tower import encode_user, encode_users
from tests.toy_world import toy_model

MODEL = toy_model(n_items=60)
SHALLOW = toy_model(n_items=60, hidden=0)


def by_the_formula(model, rows, weights, features=()):
    """The formula of the module's docstring in float64, event by event."""
    tower, items = model.tower, model.items
    newest_first = [(row, w) for row, w in zip(rows, weights, strict=True) if row >= 0][::-1]
    h, squares = np.zeros(items.two_tower.shape[1]), 0.0
    for (row, weight), position in zip(newest_first, tower.positions, strict=False):
        a = float(weight) * float(position)
        h += a * float(items.pool_weight[row]) * items.two_tower[row]
        squares += a * a
    x = h / np.sqrt(squares + 1e-6) + tower.output_bias
    for slot, weight in features:
        x = x + weight * tower.slots[slot]
    if len(tower.hidden_bias):
        x = x + np.maximum(x @ tower.hidden_weight + tower.hidden_bias, 0) @ tower.output_weight
    return x / max(np.linalg.norm(x), 1e-6)


signed = st.floats(0.125, 4, width=32) | st.floats(-4, -0.125, width=32)
histories = st.lists(st.tuples(st.integers(-1, 59), signed), max_size=120)
slots = st.lists(st.tuples(st.integers(0, 5), st.floats(0.125, 1, width=32)), max_size=4)


@given(histories, slots, st.sampled_from([MODEL, SHALLOW]))
@settings(max_examples=200, deadline=None)
def test_one_user_is_the_formula(history, features, model):
    rows, weights = [row for row, _ in history], [weight for _, weight in history]
    encoded = (np.array([s for s, _ in features], np.int32), np.array([w for _, w in features], np.float32))
    vector = encode_user(model.tower, model.items, np.array(rows, np.int32), np.array(weights, np.float32), encoded)
    np.testing.assert_allclose(vector, by_the_formula(model, rows, weights, features), atol=2e-6)
    assert vector.dtype == np.float32


@given(st.lists(st.tuples(histories, slots), max_size=8), st.sampled_from([1, 50, 1 << 16]))
@settings(max_examples=100, deadline=None)
def test_many_users_are_one_after_the_other(users, block):
    flat = [event for history, _ in users for event in history]
    rows, weights = np.array([r for r, _ in flat], np.int32), np.array([w for _, w in flat], np.float32)
    offsets = np.cumsum([0, *(len(history) for history, _ in users)])
    pairs = [pair for _, features in users for pair in features]
    bag = Bag(
        np.array([s for s, _ in pairs], np.int32),
        np.array([w for _, w in pairs], np.float32),
        np.cumsum([0, *(len(features) for _, features in users)]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.user_tower, "BLOCK_EVENTS", block)
        vectors = encode_users(MODEL.tower, MODEL.items, rows, weights, offsets, bag)
    assert vectors.shape == (len(users), 16)
    for user, (start, end) in enumerate(pairwise(offsets)):
        one = slice(bag.offsets[user], bag.offsets[user + 1])
        expected = encode_user(
            MODEL.tower, MODEL.items, rows[start:end], weights[start:end], (bag.slots[one], bag.weights[one])
        )
        np.testing.assert_allclose(vectors[user], expected, atol=2e-6)


def test_a_user_of_whom_nothing_is_known_is_the_bias():
    vector = encode_user(SHALLOW.tower, SHALLOW.items, np.empty(0, np.int32), np.empty(0, np.float32))
    bias = SHALLOW.tower.output_bias
    np.testing.assert_allclose(vector, bias / np.linalg.norm(bias), rtol=1e-5)


def test_a_tower_that_says_nothing_gives_zeros_not_nan():
    silent = replace(SHALLOW.tower, output_bias=np.zeros(16, np.float32))
    vector = encode_user(silent, SHALLOW.items, np.empty(0, np.int32), np.empty(0, np.float32))
    assert not vector.any()


def test_events_beyond_the_positions_are_not_read():
    read = len(MODEL.tower.positions)
    rows = np.arange(read + 10, dtype=np.int32) % 60
    weights = np.ones(len(rows), np.float32)
    whole = encode_user(MODEL.tower, MODEL.items, rows, weights)
    np.testing.assert_array_equal(whole, encode_user(MODEL.tower, MODEL.items, rows[10:], weights[10:]))
    assert np.abs(whole - encode_user(MODEL.tower, MODEL.items, rows[11:], weights[11:])).max() > 1e-7


def test_an_unknown_item_takes_no_position():
    rows, weights = np.array([3, -1, 8, -1], np.int32), np.ones(4, np.float32)
    known = encode_user(MODEL.tower, MODEL.items, rows[[0, 2]], weights[:2])
    np.testing.assert_array_equal(encode_user(MODEL.tower, MODEL.items, rows, weights), known)
